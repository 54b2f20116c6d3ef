package packet

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers that the data path tells apart.
const (
	ICMP   = 1
	IPv4   = 4 // IPv4 in a tunnel
	TCP    = 6
	UDP    = 17
	IPv6   = 41 // IPv6 in a tunnel
	ESP    = 50
	ICMPv6 = 58
	NoNext = 59 // RFC 8200 §4.7; RFC 4303 §2.6 uses it for dummy packets
	SCTP   = 132
)

const (
	IPv4Len = 20 // without options
	IPv6Len = 40
	UDPLen  = 8
)

// Header is what an IP packet says of itself, enough for the SPD, the FIB and
// the SA selection. Offsets count from the first byte of the IP header.
type Header struct {
	Src, Dst netip.Addr

	// SrcPort and DstPort are those of TCP, UDP and SCTP. ICMP and ICMPv6 show
	// type<<8|code in both (RFC 4301 §4.4.1.1, RFC 7296 §3.13.1). They are 0 when
	// the protocol has none, and in fragments that do not hold them: see Opaque.
	SrcPort, DstPort uint16

	Protocol uint8 // the next layer, past IPv6 extension headers
	Version  uint8 // 4 or 6
	TOS      uint8 // DSCP<<2 | ECN
	TTL      uint8 // or hop limit

	DF       bool // IPv4 only
	Fragment bool // part of a larger packet
	More     bool // more fragments follow
	Opaque   bool // a later fragment: the ports exist, but not in here (RFC 4301 §7)

	FragmentOffset int    // bytes
	ID             uint32 // fragment identification

	Length  int // of the packet, without what Ethernet padded
	Payload int // where the next layer starts
}

// ECN codepoints, the low two bits of TOS (RFC 3168 §5).
const (
	ECNMask = 3
	NotECT  = 0
	ECT1    = 1
	ECT0    = 2
	CE      = 3
)

// ParseIP reads the IP packet at the start of b into h. h is only written when
// the verdict is Pass.
func (h *Header) ParseIP(b []byte) Verdict {
	n, v := Length(b)
	if v != Pass {
		return v
	}
	if b[0]>>4 == 4 {
		return h.parseIPv4(b[:n])
	}
	return h.parseIPv6(b[:n])
}

// Length is the length of the IP packet at the start of b, which may be padded
// (by Ethernet, or by traffic flow confidentiality, RFC 4303 §2.7).
func Length(b []byte) (int, Verdict) {
	if len(b) == 0 {
		return 0, DropTruncated
	}
	var n, least int
	switch b[0] >> 4 {
	case 4:
		if len(b) < IPv4Len {
			return 0, DropTruncated
		}
		least = int(b[0]&15) * 4
		n = int(binary.BigEndian.Uint16(b[2:]))
		if least < IPv4Len {
			return 0, DropMalformed
		}
	case 6:
		if len(b) < IPv6Len {
			return 0, DropTruncated
		}
		// A jumbogram (RFC 2675) says 0 here and becomes a bare header.
		least = IPv6Len
		n = IPv6Len + int(binary.BigEndian.Uint16(b[4:]))
	default:
		return 0, DropNotIP
	}
	if n < least {
		return 0, DropMalformed
	}
	if n > len(b) {
		return 0, DropTruncated
	}
	return n, Pass
}

// parseIPv4 reads a packet of exactly its own length.
//
//	 0                   1                   2                   3
//	+-------+-------+---------------+-------------------------------+
//	|Version|  IHL  |Type of Service|          Total Length         |
//	+-------+-------+---------------+-----+-------------------------+
//	|         Identification        |Flags|      Fragment Offset    |
//	+---------------+---------------+-----+-------------------------+
//	|  Time to Live |    Protocol   |         Header Checksum       |
//	+---------------+---------------+-------------------------------+
//	|                         Source Address                        |
//	|                      Destination Address                      |
//	|                           Options                             |
//	+---------------------------------------------------------------+
func (h *Header) parseIPv4(b []byte) Verdict {
	ip, header := (*[IPv4Len]byte)(b), int(b[0]&15)*4
	acc := headerSum(ip)
	if header != IPv4Len {
		acc = sum(b[IPv4Len:header], acc)
	}
	// RFC 1812 §5.2.2: a router MUST verify the IP header checksum.
	if fold(acc) != 0xffff {
		return DropChecksum
	}
	frag := binary.BigEndian.Uint16(ip[6:])
	more, offset := frag&0x2000 != 0, int(frag&0x1fff)*8
	if reassemblesTooLong(more, offset, len(b)-header) {
		return DropMalformed
	}
	src, dst, opaque, v := parsePorts(ip[9], offset, b[header:])
	if v != Pass {
		return v
	}
	// Field by field: what is composed elsewhere would be copied through memory.
	h.Src, h.Dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	h.SrcPort, h.DstPort = src, dst
	h.Protocol, h.Version, h.TOS, h.TTL = ip[9], 4, ip[1], ip[8]
	h.DF, h.Fragment, h.More, h.Opaque = frag&0x4000 != 0, more || offset != 0, more, opaque
	h.FragmentOffset, h.ID = offset, uint32(binary.BigEndian.Uint16(ip[4:]))
	h.Length, h.Payload = len(b), header
	return Pass
}

// headerSum is sum for an IPv4 header without its options: five words, of which
// none can carry out of 64 bits.
func headerSum(b *[IPv4Len]byte) uint64 {
	x, y := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:16])
	return x>>32 + x&0xffffffff + y>>32 + y&0xffffffff + uint64(binary.BigEndian.Uint32(b[16:]))
}

// reassemblesTooLong is of a fragment with n bytes of payload that would make a
// packet of more than IP can say.
func reassemblesTooLong(more bool, offset, n int) bool {
	return (more || offset != 0) && offset+n > 0xffff
}

// parsePorts reads the selectors of the next layer; opaque says that they are in
// another fragment. A first fragment too small to hold them is dropped: nobody
// sends one without intent (RFC 1858 §3).
func parsePorts(protocol uint8, offset int, b []byte) (src, dst uint16, opaque bool, v Verdict) {
	var need int
	switch protocol {
	case TCP, UDP, SCTP:
		need = 4
	case ICMP, ICMPv6:
		need = 2
	default:
		return 0, 0, false, Pass
	}
	if offset != 0 {
		return 0, 0, true, Pass
	}
	if len(b) < need {
		return 0, 0, false, DropTruncated
	}
	src = binary.BigEndian.Uint16(b)
	if need == 2 {
		return src, src, false, Pass
	}
	return src, binary.BigEndian.Uint16(b[2:]), false, Pass
}
