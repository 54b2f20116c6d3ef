package nat

import (
	"net/netip"

	"spindle/datapath/packet"
)

// Outbound translates a packet from inside, parsed into h, which follows:
//
//  1. a later fragment takes the address alone
//  2. an ICMP error is about a packet that came in, and is translated with it
//  3. find the mapping of its source, or make one
//  4. source address and port become those outside
//
// Any verdict but Pass leaves the packet as it was.
func (t *Table) Outbound(ip []byte, h *packet.Header, now int64) packet.Verdict {
	t.expire(now)
	switch {
	case h.Version != 4:
		return t.refuse(packet.DropUntranslatable)
	case h.FragmentOffset != 0:
		source.readdress(ip, t.address)
		h.Src = netip.AddrFrom4(t.address)
		return packet.Pass
	case h.Protocol == packet.ICMP && packet.IsICMPError(ip, h):
		return t.errorOut(ip, h)
	}
	p, ok := source.find(ip[:h.Length], h.Payload, h.Protocol, true)
	if !ok || p.kind != other && p.sum == 0 {
		return t.refuse(packet.DropUntranslatable)
	}
	m, v := t.assign(p, h.Src.As4(), now)
	if v != packet.Pass {
		return t.refuse(v)
	}
	t.carry(m, ip, h, now, true)
	source.replace(ip, p, t.address, m.outside)
	h.Src, h.SrcPort = netip.AddrFrom4(t.address), shown(p, h.SrcPort, m.outside)
	return packet.Pass
}

// assign is the mapping of an inside end, a new one if there is none.
func (t *Table) assign(p place, inside [4]byte, now int64) (*mapping, packet.Verdict) {
	if m := t.ofInside(p.kind, inside, p.number); m != nil {
		return m, packet.Pass
	}
	if t.unused == 0 {
		return nil, packet.DropMappingsFull
	}
	outside, ok := t.port(p.kind, p.number)
	switch {
	case !ok && p.kind == other:
		return nil, packet.DropUntranslatable // another inside host has the protocol
	case !ok:
		return nil, packet.DropMappingsFull
	}
	return t.add(p.kind, inside, p.number, outside, now), packet.Pass
}

// carry notes a packet of a mapping.
func (t *Table) carry(m *mapping, ip []byte, h *packet.Header, now int64, out bool) {
	l := m.limit
	if m.kind == tcp {
		m.state = m.state.next(segmentOf(ip, h.Payload, h.Length), out)
		l = m.state.limit()
	}
	t.use(m, l, now)
}

// shown is the port that packet.Header shows after translation: none of ICMP's and
// of protocols without ports changes.
func shown(p place, before, after uint16) uint16 {
	if p.kind == tcp || p.kind == udp {
		return after
	}
	return before
}
