package datapath

import (
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// outbound takes a clear packet through RFC 4301 §5.1:
//
//  1. find the policy by the packet's selectors: policyOf, for the whole batch
//  2. BYPASS is forwarded; DISCARD, and what no policy names, is dropped; so is what
//     the child's access list denies
//  3. without an SA the packet waits, and asks for one
//  4. see that this worker owns the SA
//  5. is its time over, is there a way to the peer
//  6. complete a checksum that was left to hardware
//  7. is its TTL at the end: the kernel tells the source
//  8. does it fit the tunnel: else the source is told, or it will be cut, oversize.go
//  9. the assigned address becomes its source, where there is one, translate.go
//  10. esp.Seal, straight into a frame of the port that leads to the peer
func (w *Worker) outbound(t *transit) packet.Verdict {
	entry := t.entry
	if entry == nil || entry.Action == sadb.Discard {
		return packet.DropPolicy
	}
	if entry.Action == sadb.Bypass {
		return w.bypass(t)
	}
	if entry.Filtered && !let(entry.Policy, t) {
		return packet.DropAccessOut
	}
	sa := entry.Outbound
	if sa == nil {
		return w.await(entry.Policy, t)
	}
	if owner := sa.pair.Worker(); owner != w.id {
		return w.handOff(owner, t.arrival)
	}
	return w.protect(sa, t)
}

// let asks the child's access list, before an SA is asked for.
func let(p *sadb.Policy, t *transit) bool {
	flow := flowOf(&t.header)
	return p.Access.Permits(sadb.Outbound, &flow)
}

// protect is steps 5 to 10.
func (w *Worker) protect(sa *outboundSA, t *transit) packet.Verdict {
	if !sa.touched {
		w.note(&sa.bounds, sa)
	}
	if sa.ended(&sa.Counters) {
		return sa.refuse(packet.DropLifetime)
	}
	adj := w.route(sa)
	if adj == nil || adj.Kind == fib.Blackhole || adj.Kind == fib.Unreachable || adj.Kind == fib.Prohibit {
		return sa.refuse(packet.DropNoRoute)
	}
	w.repair(t)
	ip := t.ip
	// The kernel has done so with what came through the tunnel device.
	if t.origin == fromPort && packet.DecrementTTL(ip) != packet.Pass {
		return w.toHost(ip)
	}
	mtu := sa.fits(adj)
	if t.header.Protocol == packet.TCP && sa.clamp {
		packet.ClampMSS(ip, &t.header, mtu)
	}
	tooLong := len(ip) > mtu && sa.tooLong(ip, adj)
	if tooLong && !sa.cuts(&t.header) {
		w.tellMTU(t, mtu)
		return sa.refuse(packet.DropTooBig)
	}
	if v := w.translated(sa, t); v != packet.Pass {
		return sa.refuse(v)
	}
	if tooLong {
		return w.oversize(sa, adj, t, mtu)
	}
	return w.seal(sa, adj, ip)
}

// repair completes the checksum of a packet that a local stack left partial. It
// must happen before any other stage changes, cuts or hides the packet.
func (w *Worker) repair(t *transit) {
	if t.origin == fromHost || w.ports[t.port].RepairChecksum {
		packet.RepairChecksum(t.ip, &t.header)
	}
}

// seal encrypts into a TX frame when the peer's neighbour is known, else into
// scratch memory for the kernel to send. What Seal itself drops it counts itself.
func (w *Worker) seal(sa *outboundSA, adj *fib.Adjacency, ip []byte) packet.Verdict {
	if adj.Kind != fib.Direct {
		n, v := sa.Seal(w.buffer, ip, w.now)
		if v != packet.Pass {
			return v
		}
		if err := w.slow.SendPacket(w.buffer[:n], sa.Remote()); err != nil {
			return sa.refuse(packet.DropSlowPath)
		}
		return packet.ToKernel
	}
	frame := w.ports[adj.Port].Queue.Reserve()
	if frame == nil {
		return sa.refuse(packet.DropTXFull)
	}
	room := frame[packet.EthernetLen:]
	n, v := sa.Seal(room[:min(len(room), sa.pathOf(adj))], ip, w.now)
	if v != packet.Pass {
		return v
	}
	w.transmit(adj, frame, n)
	return packet.Forwarded
}

// bypass forwards a packet in the clear, as policy says. This host's own came by
// a route into the tunnel device, which the kernel's marked sockets do not take.
func (w *Worker) bypass(t *transit) packet.Verdict {
	w.repair(t)
	if t.origin == fromHost {
		if err := w.slow.SendPacket(t.ip, t.header.Dst); err != nil {
			return packet.DropSlowPath
		}
		return packet.ToKernel
	}
	adj := w.table.Lookup(t.header.Dst)
	switch {
	case adj == nil:
		return w.toHost(t.ip)
	case adj.Kind == fib.Blackhole:
		return packet.DropNoRoute
	case adj.Kind == fib.Direct:
		return w.send(adj, t.ip)
	}
	return w.toHost(t.ip)
}

// await keeps a packet until its policy has an SA, and asks for one.
func (w *Worker) await(p *sadb.Policy, t *transit) packet.Verdict {
	if !p.Acquire {
		return packet.DropPolicy
	}
	kept := w.waiting.keep(p.ID, t.arrival, w.now)
	if w.waiting.mayAsk(p.ID, w.now) {
		w.slow.Report(keysock.Acquire{Policy: p.ID, Flow: flowOf(&t.header)})
	}
	if !kept {
		return packet.DropNoSA
	}
	return packet.Queued
}
