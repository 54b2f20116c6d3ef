package packet

import "encoding/binary"

// TransportESP finds where ESP in transport mode goes into the IP packet at the
// start of ip, which is as long as its header says: behind IPv4 options, and
// behind those IPv6 extension headers that nodes on the way read: hop-by-hop,
// destination options before a routing header, routing, and fragmentation (RFC
// 4303 §3.1.1). next is the protocol that ESP takes in. Fragments are refused
// (RFC 4303 §3.3.4).
func TransportESP(ip []byte) (at int, next uint8, v Verdict) {
	if ip[0]>>4 == 4 {
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return 0, 0, DropFragment
		}
		return int(ip[0]&15) * 4, ip[9], Pass
	}
	at, next = IPv6Len, ip[6]
	for range maxExtensions {
		if next != hopByHop && next != routing && next != fragmentExt && next != destination {
			return at, next, Pass
		}
		ext := ip[at:]
		if len(ext) < 8 || len(ext) < extensionLen(next, ext) {
			return 0, 0, DropTruncated
		}
		if next == destination && ext[0] != routing {
			return at, next, Pass
		}
		if next == fragmentExt && binary.BigEndian.Uint16(ext[2:])&0xfff9 != 0 {
			return 0, 0, DropFragment
		}
		at, next = at+extensionLen(next, ext), ext[0]
	}
	return 0, 0, DropMalformed
}

// extensionLen is the length of an extension header of at least 8 bytes.
func extensionLen(protocol uint8, ext []byte) int {
	if protocol == fragmentExt {
		return 8
	}
	return 8 + int(ext[1])*8
}

// Restack makes of ip a packet whose first at bytes are headers that have been
// parsed, and whose rest is of protocol next: it writes the last header's next
// header field, the packet's length, and an IPv4 checksum.
func Restack(ip []byte, at int, next uint8) {
	if ip[0]>>4 == 4 {
		ip[9] = next
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		SetIPv4Checksum(ip)
		return
	}
	field, _ := lastNext(ip, at)
	ip[field] = next
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-IPv6Len))
}

// lastNext is where, among the first at bytes of an IPv6 packet, the last header
// says what follows it, and whether a fragment header is among them.
func lastNext(ip []byte, at int) (field int, fragmented bool) {
	field = 6
	for end := IPv6Len; end+8 <= at; {
		fragmented = fragmented || ip[field] == fragmentExt
		n := extensionLen(ip[field], ip[end:])
		field, end = end, end+n
	}
	return field, fragmented
}

// RestoreChecksum makes the checksum right of a packet that came through a NAT
// in transport mode: its TCP or UDP checksum was computed over addresses that
// have been translated since (RFC 3948 §3.1.2, the second way; RFC 3947 §5.2).
// An IPv4 UDP packet without a checksum stays without. The packet must be
// authenticated, for what was wrong before is right after.
func RestoreChecksum(ip []byte, h *Header) {
	if h.Protocol != TCP && h.Protocol != UDP {
		return
	}
	layer, at, ok := transport(ip, h)
	if !ok || h.Protocol == UDP && h.Version == 4 && layer[at] == 0 && layer[at+1] == 0 {
		return
	}
	putChecksum(ip, layer, at, h.Protocol)
}
