package sadb

// Snapshot is one published state of a DB. It never changes; any number of
// workers read it at once.
type Snapshot[I, O any] struct {
	epoch   uint64
	inbound paged[inboundRow[I]]
	entries paged[Entry[O]]
	index   index
}

// inboundRow is the SA of one slot.
type inboundRow[I any] struct {
	spi SPI
	sa  *I
}

// Entry is an SPD entry with what the data path bound to it.
type Entry[O any] struct {
	Policy   *Policy
	Outbound *O // nil while the policy has no SA
}

// Epoch counts the published states; the empty one a DB starts with is 1.
func (s *Snapshot[I, O]) Epoch() uint64 { return s.epoch }

// Inbound finds the SA of an SPI, nil if it is not ours (any more).
func (s *Snapshot[I, O]) Inbound(spi SPI) *I {
	row := s.inbound.at(uint32(spi.Slot()))
	if row == nil || row.spi != spi {
		return nil
	}
	return row.sa
}

// Match finds the first SPD entry, in order of priority, that governs a packet
// leaving towards (Outbound) or arriving in the clear from (Inbound) a remote
// side; nil if there is none (RFC 4301 §5.1, §5.2).
func (s *Snapshot[I, O]) Match(dir Direction, f *Flow) *Entry[O] {
	r := s.index.match(dir, f)
	if r == nil {
		return nil
	}
	return s.entries.at(r.row)
}
