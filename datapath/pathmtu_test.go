package datapath_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// tooBig is what a router on the way says of an outer packet.
func tooBig(t testing.TB, outer []byte, mtu int) []byte {
	t.Helper()
	var h packet.Header
	if v := h.ParseIP(outer); v != packet.Pass {
		t.Fatal(v)
	}
	from := addr("198.51.100.7")
	if h.Version == 6 {
		from = addr("2001:db8:7::7")
	}
	b := make([]byte, packet.MaxICMPError)
	return b[:packet.PutTooBig(b, outer, &h, from, mtu)]
}

// The path's MTU comes from ICMP errors about packets that were sent, and from no
// others (RFC 4301 §8.2); it narrows the tunnel, and is tried again after a while.
func TestPathMTU(t *testing.T) {
	everyShape(t, func(t *testing.T, inner6, outer6, encap bool) {
		g := newGateway(t, options{})
		tn := g.up(newTunnel(t, 0, 1, outer6, encap, nil))
		other := newTunnel(t, 0, 2, outer6, encap, func(_, out *sadb.SA) {
			out.SPI = tn.out.SPI // another peer chose the same
			out.Remote = netip.AddrPortFrom(map[bool]netip.Addr{false: addr("192.0.2.77"), true: addr("2001:db8::77")}[outer6], 4500)
			out.Policy = 9
		})
		g.add(other)
		a, b := hosts(inner6)
		g.through(0, inside, fromInside(clearPacket(t, a, b, 1300)))
		g.Group.Workers[0].Publish()
		outer := g.sent(outside)[0][packet.EthernetLen:]
		wide, otherwise := g.mtu(tn), g.mtu(other)

		h := packet.Header{}
		h.ParseIP(outer)
		espAt := h.Payload
		if encap {
			espAt += packet.UDPLen
		}
		for name, at := range map[string]int{"SPI": espAt, "sequence number": espAt + 4} {
			forged := append([]byte(nil), outer...)
			binary.BigEndian.PutUint32(forged[at:], 0x77777777)
			if _, ok := g.Unreachable(tooBig(t, forged, 1300)); ok || g.mtu(tn) != wide {
				t.Errorf("believed, in spite of its %s", name)
			}
		}
		if told, ok := g.Unreachable(tooBig(t, outer, 1320)); !ok || told.Path != 1320 || told.Inner != g.mtu(tn) || told.Remote != tn.out.Remote.Addr() {
			t.Errorf("not believed: %+v %v", told, ok)
		}
		if now := g.mtu(tn); now > wide-176 || now < wide-184 || g.mtu(other) != otherwise {
			t.Errorf("MTU was %d and is %d; the other tunnel's is %d", wide, now, g.mtu(other))
		}
		g.ForgetPaths(time.Now().Add(9 * time.Minute))
		if g.mtu(tn) == wide {
			t.Error("forgotten too soon")
		}
		g.ForgetPaths(time.Now().Add(11 * time.Minute))
		if g.mtu(tn) != wide {
			t.Error("not forgotten")
		}
	})
}

// mtu is what the operator is shown of a tunnel.
func (g *gateway) mtu(tn *tunnel) int {
	g.t.Helper()
	for _, u := range g.dump() {
		if u.SA.Direction == sadb.Outbound && u.SA.Pair == tn.out.Pair {
			return int(u.MTU)
		}
	}
	g.t.Fatal("no such tunnel")
	return 0
}
