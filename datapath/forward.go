package datapath

import (
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// forward sends a decrypted packet, parsed into w.inner, on its way by the
// mirrored routes. The kernel gets what has no route: it knows further tables,
// and what to tell the source.
func (w *Worker) forward(ip []byte) packet.Verdict {
	adj := w.near.lookup(w.table, ip, &w.inner)
	if adj == nil {
		return w.toHost(ip)
	}
	switch adj.Kind {
	case fib.Direct:
	case fib.Blackhole:
		return packet.DropNoRoute
	default:
		return w.toHost(ip)
	}
	w.hint = adj.Port
	if w.ports[adj.Port].Outside {
		return w.leave(adj, ip)
	}
	return w.send(adj, ip)
}

// leave decides on a decrypted packet whose route leads to the untrusted network:
// there it meets the SPD once more, as any other that goes out (RFC 4301 §5.1).
// With a PROTECT entry the kernel routes it into the tunnel device, from where it
// comes back to be sealed: between tunnels is not the fast path. Without an entry
// it is for the kernel's own forwarding to decide, unless the port faces
// protected networks as well.
func (w *Worker) leave(adj *fib.Adjacency, ip []byte) packet.Verdict {
	flow := flowOf(&w.inner)
	entry := w.snap.Match(sadb.Outbound, &flow)
	switch {
	case entry == nil && w.ports[adj.Port].Inside:
		return w.send(adj, ip)
	case entry == nil || entry.Policy.Action == sadb.Protect:
		return w.toHost(ip)
	case entry.Policy.Action == sadb.Bypass:
		return w.send(adj, ip)
	}
	return packet.DropPolicy
}

// send puts a clear packet into a frame of the port that leads to its next hop.
// What is too long or at the end of its TTL goes to the kernel, which fragments
// it or tells the source why not.
func (w *Worker) send(adj *fib.Adjacency, ip []byte) packet.Verdict {
	if len(ip) > adj.MTU {
		return w.toHost(ip)
	}
	frame := w.ports[adj.Port].Queue.Reserve()
	if frame == nil {
		return packet.DropTXFull
	}
	if packet.EthernetLen+len(ip) > len(frame) || packet.DecrementTTL(ip) != packet.Pass {
		return w.toHost(ip)
	}
	if &frame[packet.EthernetLen] != &ip[0] {
		copy(frame[packet.EthernetLen:], ip)
	}
	w.transmit(adj, frame, len(ip))
	return packet.Forwarded
}

// transmit puts the link header before n bytes of IP that already stand in the
// reserved frame, and submits it.
func (w *Worker) transmit(adj *fib.Adjacency, frame []byte, n int) {
	packet.PutLink(frame, &adj.DstMAC, &adj.SrcMAC)
	w.ports[adj.Port].Queue.Submit(packet.EthernetLen + n)
}

// toHost gives a packet to this host's stack, to deliver or to forward.
func (w *Worker) toHost(ip []byte) packet.Verdict {
	if err := w.slow.ToHost(ip); err != nil {
		return packet.DropSlowPath
	}
	return packet.ToKernel
}

// flowOf is what the SPD matches.
func flowOf(h *packet.Header) sadb.Flow {
	return sadb.Flow{Src: h.Src, Dst: h.Dst, Protocol: h.Protocol, SrcPort: h.SrcPort, DstPort: h.DstPort}
}
