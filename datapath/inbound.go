package datapath

import (
	"encoding/binary"
	"net/netip"

	"spindle/datapath/esp"
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// isOuter tells the packets that end here, ESP and IKE, from those to be
// protected. XDP has looked at the address already; a port that faces protected
// networks also brings ESP and IKE on their way to elsewhere.
func (w *Worker) isOuter(t *transit) bool {
	h := &t.header
	encapsulating := h.Protocol == packet.ESP ||
		h.Protocol == packet.UDP && (h.DstPort == portNATT || h.DstPort == portIKE)
	if !encapsulating || !w.ports[t.port].Inside {
		return encapsulating
	}
	adj := w.table.Lookup(h.Dst)
	return adj != nil && adj.Kind == fib.Local
}

// inbound takes an outer packet through RFC 4301 §5.2:
//
//  1. strip the UDP encapsulation; IKE goes to the control process
//  2. find the SA by its SPI: find.go does both for the whole batch. What has none may
//     be on its way to elsewhere, a clear packet then: it alone pays for the question
//  3. see that this worker owns it
//  4. is its time over
//  5. replay check, authentication, decryption: esp.Open, straight into a frame
//     of the port by which the last packet left
//  6. match the inner packet with the SA's selectors
//  7. back to the inside host that is translated to its destination, translate.go
//  8. forward it
func (w *Worker) inbound(t *transit) packet.Verdict {
	switch {
	case t.sa != nil:
	case w.passesBy(t):
		return w.unprotected(t)
	case t.verdict == packet.Punted:
		return w.punt(t)
	case t.verdict != packet.Pass:
		return t.verdict
	default:
		return w.unknownSPI(t)
	}
	if owner := t.spi().Worker(); owner != w.id {
		return w.handOff(owner, t.arrival)
	}
	return w.open(t)
}

// locate is step 2.
func (w *Worker) locate(t *transit) {
	t.sa = nil
	if t.verdict == packet.Pass {
		t.sa = w.snap.Inbound(t.spi())
	}
}

// strip finds the ESP packet. It is Punted for an IKE message.
func (t *transit) strip() packet.Verdict {
	h := &t.header
	if h.Fragment {
		return packet.DropMalformed // XDP leaves fragments to the kernel, which reassembles
	}
	t.body, t.encap = t.ip[h.Payload:], h.Protocol == packet.UDP
	if t.encap {
		payload, v := packet.UDPPayload(t.ip, h)
		if v != packet.Pass {
			return v
		}
		if v = t.decapsulate(payload); v != packet.Pass {
			return v
		}
	}
	if len(t.body) < esp.HeaderLen {
		return packet.DropTruncated
	}
	return packet.Pass
}

// spi is that of the ESP packet found.
func (t *transit) spi() sadb.SPI { return sadb.SPI(binary.BigEndian.Uint32(t.body)) }

// open is steps 4 to 8. What Open itself drops it counts itself.
func (w *Worker) open(t *transit) packet.Verdict {
	sa := t.sa
	if !sa.touched {
		w.note(&sa.bounds, sa)
	}
	if sa.ended(&sa.Counters) {
		return sa.refuse(packet.DropLifetime)
	}
	dst := w.openInto(len(t.ip))
	n, v := sa.Open(dst, t.ip, &t.header, t.body, w.now)
	if v != packet.Pass {
		return v
	}
	inner := dst[:n]
	if v := w.inner.ParseIP(inner); v != packet.Pass {
		return sa.refuse(v)
	}
	if !w.permitted(sa, inner) {
		return sa.refuse(packet.DropSelector)
	}
	if v := w.restored(sa, inner); v != packet.Pass {
		return sa.refuse(v)
	}
	if !w.admitted(sa) {
		return sa.refuse(packet.DropAccessIn)
	}
	if packet.Opens(inner, &w.inner) {
		w.clampAnswer(inner)
	}
	if v = w.forward(inner); v.Dropped() {
		sa.refuse(v)
	}
	return v
}

// passesBy tells what came by a port and is not for this host, or is a fragment that
// XDP would have left to the kernel if it were.
func (w *Worker) passesBy(t *transit) bool {
	if t.origin != fromPort {
		return false
	}
	adj := w.table.Lookup(t.header.Dst)
	return t.header.Fragment || adj == nil || adj.Kind != fib.Local
}

// decapsulate sorts what came over UDP (RFC 3948 §2, RFC 7296 §2.23).
func (t *transit) decapsulate(payload []byte) packet.Verdict {
	t.body = payload
	if t.header.DstPort == portIKE {
		return packet.Punted
	}
	kind, body := packet.Classify(payload)
	switch kind {
	case packet.EncapESP:
		t.body = body
		return packet.Pass
	case packet.EncapIKE:
		t.body = body
		return packet.Punted
	case packet.EncapKeepalive:
		return packet.DropKeepalive
	}
	return packet.DropMalformed
}

// punt hands an IKE message to the control process.
func (w *Worker) punt(t *transit) packet.Verdict {
	local, remote := t.endpoints()
	if !w.slow.Report(keysock.Punt{Local: local, Remote: remote, Data: append([]byte(nil), t.body...)}) {
		return packet.DropPuntFull
	}
	return packet.Punted
}

// unknownSPI tells the control process about ESP without an SA, at most once a
// second for each source, and drops the packet.
func (w *Worker) unknownSPI(t *transit) packet.Verdict {
	local, remote := t.endpoints()
	if packets, due := w.strange.note(remote.Addr(), w.now); due {
		sequence := binary.BigEndian.Uint32(t.body[4:])
		w.slow.Report(keysock.UnknownSPI{SPI: t.spi(), Local: local, Remote: remote, Sequence: sequence, Packets: packets})
	}
	return packet.DropUnknownSPI
}

// endpoints have ports when they are those of UDP.
func (t *transit) endpoints() (local, remote netip.AddrPort) {
	h := &t.header
	if !t.encap {
		return netip.AddrPortFrom(h.Dst, 0), netip.AddrPortFrom(h.Src, 0)
	}
	return netip.AddrPortFrom(h.Dst, h.DstPort), netip.AddrPortFrom(h.Src, h.SrcPort)
}

// unprotected decides on a clear packet from the untrusted network: what a policy
// wants protected may not come in without (RFC 4301 §5.2, N4). What no policy wants
// protected is the kernel's; on a port that faces protected networks too, what a
// policy knows to go out is on its way to the tunnel.
func (w *Worker) unprotected(t *transit) packet.Verdict {
	flow := flowOf(&t.header)
	inside := w.ports[t.port].Inside
	if inside {
		if t.entry = w.snap.Match(sadb.Outbound, &flow); t.entry != nil {
			return w.outbound(t)
		}
	}
	entry := w.snap.Match(sadb.Inbound, &flow)
	switch {
	case entry != nil && entry.Policy.Action == sadb.Protect:
		return packet.DropClear
	case entry != nil && entry.Policy.Action == sadb.Discard:
		return packet.DropPolicy
	case entry == nil && inside:
		return w.outbound(t)
	}
	w.repair(t)
	return w.toHost(t.ip)
}

// openInto is where the next packet of at most n bytes is decrypted: a TX frame
// of the port that the last one left by, or scratch memory when there is none, or
// none so large.
func (w *Worker) openInto(n int) []byte {
	frame := w.ports[w.hint].Queue.Reserve()
	if len(frame) < packet.EthernetLen+n {
		return w.buffer
	}
	return frame[packet.EthernetLen:]
}

// admitted asks the child's access list, if it has one, of the packet as the inside
// is to see it.
func (w *Worker) admitted(sa *inboundSA) bool {
	if len(sa.access) == 0 {
		return true
	}
	flow := flowOf(&w.inner)
	return sa.access.Permits(sadb.Inbound, &flow)
}
