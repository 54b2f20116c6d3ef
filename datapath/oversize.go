package datapath

import (
	"math/bits"
	"net/netip"

	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// sizing is what an outbound SA has decided about packets that do not fit (N2, N3).
type sizing struct {
	transport bool
	after     bool // cut after encryption
	clamp     bool // lower the MSS that TCP announces
	df        sadb.DFPolicy
}

// newSizing cuts after encryption, whatever the SA says, where the selectors name
// ports: a later fragment does not show its own, and the peer would drop it (RFC
// 4301 §7).
func newSizing(sa *sadb.SA) sizing {
	return sizing{
		transport: sa.Mode == sadb.Transport,
		after:     sa.FragmentAfter || namesPorts(sa.LocalTS) || namesPorts(sa.RemoteTS),
		clamp:     !sa.KeepMSS,
		df:        sa.DF,
	}
}

func namesPorts(ts []sadb.Selector) bool {
	for _, t := range ts {
		if !t.AnyPort() {
			return true
		}
	}
	return false
}

// unknownMTU is taken where the kernel names none.
const unknownMTU = 1500

// pathOf is the longest outer packet that takes this way to the peer.
func (out *outboundSA) pathOf(way *fib.Adjacency) int {
	mtu := way.MTU
	if mtu == 0 {
		mtu = unknownMTU
	}
	if path := out.PathMTU(); path != 0 {
		mtu = min(mtu, path)
	}
	return mtu
}

// fits is the longest inner packet that, sealed, takes this way.
func (out *outboundSA) fits(way *fib.Adjacency) int { return out.InnerMTU(out.pathOf(way)) }

// tooLong is exact about a packet that fits does not admit: in transport mode
// headers with options or extensions stay outside of what is padded.
func (out *outboundSA) tooLong(ip []byte, way *fib.Adjacency) bool {
	return !out.transport || out.Sealed(ip) > out.pathOf(way)
}

// cuts asks whether a packet that is longer than the tunnel's MTU may be cut. One
// that may not is dropped, and the source learns the MTU (N3).
func (s *sizing) cuts(h *packet.Header) bool { return s.cutsBefore(h) || s.cutsAfter(h) }

// oversize sends a packet that may be cut:
//
//  1. IPv4 that may be fragmented is cut, and the pieces are sealed: so the peer
//     need not reassemble before it decrypts (N2)
//  2. where that is not wanted, or not possible, the sealed packet is cut
func (w *Worker) oversize(sa *outboundSA, way *fib.Adjacency, t *transit, mtu int) packet.Verdict {
	if sa.cutsBefore(&t.header) {
		return w.cut(sa, way, t, mtu)
	}
	return w.sealAndCut(sa, way, t.ip)
}

func (s *sizing) cutsBefore(h *packet.Header) bool {
	return h.Version == 4 && !h.DF && !s.transport && (!s.after || s.df == sadb.DFSet)
}

// cutsAfter asks whether the outer packet may be fragmented. With `df: clear` any
// may. Transport mode keeps the packet's own DF bit, and protects what this host
// is the source of, so that IPv6 too is ours to fragment (RFC 4303 §3.3.4). No
// IPv6 packet of 1280 bytes may be refused (RFC 8200 §5).
func (s *sizing) cutsAfter(h *packet.Header) bool {
	switch {
	case s.df == sadb.DFClear && !s.transport:
		return true
	case h.Version == 4:
		return !h.DF
	}
	return s.transport || h.Length <= leastMTU
}

// cut is RFC 4301 §8.1's fragmentation before IPsec processing.
func (w *Worker) cut(sa *outboundSA, way *fib.Adjacency, t *transit, mtu int) packet.Verdict {
	for at := 0; ; {
		n, next := packet.Fragment(w.piece, t.ip, &t.header, mtu, at)
		if n == 0 {
			return sa.refuse(packet.DropTooBig) // no room for eight bytes
		}
		w.count(w.seal(sa, way, w.piece[:n]))
		if at = next; at == 0 {
			return packet.Fragmented
		}
	}
}

// sealAndCut fragments the sealed packet, which the peer has to reassemble. There is
// no room for traffic flow confidentiality to make it longer still.
func (w *Worker) sealAndCut(sa *outboundSA, way *fib.Adjacency, ip []byte) packet.Verdict {
	room := min(len(w.buffer), max(sa.Sealed(ip), sa.pathOf(way)))
	n, v := sa.Seal(w.buffer[:room], ip, w.now)
	if v != packet.Pass {
		return v
	}
	for at := 0; ; {
		size, next := sa.Fragment(w.piece, w.buffer[:n], sa.pathOf(way), at)
		if size == 0 {
			return sa.refuse(packet.DropTooBig) // DF is set
		}
		w.count(w.sendOuter(sa, way, w.piece[:size]))
		if at = next; at == 0 {
			return packet.Fragmented
		}
	}
}

// sendOuter sends a sealed packet that stands in scratch memory.
func (w *Worker) sendOuter(sa *outboundSA, way *fib.Adjacency, ip []byte) packet.Verdict {
	if way.Kind != fib.Direct {
		if err := w.slow.SendPacket(ip, sa.Remote()); err != nil {
			return sa.refuse(packet.DropSlowPath)
		}
		return packet.ToKernel
	}
	frame := w.ports[way.Port].Queue.Reserve()
	if len(frame) < packet.EthernetLen+len(ip) {
		return sa.refuse(packet.DropTXFull)
	}
	copy(frame[packet.EthernetLen:], ip)
	w.transmit(way, frame, len(ip))
	return packet.Forwarded
}

// clampAnswer lowers the MSS in a decrypted SYN to what the tunnel takes the other
// way. The outbound SA may be another worker's: what is asked of it here is what
// anybody may ask.
func (w *Worker) clampAnswer(inner []byte) {
	h := &w.inner
	back := sadb.Flow{Src: h.Dst, Dst: h.Src, Protocol: h.Protocol, SrcPort: h.DstPort, DstPort: h.SrcPort}
	entry := w.snap.Match(sadb.Outbound, &back)
	if entry == nil || entry.Outbound == nil || !entry.Outbound.clamp {
		return
	}
	if way := w.table.Lookup(entry.Outbound.Remote()); way != nil {
		packet.ClampMSS(inner, h, entry.Outbound.fits(way))
	}
}

// tellMTU answers a packet that does not fit with ICMP. What came through the
// tunnel device goes back there, from the destination: the kernel takes nothing
// from a device that says to come from this very host.
func (w *Worker) tellMTU(t *transit, mtu int) {
	h := &t.header
	if h.Version == 6 {
		mtu = max(mtu, leastMTU)
	}
	if h.Length <= mtu || !w.errors.take(w.now) {
		return
	}
	way := w.table.Lookup(h.Src)
	direct := t.origin == fromPort && way != nil && way.Kind == fib.Direct && w.ports[way.Port].Inside
	from := h.Dst
	if direct {
		from = nearest(w.table.LocalAddrs(), h.Src, from)
	}
	n := packet.PutTooBig(w.piece, t.ip, h, from, mtu)
	if n == 0 {
		return
	}
	if !direct {
		_ = w.slow.ToHost(w.piece[:n]) // it is an answer to a packet that is lost already
		return
	}
	frame := w.ports[way.Port].Queue.Reserve()
	if len(frame) >= packet.EthernetLen+n {
		copy(frame[packet.EthernetLen:], w.piece[:n])
		w.transmit(way, frame, n)
	}
}

// nearest is the address among list that has most leading bits in common with to:
// that of the link on which it is, if there is one.
func nearest(list []netip.Addr, to, otherwise netip.Addr) netip.Addr {
	best, most := otherwise, -1
	b := to.As16()
	for _, l := range list {
		if l.Is4() != to.Is4() {
			continue
		}
		a, n := l.As16(), 0
		for n < 16 && a[n] == b[n] {
			n++
		}
		same := 8 * n
		if n < 16 {
			same += bits.LeadingZeros8(a[n] ^ b[n])
		}
		if same > most {
			best, most = l, same
		}
	}
	return best
}

// Bounds of ICMP errors per worker, as the kernel's own (icmp_msgs_per_sec and
// icmp_msgs_burst, Documentation/networking/ip-sysctl.rst).
const (
	errorInterval = int64(1e9 / 1000)
	errorBurst    = 50
)

// errorBudget is a token bucket, kept as the time at which it is empty.
type errorBudget struct{ due int64 }

func (b *errorBudget) take(now int64) bool {
	b.due = max(b.due, now)
	if b.due-now > (errorBurst-1)*errorInterval {
		return false
	}
	b.due += errorInterval
	return true
}
