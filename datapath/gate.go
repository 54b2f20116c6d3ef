package datapath

import (
	"encoding/binary"
	"net/netip"

	"spindle/sadb"
)

// gate is one side's traffic selector in the form in which each decrypted packet
// asks it: the addresses as numbers, to compare with those in the packet.
type gate struct {
	first, last number
	version     uint8
	narrow      *sadb.Selector // names a protocol or ports: it decides besides
}

// number is an IP address by its value. One of IPv4 leaves high 0.
type number struct{ high, low uint64 }

func (n number) less(o number) bool { return n.high < o.high || n.high == o.high && n.low < o.low }

// newGates is for valid selectors.
func newGates(ts []sadb.Selector) []gate {
	gates := make([]gate, len(ts))
	for i := range ts {
		g, t := &gates[i], &ts[i]
		g.first, g.last, g.version = numberOf(t.First), numberOf(t.Last), 6
		if t.First.Is4() {
			g.version = 4
		}
		if t.Protocol != 0 || !t.AnyPort() {
			g.narrow = t
		}
	}
	return gates
}

func numberOf(a netip.Addr) number {
	if a.Is4() {
		return number4(a.AsSlice())
	}
	return number6(a.AsSlice())
}

func number4(b []byte) number { return number{low: uint64(binary.BigEndian.Uint32(b))} }
func number6(b []byte) number {
	return number{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// holds leaves protocol and ports to narrow.
func (g *gate) holds(version uint8, a number) bool {
	return g.version == version && !a.less(g.first) && !g.last.less(a)
}

// permitted checks the inner packet against the SA's selectors (RFC 4301 §5.2,
// step 4): the SA's remote side is the packet's source.
func (w *Worker) permitted(sa *inboundSA, ip []byte) bool {
	h := &w.inner
	var src, dst number
	if h.Version == 4 {
		src, dst = number4(ip[12:]), number4(ip[16:])
	} else {
		src, dst = number6(ip[8:]), number6(ip[24:])
	}
	from := func(s *sadb.Selector) bool { return s.Matches(h.Src, h.Protocol, h.SrcPort) }
	to := func(s *sadb.Selector) bool { return s.Matches(h.Dst, h.Protocol, h.DstPort) }
	return anyHolds(sa.remote, h.Version, src, from) && anyHolds(sa.local, h.Version, dst, to)
}

// anyHolds takes the port as 0 for a fragment that does not show it: such a
// packet passes only where the selector allows any port (RFC 4301 §7.2).
func anyHolds(gates []gate, version uint8, a number, matches func(*sadb.Selector) bool) bool {
	for i := range gates {
		if g := &gates[i]; g.holds(version, a) && (g.narrow == nil || matches(g.narrow)) {
			return true
		}
	}
	return false
}
