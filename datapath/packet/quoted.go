package packet

import (
	"encoding/binary"
	"net/netip"
)

// Quote is what an ICMP error says of a packet with ESP that this host sent. It
// is not to be believed before the SA has been asked: anybody can send one.
type Quote struct {
	From     netip.Addr // who reports
	Src, Dst netip.Addr // of the quoted packet
	TooBig   bool       // "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201)
	MTU      int        // with TooBig; 0 from routers older than RFC 1191
	Length   int        // of the quoted packet, when it was whole

	Encap            bool // ESP in UDP
	SrcPort, DstPort uint16

	// Identified says that the quote is long enough to hold SPI and Sequence. RFC
	// 792 asks for 8 bytes behind the IP header only, which with UDP hold neither.
	Identified    bool
	SPI, Sequence uint32
}

// ParseQuote reads an ICMP error about a packet with ESP out of the packet ip,
// whose header has been parsed. natt is the port for UDP encapsulation. It is
// false for other packets, errors about other packets, and errors whose checksum
// is wrong.
func ParseQuote(ip []byte, h *Header, natt uint16) (Quote, bool) {
	if h.Fragment || h.Length-h.Payload < icmpLen || h.Protocol != ICMP && h.Protocol != ICMPv6 {
		return Quote{}, false
	}
	layer := ip[h.Payload:h.Length]
	q := Quote{From: h.Src}
	switch {
	case h.Version == 4 && h.Protocol == ICMP && icmpv4Error(layer[0]) && fold(sum(layer, 0)) == 0xffff:
		q.TooBig = layer[0] == 3 && layer[1] == 4
		q.MTU = int(binary.BigEndian.Uint16(layer[6:]))
	case h.Version == 6 && h.Protocol == ICMPv6 && layer[0] < 128 && ChecksumOK(ip, h):
		q.TooBig = layer[0] == 2
		q.MTU = int(min(binary.BigEndian.Uint32(layer[4:]), IPv6Len+0xffff))
	default:
		return Quote{}, false
	}
	if !q.TooBig {
		q.MTU = 0
	}
	return q, q.parse(layer[icmpLen:], natt)
}

func icmpv4Error(kind uint8) bool { return kind == 3 || kind == 11 || kind == 12 }

// parse reads the quoted packet, of which only the beginning is there. Its
// checksum and TTL were changed on the way, so they are not looked at.
func (q *Quote) parse(b []byte, natt uint16) bool {
	h := Header{Payload: IPv4Len}
	switch {
	case len(b) >= IPv4Len && b[0]>>4 == 4 && b[0]&15 >= 5:
		h.Protocol, h.Payload = b[9], int(b[0]&15)*4
		h.FragmentOffset = int(binary.BigEndian.Uint16(b[6:])&0x1fff) * 8
		q.Length = int(binary.BigEndian.Uint16(b[2:]))
		q.Src, q.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	case len(b) >= IPv6Len && b[0]>>4 == 6:
		h.Protocol, h.Payload = b[6], IPv6Len
		q.Length = IPv6Len + int(binary.BigEndian.Uint16(b[4:]))
		q.Src, q.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		if h.walkExtensions(b) != Pass {
			return false
		}
	default:
		return false
	}
	if h.FragmentOffset != 0 || h.Payload > len(b) {
		return false // a later fragment does not begin with a header of ours
	}
	return q.parseESP(h.Protocol, b[h.Payload:], natt)
}

func (q *Quote) parseESP(protocol uint8, b []byte, natt uint16) bool {
	if protocol == UDP && len(b) >= UDPLen {
		q.Encap = true
		q.SrcPort, q.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		b = b[UDPLen:]
		if q.SrcPort != natt && q.DstPort != natt {
			return false
		}
	} else if protocol != ESP {
		return false
	}
	if len(b) < 8 {
		return true
	}
	q.SPI, q.Sequence = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	q.Identified = q.SPI != 0 // 0 is the mark of IKE (RFC 3948 §2.2)
	return q.Identified
}
