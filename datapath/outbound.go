package datapath

import (
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// arrival is how a clear packet came to a worker, so that it can be handed on or
// kept in just that form.
type arrival struct {
	origin origin
	port   int    // with fromPort
	data   []byte // the frame with fromPort, the IP packet with fromHost
	handed bool
}

// fromHost takes an IP packet that this host sent into the tunnel device.
func (w *Worker) fromHost(ip []byte) packet.Verdict {
	if v := w.outer.ParseIP(ip); v != packet.Pass {
		return v
	}
	return w.outbound(arrival{origin: fromHost, data: ip}, ip[:w.outer.Length])
}

// outbound takes a clear packet, parsed into w.outer, through RFC 4301 §5.1:
//
//  1. find the policy by the packet's selectors
//  2. BYPASS is forwarded; DISCARD, and what no policy names, is dropped
//  3. without an SA the packet waits, and asks for one
//  4. see that this worker owns the SA
//  5. does it fit, is its time over
//  6. complete a checksum that was left to hardware
//  7. esp.Seal, straight into a frame of the port that leads to the peer
func (w *Worker) outbound(a arrival, ip []byte) packet.Verdict {
	h := &w.outer
	w.flow = sadb.Flow{Src: h.Src, Dst: h.Dst, Protocol: h.Protocol, SrcPort: h.SrcPort, DstPort: h.DstPort}
	entry := w.snap.Match(sadb.Outbound, &w.flow)
	if entry == nil || entry.Policy.Action == sadb.Discard {
		return packet.DropPolicy
	}
	if entry.Policy.Action == sadb.Bypass {
		return w.bypass(a, ip)
	}
	sa := entry.Outbound
	if sa == nil {
		return w.await(entry.Policy, a)
	}
	if owner := sa.pair.Worker(); owner != w.id {
		if a.handed {
			return packet.DropHandoffFull // never pass a packet on twice
		}
		return w.handOff(owner, a.origin, a.port, a.data)
	}

	adj := w.table.Lookup(sa.Remote())
	if adj == nil || adj.Kind == fib.Blackhole {
		return packet.DropNoRoute
	}
	if len(ip) > sa.InnerMTU(adj.MTU) {
		return w.tooBig(a, ip)
	}
	if a.origin == fromPort {
		if v := packet.DecrementTTL(ip); v != packet.Pass {
			return v
		}
		if w.ports[a.port].RepairChecksum {
			packet.RepairChecksum(ip, h)
		}
	} else {
		packet.RepairChecksum(ip, h)
	}
	return w.seal(sa, adj, ip)
}

// seal encrypts into a TX frame when the peer's neighbour is known, else into
// scratch memory for the kernel to send.
func (w *Worker) seal(sa *outboundSA, adj *fib.Adjacency, ip []byte) packet.Verdict {
	w.note(&sa.bounds, sa)
	if sa.over {
		return packet.DropLifetime
	}
	if adj.Kind != fib.Direct {
		n, v := sa.Seal(w.buffer, ip, w.now)
		if v != packet.Pass {
			return v
		}
		if err := w.slow.SendPacket(w.buffer[:n], sa.Remote()); err != nil {
			return packet.DropSlowPath
		}
		return packet.ToKernel
	}
	frame := w.ports[adj.Port].Queue.Reserve()
	if frame == nil {
		return packet.DropTXFull
	}
	n, v := sa.Seal(frame[packet.EthernetLen:], ip, w.now)
	if v != packet.Pass {
		return v
	}
	w.transmit(adj, frame, n)
	return packet.Forwarded
}

// bypass forwards a packet in the clear, as policy says.
func (w *Worker) bypass(a arrival, ip []byte) packet.Verdict {
	w.inner = w.outer
	if a.origin == fromHost {
		return packet.DropPolicy // it came by a route into the tunnel device: no other way is known
	}
	return w.forward(ip)
}

// tooBig gives a packet that does not fit the tunnel back to the kernel, which
// routes it to the tunnel device and there fragments it, or tells the source the
// MTU. A packet that came from that device already did fit its MTU: one of
// several tunnels is narrower still.
func (w *Worker) tooBig(a arrival, ip []byte) packet.Verdict {
	if a.origin == fromHost {
		return packet.DropTooBig
	}
	return w.toHost(ip)
}

// await keeps a packet until its policy has an SA, and asks for one.
func (w *Worker) await(p *sadb.Policy, a arrival) packet.Verdict {
	if !p.Acquire {
		return packet.DropPolicy
	}
	kept, ask := w.waiting.add(p.ID, a, w.now)
	if ask {
		w.slow.Report(keysock.Acquire{Policy: p.ID, Flow: w.flow})
	}
	if !kept {
		return packet.DropNoSA
	}
	return packet.Queued
}
