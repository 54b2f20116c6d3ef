package packet

import (
	"encoding/binary"
	"net/netip"
)

// How much of a packet an ICMP error may be, headers included: RFC 1812
// §4.3.2.3 and RFC 4443 §2.4 (c).
const (
	icmpv4Max = 576
	icmpv6Max = 1280
)

const icmpLen = 8

// MaxICMPError is the room that PutTooBig and PutTimeExceeded need at most.
const MaxICMPError = icmpv6Max

// internetControl is the precedence of ICMP errors (RFC 1812 §4.3.2.5).
const internetControl = 0xc0

// PutTooBig writes to dst the answer to a packet that does not fit: ICMP
// "fragmentation needed" (RFC 1191 §4) or ICMPv6 "packet too big" (RFC 4443
// §3.2), sent by from, naming the MTU that would fit. It returns the length of
// the IP packet, or 0 when the packet must not be answered or dst is too short.
func PutTooBig(dst, original []byte, h *Header, from netip.Addr, mtu int) int {
	if h.Version == 4 {
		return putError(dst, original, h, from, 3, 4, uint32(min(mtu, 0xffff)))
	}
	return putError(dst, original, h, from, 2, 0, uint32(mtu))
}

// PutTimeExceeded writes the answer to a packet whose TTL ran out (RFC 792,
// RFC 4443 §3.3), with the same result as PutTooBig.
func PutTimeExceeded(dst, original []byte, h *Header, from netip.Addr) int {
	if h.Version == 4 {
		return putError(dst, original, h, from, 11, 0, 0)
	}
	return putError(dst, original, h, from, 3, 0, 0)
}

// putError writes an ICMP error that quotes as much of original as may be.
//
//	+---------------+---------------+-------------------------------+
//	|     Type      |     Code      |           Checksum            |
//	+---------------+---------------+-------------------------------+
//	|          MTU (ICMPv4: in the low 16 bits) or unused           |
//	+---------------------------------------------------------------+
//	|           as much of the original packet as fits              |
//	+---------------------------------------------------------------+
func putError(dst, original []byte, h *Header, from netip.Addr, kind, code uint8, value uint32) int {
	header, most, protocol := IPv4Len, icmpv4Max, uint8(ICMP)
	if h.Version == 6 {
		header, most, protocol = IPv6Len, icmpv6Max, ICMPv6
	}
	if len(original) < h.Length || !answerable(original, h, kind) {
		return 0
	}
	quoted := min(h.Length, most-header-icmpLen)
	n := icmpLen + quoted
	if putIP(dst, from, h.Src, protocol, internetControl, n, uint16(h.ID)) == 0 {
		return 0
	}
	layer := dst[header : header+n]
	layer[0], layer[1] = kind, code
	binary.BigEndian.PutUint32(layer[4:], value)
	copy(layer[icmpLen:], original[:quoted])
	if h.Version == 6 {
		putChecksum(dst, layer, 2, ICMPv6)
		return header + n
	}
	layer[2], layer[3] = 0, 0
	binary.BigEndian.PutUint16(layer[2:], Checksum(layer))
	return header + n
}

// answerable says whether an ICMP error may be sent about a packet: not about
// another ICMP error, a later fragment, a multicast or broadcast, or a source
// that is not one host (RFC 1812 §4.3.2.7, RFC 4443 §2.4 (e)). "Packet too big"
// alone answers an IPv6 multicast.
func answerable(original []byte, h *Header, kind uint8) bool {
	if h.FragmentOffset != 0 || !oneHost(h.Src) {
		return false
	}
	if !oneHost(h.Dst) && !(h.Version == 6 && kind == 2 && h.Dst.IsMulticast()) {
		return false
	}
	if h.Payload >= h.Length {
		return true
	}
	about := original[h.Payload]
	switch h.Protocol {
	case ICMPv6:
		return about >= 128 && about != 137 // informational, and no redirect
	case ICMP:
		switch about {
		case 3, 4, 5, 11, 12:
			return false
		}
	}
	return true
}

// IsICMPError tells an ICMPv4 error, which quotes the packet that it is about, from
// other messages (RFC 792). The packet is no later fragment.
func IsICMPError(ip []byte, h *Header) bool {
	return h.Version == 4 && h.Protocol == ICMP && h.Payload < h.Length && icmpv4Error(ip[h.Payload])
}

// oneHost says whether an address can be that of a single interface.
func oneHost(a netip.Addr) bool {
	if a.Is4() && a.As4()[0] >= 240 {
		return false // class E and limited broadcast
	}
	return !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback()
}
