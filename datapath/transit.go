package datapath

import (
	"net/netip"

	"spindle/datapath/packet"
)

// transit is a packet on its way through a worker: as it came, and what each stage
// found for those after it.
type transit struct {
	arrival
	side   side
	ip     []byte        // from the IP header to the packet's own end
	header packet.Header // of ip

	// What stage 2 found. The snapshot in which it did holds for the whole batch.
	verdict packet.Verdict // Pass unless the packet has come to its end
	encap   bool           // inbound: ESP came in UDP
	flow    flowKey        // outbound
	place   int            // outbound: in the memory of flows
	entry   *entry         // outbound: nil without a policy
	body    []byte         // inbound: from the ESP header on, or the IKE message
	sa      *inboundSA     // inbound: nil without one
}

// side is where a packet belongs.
type side uint8

const (
	nowhere     side = iota // its verdict is known
	outward                 // to be protected, or to be sent as it is: outbound.go
	inward                  // ESP or IKE for this gateway: inbound.go
	unprotected             // clear, from the untrusted network: inbound.go
)

// process takes packets through the worker, each stage for all of them before the
// next one begins, so that memory brings what one needs while the others ask for
// theirs:
//
//  1. read the IP header, and tell to which side the packet belongs
//  2. find its policy, or its SA
//  3. the rest, in the order of arrival
func (w *Worker) process(packets []transit) {
	for i := range packets {
		w.sort(&packets[i])
	}
	w.find(packets)
	for i := range packets {
		w.count(w.finish(&packets[i]))
	}
}

// sort is stage 1.
func (w *Worker) sort(t *transit) {
	t.side = nowhere
	if t.verdict = t.parse(); t.verdict != packet.Pass {
		return
	}
	switch {
	case t.origin == fromHost && linkScope(t.header.Dst):
		t.verdict = packet.Ignored
	case t.origin == fromHost:
		t.side = outward
	case t.origin == fromKernel || w.isOuter(t):
		t.side = inward
	case w.ports[t.port].Outside:
		t.side = unprotected
	default:
		t.side = outward
	}
}

// linkScope tells what no router forwards and no policy is asked about. The
// kernel sends such packets into any device that is up (a router its MLD reports)
// and has no switch against it; on other ports XDP leaves them to the kernel.
func linkScope(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Is6() && a.IsLinkLocalUnicast()
}

// parse takes off link header and padding, and reads the IP header.
func (t *transit) parse() packet.Verdict {
	ip := t.data
	if t.origin == fromPort {
		n, v := packet.NetworkHeader(ip)
		if v != packet.Pass {
			return v
		}
		ip = ip[n:]
	}
	if v := t.header.ParseIP(ip); v != packet.Pass {
		return v
	}
	t.ip = ip[:t.header.Length]
	return packet.Pass
}

// finish is stage 3.
func (w *Worker) finish(t *transit) packet.Verdict {
	switch t.side {
	case outward:
		return w.outbound(t)
	case inward:
		return w.inbound(t)
	case unprotected:
		return w.unprotected(t)
	}
	return t.verdict
}
