package datapath_test

import (
	"net/netip"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

const (
	expedited  = 46 // RFC 3246
	bestEffort = 0
)

// marked sets the DSCP.
func marked(ip []byte, dscp uint8) []byte {
	packet.SetTOS(ip, dscp<<2)
	return ip
}

// N7: a worker that is late takes the preferred packets first and drops of the
// others, in both directions; both are counted, and nothing vanishes. IKE goes with
// the preferred ones.
func TestOverloadedWorkerPrefers(t *testing.T) {
	local, remote := ends(false)
	for _, way := range []string{"out", "in"} {
		for _, prefer := range []bool{true, false} {
			name := map[bool]string{true: "preferred", false: "nothing preferred"}[prefer]
			t.Run(way+" "+name, func(t *testing.T) {
				g := newGateway(t, options{frames: 4096})
				if prefer {
					g.Group.Prefer([]uint8{expedited, 40})
				}
				tn := g.up(newTunnel(t, 0, 1, false, false, nil))
				in, out := inside, outside
				each := func(dscp uint8) []byte {
					return fromInside(marked(clearPacket(t, hostA4, hostB4, 100), dscp))
				}
				if way == "in" {
					in, out = outside, inside
					each = func(dscp uint8) []byte {
						return fromOutside(tn.sealed(t, marked(clearPacket(t, hostB4, hostA4, 100), dscp)))
					}
				}
				const rounds = 400
				for range rounds {
					g.queues[0][in].Deliver(each(expedited))
					for range 8 {
						g.queues[0][in].Deliver(each(bestEffort))
					}
				}
				g.queues[0][in].Deliver(fromOutside(udp(t, remote, netip.AddrPortFrom(local.Addr(), 500), []byte("IKE"))))
				g.poll()

				got := map[uint8]int{}
				for _, f := range g.sent(out) {
					got[packet.TOS(f[packet.EthernetLen:])>>2]++
				}
				v := g.verdicts()
				if got[expedited] != rounds || v[packet.Punted] != 1 {
					t.Errorf("of %d preferred packets %d went; verdicts %v", rounds, got[expedited], v)
				}
				if n := g.preferred(); (n > 100) != prefer {
					t.Errorf("%d packets counted as preferred", n)
				}
				if lost := v[packet.DropOverload]; (lost > rounds) != prefer || uint64(got[bestEffort])+lost != 8*rounds {
					t.Errorf("of %d others %d went; verdicts %v", 8*rounds, got[bestEffort], v)
				}
			})
		}
	}
}

// preferred is what the operator is shown of that.
func (g *gateway) preferred() (n uint64) {
	g.t.Helper()
	g.Group.Workers[0].Publish()
	must(g.t, g.Stats(func(c keysock.Counters) error {
		if c.Source == "priority of worker 0" {
			n = c.Values[0]
		}
		return nil
	}))
	return n
}

// A flood costs the other tunnels nothing: forged packets for a live SPI, replayed
// ones and unknown SPIs, in the same ring, leave every honest packet alone.
func TestFloodsLeaveOthersAlone(t *testing.T) {
	g := newGateway(t, options{frames: 4096})
	victim := g.up(newTunnel(t, 0, 1, false, false, nil))
	other := newTunnel(t, 0, 2, false, false, func(_, out *sadb.SA) { out.Policy = 9 })
	g.add(other)
	replayed := fromOutside(victim.sealed(t, clearPacket(t, hostB4, hostA4, 100)))
	forged := append([]byte(nil), replayed...)
	forged[len(forged)-1] ^= 1
	forged[packet.EthernetLen+packet.IPv4Len+7] = 200 // a number that was never seen
	unknown := append([]byte(nil), replayed...)
	unknown[packet.EthernetLen+packet.IPv4Len] ^= 0x40
	const rounds = 500
	for range rounds {
		for _, f := range [][]byte{replayed, forged, unknown, fromOutside(other.sealed(t, clearPacket(t, hostB4, hostA4, 100)))} {
			g.queues[0][outside].Deliver(f)
		}
	}
	g.poll()
	if n := len(g.sent(inside)); n != rounds+1 {
		t.Errorf("%d packets arrived, want %d: %v", n, rounds+1, g.verdicts())
	}
	v := g.verdicts()
	if v[packet.DropReplay] != rounds-1 || v[packet.DropAuth] != rounds || v[packet.DropUnknownSPI] != rounds {
		t.Errorf("verdicts %v", v)
	}
	for _, u := range g.dump() {
		if u.SA.SPI == other.in.SPI && (u.Drops != 0 || u.Packets != rounds) {
			t.Errorf("the other tunnel: %+v", u)
		}
	}
	if n := len(g.slow.taken()); n > 3 {
		t.Errorf("%d reports of a flood", n)
	}
}
