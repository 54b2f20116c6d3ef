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
func (w *Worker) isOuter(port int) bool {
	h := &w.outer
	encapsulating := h.Protocol == packet.ESP ||
		h.Protocol == packet.UDP && (h.DstPort == portNATT || h.DstPort == portIKE)
	if !encapsulating || !w.ports[port].Inside {
		return encapsulating
	}
	adj := w.table.Lookup(h.Dst)
	return adj != nil && adj.Kind == fib.Local
}

// inbound takes an outer packet, parsed into w.outer, through RFC 4301 §5.2:
//
//  1. strip the UDP encapsulation; IKE goes to the control process
//  2. find the SA by its SPI
//  3. see that this worker owns it
//  4. is its time over
//  5. replay check, authentication, decryption: esp.Open, straight into a frame
//     of the port by which the last packet left
//  6. match the inner packet with the SA's selectors
//  7. forward it
func (w *Worker) inbound(a arrival, ip []byte) packet.Verdict {
	h := &w.outer
	if h.Fragment {
		return packet.DropMalformed // XDP leaves fragments to the kernel, which reassembles
	}
	body, encap := ip[h.Payload:], false
	if h.Protocol == packet.UDP {
		payload, v := packet.UDPPayload(ip, h)
		if v != packet.Pass {
			return v
		}
		if body, v = w.decapsulate(payload); v != packet.Pass {
			return v
		}
		encap = true
	}
	if len(body) < esp.HeaderLen {
		return packet.DropTruncated
	}
	spi := sadb.SPI(binary.BigEndian.Uint32(body))
	sa := w.snap.Inbound(spi)
	if sa == nil {
		return w.unknownSPI(spi, binary.BigEndian.Uint32(body[4:]), encap)
	}
	if owner := spi.Worker(); owner != w.id {
		return w.handOff(owner, a)
	}
	return w.open(sa, ip, body)
}

// open is steps 4 to 7. What Open itself drops it counts itself.
func (w *Worker) open(sa *inboundSA, ip, body []byte) packet.Verdict {
	w.note(&sa.bounds, sa)
	if sa.ended(&sa.Counters) {
		return sa.refuse(packet.DropLifetime)
	}
	dst := w.openInto(len(ip))
	n, v := sa.Open(dst, ip, &w.outer, body, w.now)
	if v != packet.Pass {
		return v
	}
	inner := dst[:n]
	if v := w.inner.ParseIP(inner); v != packet.Pass {
		return sa.refuse(v)
	}
	if !w.permitted(sa) {
		return sa.refuse(packet.DropSelector)
	}
	if packet.Opens(inner, &w.inner) {
		w.clampAnswer(inner)
	}
	if v = w.forward(inner); v.Dropped() {
		sa.refuse(v)
	}
	return v
}

// decapsulate sorts what came over UDP (RFC 3948 §2, RFC 7296 §2.23).
func (w *Worker) decapsulate(payload []byte) ([]byte, packet.Verdict) {
	if w.outer.DstPort == portIKE {
		return nil, w.punt(payload)
	}
	kind, body := packet.Classify(payload)
	switch kind {
	case packet.EncapESP:
		return body, packet.Pass
	case packet.EncapIKE:
		return nil, w.punt(body)
	case packet.EncapKeepalive:
		return nil, packet.DropKeepalive
	}
	return nil, packet.DropMalformed
}

// punt hands an IKE message to the control process.
func (w *Worker) punt(message []byte) packet.Verdict {
	local, remote := w.endpoints(true)
	if !w.slow.Report(keysock.Punt{Local: local, Remote: remote, Data: append([]byte(nil), message...)}) {
		return packet.DropPuntFull
	}
	return packet.Punted
}

// unknownSPI tells the control process about ESP without an SA, at most once a
// second for each source, and drops the packet.
func (w *Worker) unknownSPI(spi sadb.SPI, sequence uint32, encap bool) packet.Verdict {
	local, remote := w.endpoints(encap)
	if packets, due := w.strange.note(remote.Addr(), w.now); due {
		w.slow.Report(keysock.UnknownSPI{SPI: spi, Local: local, Remote: remote, Sequence: sequence, Packets: packets})
	}
	return packet.DropUnknownSPI
}

func (w *Worker) endpoints(ports bool) (local, remote netip.AddrPort) {
	h := &w.outer
	if !ports {
		return netip.AddrPortFrom(h.Dst, 0), netip.AddrPortFrom(h.Src, 0)
	}
	return netip.AddrPortFrom(h.Dst, h.DstPort), netip.AddrPortFrom(h.Src, h.SrcPort)
}

// unprotected decides on a clear packet from the untrusted network: what a policy
// wants protected may not come in without (RFC 4301 §5.2, N4). What no policy wants
// protected is the kernel's; on a port that faces protected networks too, what a
// policy knows to go out is on its way to the tunnel.
func (w *Worker) unprotected(a arrival, ip []byte) packet.Verdict {
	flow := flowOf(&w.outer)
	inside := w.ports[a.port].Inside
	if inside && w.snap.Match(sadb.Outbound, &flow) != nil {
		return w.outbound(a, ip)
	}
	entry := w.snap.Match(sadb.Inbound, &flow)
	switch {
	case entry != nil && entry.Policy.Action == sadb.Protect:
		return packet.DropClear
	case entry != nil && entry.Policy.Action == sadb.Discard:
		return packet.DropPolicy
	case entry == nil && inside:
		return w.outbound(a, ip)
	}
	w.repair(a, ip)
	return w.toHost(ip)
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

// permitted checks the inner packet against the SA's selectors (RFC 4301 §5.2,
// step 4): the SA's remote side is the packet's source.
func (w *Worker) permitted(sa *inboundSA) bool {
	h := &w.inner
	return matchAny(sa.remoteTS, h.Src, h.Protocol, h.SrcPort) &&
		matchAny(sa.localTS, h.Dst, h.Protocol, h.DstPort)
}

// matchAny takes the port as 0 for a fragment that does not show it: such a
// packet passes only where the selector allows any port (RFC 4301 §7.2).
func matchAny(ts []sadb.Selector, a netip.Addr, protocol uint8, port uint16) bool {
	for i := range ts {
		if ts[i].Matches(a, protocol, port) {
			return true
		}
	}
	return false
}
