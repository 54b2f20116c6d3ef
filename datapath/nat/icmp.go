package nat

import (
	"encoding/binary"
	"net/netip"

	"spindle/datapath/packet"
)

// quote is the packet that an ICMP error is about, of which the beginning is there.
type quote struct {
	layer []byte // the ICMP message
	ip    []byte // the quoted packet
	at    int    // where in it the next header starts
}

const icmpLen = 8

// quoteOf reads an ICMP error whose checksum is right (RFC 5508 REQ-3). It is
// false for those that quote no ports.
func quoteOf(ip []byte, h *packet.Header) (q quote, ok bool) {
	q.layer = ip[h.Payload:h.Length]
	if h.Fragment || len(q.layer) < icmpLen+packet.IPv4Len || packet.Checksum(q.layer) != 0 {
		return q, false
	}
	q.ip = q.layer[icmpLen:]
	q.at = int(q.ip[0]&15) * 4
	fragment := binary.BigEndian.Uint16(q.ip[6:])&0x1fff != 0
	return q, q.ip[0]>>4 == 4 && q.at >= packet.IPv4Len && q.at <= len(q.ip) && !fragment
}

// errorIn translates an error about a packet that left: it is for who sent that
// (RFC 5508 REQ-4). It keeps no mapping alive, and ends none (REQ-6, RFC 5382 REQ-10).
func (t *Table) errorIn(ip []byte, h *packet.Header) packet.Verdict {
	q, ok := quoteOf(ip, h)
	if !ok || [4]byte(q.ip[source.address:]) != t.address {
		return t.refuse(packet.DropNoMapping)
	}
	p, ok := source.find(q.ip, q.at, q.ip[9], true)
	if !ok {
		return t.refuse(packet.DropNoMapping)
	}
	m := t.ofOutside(p.kind, p.number)
	if m == nil {
		return t.refuse(packet.DropNoMapping)
	}
	source.replace(q.ip, p, m.inside, m.port)
	q.seal()
	destination.readdress(ip, m.inside)
	h.Dst = netip.AddrFrom4(m.inside)
	return packet.Pass
}

// errorOut translates an error about a packet that came in. It may be of a router
// on the way to the inside host, which takes the address outside all the same
// (RFC 5508 REQ-5).
func (t *Table) errorOut(ip []byte, h *packet.Header) packet.Verdict {
	q, ok := quoteOf(ip, h)
	if !ok {
		return t.refuse(packet.DropUntranslatable)
	}
	p, ok := destination.find(q.ip, q.at, q.ip[9], false)
	if !ok {
		return t.refuse(packet.DropUntranslatable)
	}
	m := t.ofInside(p.kind, [4]byte(q.ip[destination.address:]), p.number)
	if m == nil {
		return t.refuse(packet.DropNoMapping)
	}
	destination.replace(q.ip, p, t.address, m.outside)
	q.seal()
	source.readdress(ip, t.address)
	h.Src = netip.AddrFrom4(t.address)
	return packet.Pass
}

// seal computes the checksum of the message anew.
func (q *quote) seal() {
	q.layer[2], q.layer[3] = 0, 0
	binary.BigEndian.PutUint16(q.layer[2:], packet.Checksum(q.layer))
}
