package nat

import (
	"net/netip"

	"spindle/datapath/packet"
)

// Inbound translates a packet to the address outside, parsed into h, which
// follows:
//
//  1. a later fragment goes where its first one went
//  2. an ICMP error is about a packet that left, and is translated with it
//  3. find the mapping of its destination: nothing from outside makes one
//  4. destination address and port become those inside
//
// Any verdict but Pass leaves the packet as it was.
func (t *Table) Inbound(ip []byte, h *packet.Header, now int64) packet.Verdict {
	t.expire(now)
	switch {
	case h.Version != 4 || h.Dst.As4() != t.address:
		return t.refuse(packet.DropNoMapping)
	case h.FragmentOffset != 0:
		return t.piece(ip, h, now)
	case h.Protocol == packet.ICMP && packet.IsICMPError(ip, h):
		return t.errorIn(ip, h)
	}
	p, ok := destination.find(ip[:h.Length], h.Payload, h.Protocol, false)
	if !ok || p.kind != other && p.sum == 0 {
		return t.refuse(packet.DropNoMapping)
	}
	m := t.ofOutside(p.kind, p.number)
	if m == nil {
		return t.refuse(packet.DropNoMapping)
	}
	t.carry(m, ip, h, now, false)
	if h.More {
		t.pieces.note(h, m.inside, now)
	}
	destination.replace(ip, p, m.inside, m.port)
	h.Dst, h.DstPort = netip.AddrFrom4(m.inside), shown(p, h.DstPort, m.port)
	return packet.Pass
}

// piece translates a later fragment.
func (t *Table) piece(ip []byte, h *packet.Header, now int64) packet.Verdict {
	inside, ok := t.pieces.find(h, now)
	if !ok {
		return t.refuse(packet.DropNoMapping)
	}
	destination.readdress(ip, inside)
	h.Dst = netip.AddrFrom4(inside)
	return packet.Pass
}
