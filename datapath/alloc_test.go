package datapath_test

import (
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// silence is a slow path that keeps nothing, and so allocates nothing.
type silence struct{ slowPath }

func (*silence) Report(keysock.Message) bool { return true }

// No packet may cost an allocation, whichever way it ends.
func TestNoAllocations(t *testing.T) {
	anySize := func(in, _ *sadb.SA) { in.ReplayWindow = 0 } // the same frame again and again
	for _, c := range []struct {
		name    string
		port    int
		workers int
		frame   func(tn *tunnel, i int) []byte
		verdict packet.Verdict
		prepare func(g *gateway)
	}{
		{"outbound", inside, 1, func(*tunnel, int) []byte { return fromInside(clearPacket(t, hostA4, hostB4, 1000)) }, packet.Forwarded, nil},
		{"outbound IPv6", inside, 1, func(*tunnel, int) []byte { return fromInside(clearPacket(t, hostA6, hostB6, 1000)) }, packet.Forwarded, nil},
		{"inbound", outside, 1, func(tn *tunnel, _ int) []byte {
			return fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 1000)))
		}, packet.Forwarded, nil},
		{"handed over", inside, 2, func(*tunnel, int) []byte { return fromInside(clearPacket(t, hostA4, hostB4, 1000)) }, packet.Forwarded, nil},
		{"no policy", inside, 1, func(*tunnel, int) []byte { return fromInside(clearPacket(t, hostA4, addr("10.99.0.1"), 10)) }, packet.DropPolicy, nil},
		{"authentication", outside, 1, func(tn *tunnel, _ int) []byte {
			f := fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 100)))
			f[len(f)-1] ^= 1
			return f
		}, packet.DropAuth, nil},
		{"unknown SPIs of many sources", outside, 1, func(tn *tunnel, i int) []byte {
			ip := tn.sealed(t, clearPacket(t, hostB4, hostA4, 10))
			ip[20] ^= 0x80
			ip[15], ip[14] = byte(i), byte(i>>8)
			packet.SetIPv4Checksum(ip)
			return fromOutside(ip)
		}, packet.DropUnknownSPI, nil},
		{"cut before encryption", inside, 1, func(*tunnel, int) []byte { return fromInside(clearPacket(t, hostA4, hostB4, 1460)) }, packet.Fragmented, nil},
		{"too big, and answered", inside, 1, func(*tunnel, int) []byte {
			return fromInside(dontFragment(clearPacket(t, hostA4, hostB4, 1460)))
		}, packet.DropTooBig, nil},
		{"clear from outside", outside, 1, func(*tunnel, int) []byte { return fromOutside(clearPacket(t, hostB4, hostA4, 100)) }, packet.DropClear, nil},
		{"SYN", inside, 1, func(*tunnel, int) []byte { return fromInside(syn(t, hostA4, hostB4, 1460)) }, packet.Forwarded, nil},
		{"overload", inside, 1, func(_ *tunnel, i int) []byte {
			return fromInside(marked(clearPacket(t, hostA4, hostB4, 100), uint8(i)&63))
		}, packet.Forwarded, func(g *gateway) { g.Group.Prefer([]uint8{expedited}) }},
		{"no SA and no room to wait", inside, 1, func(*tunnel, int) []byte {
			return fromInside(clearPacket(t, hostA4, hostB4, 10))
		}, packet.DropNoSA, func(g *gateway) {
			must(t, g.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: sadb.NewSPI(0, 1, 7)}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t, options{workers: c.workers, quiet: true})
			tn := g.up(newTunnel(t, c.workers-1, 1, false, false, anySize))
			if c.prepare != nil {
				c.prepare(g)
			}
			var frames [][]byte
			for i := range 300 {
				frames = append(frames, c.frame(tn, i))
			}
			nothing := func([]byte) {}
			run := func() {
				for _, f := range frames {
					g.queues[0][c.port].Deliver(f)
				}
				for range 6 {
					for _, w := range g.Group.Workers {
						w.Poll()
					}
				}
				for _, queues := range g.queues {
					queues[outside].Sent(nothing)
					queues[inside].Sent(nothing)
				}
			}
			run()
			if n := testing.AllocsPerRun(20, run); n != 0 {
				t.Errorf("%v allocations for %d packets", n, len(frames))
			}
			v := g.verdicts()
			if v[c.verdict] < 20*300 {
				t.Errorf("verdicts %v", v)
			}
		})
	}
}
