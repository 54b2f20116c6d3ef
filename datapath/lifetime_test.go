package datapath_test

import (
	"fmt"
	"math"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// T2, what only the data path sees: bytes, packets and sequence numbers. A soft
// bound is told once and nothing else changes; behind a hard one nothing passes.
func TestLifetimes(t *testing.T) {
	const size = 100 // of the inner packets, bytes
	for _, c := range []struct {
		cause string
		hard  bool
		at    int // the packet that reaches it
		set   func(sa *sadb.SA)
	}{
		{"packets", false, 3, func(sa *sadb.SA) { sa.Soft.Packets = 3 }},
		{"packets", true, 3, func(sa *sadb.SA) { sa.Hard.Packets = 3 }},
		{"bytes", false, 3, func(sa *sadb.SA) { sa.Soft.Bytes = 2*size + 1 }},
		{"bytes", true, 3, func(sa *sadb.SA) { sa.Hard.Bytes = 2*size + 1 }},
		{"sequence", false, 3, func(sa *sadb.SA) { sa.Sequence = 1<<31 - 3 }},
		{"", false, 99, func(sa *sadb.SA) { sa.Sequence = 1<<31 - 3; sa.ESN = true }},
	} {
		for _, dir := range []sadb.Direction{sadb.Inbound, sadb.Outbound} {
			if dir == sadb.Inbound && (c.cause == "sequence" || c.cause == "") {
				continue // the sender watches its numbers
			}
			t.Run(fmt.Sprintf("%v %s hard %v", dir, c.cause, c.hard), func(t *testing.T) {
				g := newGateway(t, options{})
				tn := g.up(newTunnel(t, 0, 1, false, false, func(in, out *sadb.SA) {
					if dir == sadb.Inbound {
						c.set(in)
					} else {
						c.set(out)
					}
				}))
				var got []keysock.Message
				for n := 1; n <= 6; n++ {
					if dir == sadb.Inbound {
						g.through(0, outside, fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, size-28))))
					} else {
						g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, size-28)))
					}
					g.Group.Workers[0].Publish()
					for range g.slow.reports {
						if n < c.at {
							t.Errorf("reported at packet %d", n)
						}
					}
					got = append(got, g.slow.taken()...)
				}
				want := []keysock.Message{keysock.Expire{Pair: tn.in.SPI, Hard: c.hard, Cause: c.cause}}
				if c.cause == "" {
					want = nil
				}
				if diff := diffMessages(want, got); diff != "" {
					t.Error(diff)
				}
				passed := uint64(6)
				if c.hard {
					passed = 3
				}
				if v := g.verdicts(); v[packet.Forwarded] != passed || v[packet.DropLifetime] != 6-passed {
					t.Errorf("verdicts %v", v)
				}
			})
		}
	}
}

// A report that found no room is made again: an SA that nobody is told of would
// end without a successor.
func TestExpiryIsNotLost(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, func(_, out *sadb.SA) { out.Soft.Packets, out.Hard.Packets = 1, 3 }))
	one := func() []keysock.Message {
		g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, 10)))
		g.Group.Workers[0].Publish()
		return g.slow.taken()
	}
	g.slow.broken = true
	one()
	g.slow.broken = false
	want := []keysock.Message{keysock.Expire{Pair: tn.in.SPI, Cause: "packets"}}
	if diff := diffMessages(want, one()); diff != "" {
		t.Error(diff)
	}
	g.slow.broken = true
	one()
	g.slow.broken = false
	want = []keysock.Message{keysock.Expire{Pair: tn.in.SPI, Hard: true, Cause: "packets"}}
	if diff := diffMessages(want, one()); diff != "" {
		t.Error(diff)
	}
	if extra := one(); len(extra) != 0 {
		t.Errorf("told again: %v", extra)
	}
}

// The last number of all is used; then the SA is at its end (RFC 4303 §3.3.3).
func TestLastSequenceNumber(t *testing.T) {
	g := newGateway(t, options{})
	g.up(newTunnel(t, 0, 1, false, false, func(_, out *sadb.SA) { out.Sequence = math.MaxUint32 - 1 }))
	for range 2 {
		g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, 10)))
	}
	if v := g.verdicts(); v[packet.Forwarded] != 1 || v[packet.DropSequence] != 1 {
		t.Errorf("verdicts %v", v)
	}
}
