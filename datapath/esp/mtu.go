package esp

import (
	"spindle/datapath/packet"
)

// InnerMTU is the longest packet that, sealed, is at most outer bytes from its
// outer IP header on, and no longer than the path's MTU where one is known; 0
// when not even an empty one fits. In transport mode it holds for packets whose
// IP header has no options and no extensions: Sealed is exact for any.
func (o *Outbound) InnerMTU(outer int) int {
	t := o.outer.Load()
	outer = min(outer, most(t.version()))
	if path := int(o.path.Load()); path > 0 {
		outer = min(outer, path)
	}
	room := outer - int(t.n) - HeaderLen - o.suite.IVLen - o.suite.ICVLen
	if room < o.suite.Align {
		return 0
	}
	n := room&^(o.suite.Align-1) - trailerLen
	if o.transport {
		n += int(t.ip)
	}
	return n
}

// Sealed is the length that Seal would give a packet, without traffic flow
// confidentiality padding, and 0 for one that it would refuse.
func (o *Outbound) Sealed(inner []byte) int {
	n, v := packet.Length(inner)
	if v != packet.Pass {
		return 0
	}
	var l layout
	if o.measure(&l, o.outer.Load(), inner[:n]) != packet.Pass {
		return 0
	}
	return l.total
}

// Overhead is the most that Seal adds to a packet, besides traffic flow
// confidentiality padding.
func (o *Outbound) Overhead() int {
	t := o.outer.Load()
	n := int(t.n)
	if o.transport {
		n = t.encap()
	}
	return n + o.suite.overhead() + o.suite.Align - 1
}

// SetPathMTU says how long an outer packet may be on its way to the peer, which
// bounds InnerMTU; 0 takes the bound away. Any goroutine may call it.
func (o *Outbound) SetPathMTU(mtu int) { o.path.Store(uint32(max(mtu, 0))) }

// PathMTU is what SetPathMTU, or an ICMP error through Learn, said last.
func (o *Outbound) PathMTU() int { return int(o.path.Load()) }
