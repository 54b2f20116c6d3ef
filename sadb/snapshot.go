package sadb

// Snapshot is one published state of a DB. It never changes; any number of
// workers read it at once.
type Snapshot[I, O any] struct {
	epoch   uint64
	spd     uint64 // epoch in which the SPD changed last
	inbound paged[inboundRow[I]]
	entries paged[Entry[O]]
	rows    Row // the highest one ever used
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

	// What every packet asks of its policy, which stands elsewhere in memory.
	Action   Action
	Filtered bool // it has an access list
}

// Row is where a snapshot keeps an entry. It stands for the same policy for as long
// as the SPD does not change. 0 is none.
type Row uint32

// Epoch counts the published states; the empty one a DB starts with is 1.
func (s *Snapshot[I, O]) Epoch() uint64 { return s.epoch }

// SPD counts the states of the SPD, which SAs that come and go leave as it is.
func (s *Snapshot[I, O]) SPD() uint64 { return s.spd }

// Policies is how many SPD entries there are, or have been at once.
func (s *Snapshot[I, O]) Policies() int { return int(s.rows) }

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
	return s.Entry(s.Find(dir, f))
}

// Find is Match for who wants to remember the answer.
func (s *Snapshot[I, O]) Find(dir Direction, f *Flow) Row {
	r := s.index.match(dir, f)
	if r == nil {
		return 0
	}
	return r.row
}

// Entry is what stands in a row, nil for none.
func (s *Snapshot[I, O]) Entry(r Row) *Entry[O] {
	if r == 0 {
		return nil
	}
	return s.entries.at(uint32(r))
}
