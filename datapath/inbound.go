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

// fromPort takes an Ethernet frame that XDP steered here: ESP or IKE for this
// host, or a packet for a protected prefix. handed says that another worker
// received it and found that its SA is ours.
func (w *Worker) fromPort(port int, frame []byte, handed bool) packet.Verdict {
	eth, v := packet.ParseEthernet(frame)
	if v != packet.Pass {
		return v
	}
	ip := frame[eth.Len:]
	if v := w.outer.ParseIP(ip); v != packet.Pass {
		return v
	}
	ip = ip[:w.outer.Length]
	p := &w.ports[port]
	if p.Outside && w.isOuter(!p.Inside) {
		return w.inbound(port, frame, ip, handed)
	}
	return w.outbound(arrival{fromPort, port, frame, handed}, ip)
}

// fromKernel takes a whole outer IP packet from one of the kernel's sockets.
func (w *Worker) fromKernel(ip []byte) packet.Verdict {
	if v := w.outer.ParseIP(ip); v != packet.Pass {
		return v
	}
	return w.inbound(-1, ip, ip[:w.outer.Length], false)
}

// isOuter tells the packets that end here from those to be protected. On a port
// that faces only the untrusted network XDP steers no others.
func (w *Worker) isOuter(only bool) bool {
	h := &w.outer
	encapsulating := h.Protocol == packet.ESP ||
		h.Protocol == packet.UDP && (h.DstPort == portNATT || h.DstPort == portIKE)
	if only || !encapsulating {
		return encapsulating
	}
	adj := w.table.Lookup(h.Dst)
	return adj != nil && adj.Kind == fib.Local
}

// inbound takes an outer packet through RFC 4301 §5.2:
//
//  1. strip the UDP encapsulation; IKE goes to the control process
//  2. find the SA by its SPI
//  3. see that this worker owns it
//  4. replay check, authentication, decryption: esp.Open, straight into a frame
//     of the port by which the last packet left
//  5. match the inner packet with the SA's selectors
//  6. forward it
func (w *Worker) inbound(port int, frame, ip []byte, handed bool) packet.Verdict {
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
		return w.handInbound(owner, port, frame, handed)
	}

	w.note(&sa.bounds, sa)
	if sa.over {
		return packet.DropLifetime
	}
	dst := w.openInto()
	n, v := sa.Open(dst, body, h.TOS, w.now)
	if v != packet.Pass {
		return v
	}
	inner := dst[:n]
	if v := w.inner.ParseIP(inner); v != packet.Pass {
		return v
	}
	if !w.permitted(sa) {
		return packet.DropSelector
	}
	return w.forward(inner)
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

func (w *Worker) handInbound(owner, port int, frame []byte, handed bool) packet.Verdict {
	if handed {
		return packet.DropHandoffFull // the SA changed hands meanwhile; never pass a packet on twice
	}
	if port < 0 {
		return w.handOff(owner, fromKernel, 0, frame)
	}
	return w.handOff(owner, fromPort, port, frame)
}

// openInto is where the next packet is decrypted: a TX frame of the port that
// the last one left by, or scratch memory when there is none.
func (w *Worker) openInto() []byte {
	if frame := w.ports[w.hint].Queue.Reserve(); frame != nil {
		return frame[packet.EthernetLen:]
	}
	return w.buffer
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

// forward sends a clear packet on its way, by the mirrored routes.
func (w *Worker) forward(ip []byte) packet.Verdict {
	adj := w.table.Lookup(w.inner.Dst)
	if adj == nil {
		return packet.DropNoRoute
	}
	switch adj.Kind {
	case fib.Direct:
	case fib.Blackhole:
		return packet.DropNoRoute
	default:
		return w.toHost(ip)
	}
	if len(ip) > adj.MTU {
		return w.toHost(ip) // the kernel fragments, or tells the source why not
	}
	if v := packet.DecrementTTL(ip); v != packet.Pass {
		return v
	}
	frame := w.ports[adj.Port].Queue.Reserve()
	if frame == nil {
		return packet.DropTXFull
	}
	if &frame[packet.EthernetLen] != &ip[0] {
		copy(frame[packet.EthernetLen:], ip)
	}
	w.transmit(adj, frame, len(ip))
	w.hint = adj.Port
	return packet.Forwarded
}

// transmit puts the link header before n bytes of IP that already stand in the
// reserved frame, and submits it.
func (w *Worker) transmit(adj *fib.Adjacency, frame []byte, n int) {
	eth := packet.Ethernet{Dst: adj.DstMAC, Src: adj.SrcMAC, Type: packet.EtherType(frame[packet.EthernetLen:])}
	eth.Put(frame)
	w.ports[adj.Port].Queue.Submit(packet.EthernetLen + n)
}

func (w *Worker) toHost(ip []byte) packet.Verdict {
	if err := w.slow.ToHost(ip); err != nil {
		return packet.DropSlowPath
	}
	return packet.ToKernel
}
