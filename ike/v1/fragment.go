package v1

import (
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

const (
	fragmentHeaders = 80               // of IPv6, UDP, the non-ESP marker and the fragment itself
	fragmentLife    = 10 * time.Second // for the rest to come
)

// fragments are pieces of one message of the peer (Cisco's IKE fragmentation).
// Nothing protects a piece: a wrong one spoils the message that it claims to be
// of, which then comes again.
type fragments struct {
	sent  uint16 // number of the last message that we split
	id    uint16
	list  []wire.V1Fragment
	until time.Time
}

// split cuts a message that is too long for a path, if the peer said that it
// can put it together.
func (s *SA) split(data []byte) [][]byte {
	size := s.fragmentSize()
	if len(data) <= size || !s.vendors[wire.V1VendorFragmentation] {
		return [][]byte{data}
	}
	s.fragments.sent++
	list, err := wire.SplitV1(data, s.fragments.sent, size)
	if err != nil {
		s.internal(err)
		return [][]byte{data}
	}
	return list
}

// fragmentSize is how many octets of a message go in one fragment: what the
// connection says of IP packets, less what stands in front.
func (s *SA) fragmentSize() int {
	longest := session.DefaultFragmentSize
	if list := s.possible(); len(list) > 0 && list[0].FragmentSize > 0 {
		longest = list[0].FragmentSize
	}
	return longest - fragmentHeaders
}

// reassemble gives back whole messages: d itself, or what its fragment completes.
func (s *SA) reassemble(now time.Time, d session.Datagram, h wire.Header) (session.Datagram, wire.Header, bool) {
	if h.NextPayload != wire.PayloadV1CiscoFragment || h.V1Encrypted() {
		return d, h, true
	}
	m, err := wire.ParseV1Message(d.Data)
	f, ok := wire.Find[wire.V1Fragment](m.Payloads)
	if err != nil || !ok {
		return d, h, false
	}
	p := &s.fragments
	if f.ID != p.id || session.Passed(now, p.until) {
		p.id, p.list, p.until = f.ID, nil, now.Add(fragmentLife)
	}
	same := func(o wire.V1Fragment) bool { return o.Number == f.Number }
	p.list = slices.DeleteFunc(p.list, same)
	if len(p.list) >= wire.V1MaxFragments || p.octets()+len(f.Data) > wire.MaxReassembled {
		p.list = nil // no message is that long: nobody has to prove a fragment
		return d, h, false
	}
	f.Data = slices.Clone(f.Data)
	p.list = append(p.list, f)
	whole, done := wire.JoinV1(p.list)
	if !done {
		return d, h, false
	}
	p.list = nil
	d.Data = whole
	h, err = wire.ParseHeader(whole)
	return d, h, err == nil && h.NextPayload != wire.PayloadV1CiscoFragment
}

// octets is what the pieces hold.
func (f *fragments) octets() (n int) {
	for _, piece := range f.list {
		n += len(piece.Data)
	}
	return n
}
