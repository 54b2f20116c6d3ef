package esp

import (
	"spindle/datapath/packet"
)

// recent is how many packets back an ICMP error may speak of, and by how many
// the published sequence number may lag: what a fast SA sends in some tenths of a
// second.
const recent = 1 << 20

// leastMTU are what every path carries (RFC 791 §3.1 asks hosts for 576, which
// RFC 1191 §3 lets routers go below; RFC 8200 §5).
const (
	leastMTU4 = 552
	leastMTU6 = 1280
)

// Sent says whether the packet that an ICMP error quotes can be one that this SA
// sent a moment ago: its SPI, its endpoints, and a sequence number as recent as
// its own. Who is not on the path cannot know them. Any goroutine may call it.
func (o *Outbound) Sent(q *packet.Quote) bool {
	t := o.outer.Load()
	if !q.Identified || q.SPI != o.spi || q.Dst != t.remote || q.Src != t.local || q.Encap != (t.encap() > 0) {
		return false
	}
	last := o.published.sequence.Load()
	ahead := q.Sequence - uint32(last) // modulo 2^32: the low half is all that was quoted
	return q.Sequence != 0 && (ahead <= recent || -ahead <= recent)
}

// Learn takes the path's MTU from an ICMP error about a packet that this SA sent
// (RFC 4301 §8.2), and reports whether that lowered it. Without an MTU in the
// error, it takes the next lower one of RFC 1191 §7.1 below the packet's length.
// No error makes it less than what every path carries, or more than it was: for
// that, SetPathMTU is called some minutes later, and the path asked again (RFC
// 1191 §6.3). Any goroutine may call it.
func (o *Outbound) Learn(q *packet.Quote) bool {
	if !q.TooBig || !o.Sent(q) || q.MTU >= q.Length {
		return false
	}
	mtu := q.MTU
	if mtu == 0 {
		mtu = plateau(q.Length)
	}
	least := leastMTU4
	if o.outer.Load().version() == 6 {
		least = leastMTU6
	}
	mtu = max(mtu, least)
	for {
		was := o.path.Load()
		if was != 0 && int(was) <= mtu {
			return false
		}
		if o.path.CompareAndSwap(was, uint32(mtu)) {
			return true
		}
	}
}

// plateau is the likely MTU of a link that did not take a packet of n bytes (RFC
// 1191 §7.1).
func plateau(n int) int {
	for _, mtu := range [...]int{32000, 17914, 8166, 4352, 2002, 1492, 1006, 508} {
		if mtu < n {
			return mtu
		}
	}
	return 0
}

// Fragment writes to dst the next fragment, at most mtu bytes long, of a packet
// that Seal made and that is to be fragmented after encryption (N2; RFC 4303
// §3.3.4). at is 0 for the first one, and next what it must be for the one after
// it, 0 after the last. n is 0 when it must not be fragmented: DF is set.
//
// dst and sealed must not overlap. The SA's owner calls it, before the next Seal.
func (o *Outbound) Fragment(dst, sealed []byte, mtu, at int) (n, next int) {
	var h packet.Header
	if h.ParseIP(sealed) != packet.Pass {
		return 0, 0
	}
	if h.Version == 6 {
		return packet.FragmentIPv6(dst, sealed, &h, mtu, o.spi^uint32(o.sequence), at)
	}
	return packet.Fragment(dst, sealed, &h, mtu, at)
}
