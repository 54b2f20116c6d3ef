package packet

import (
	"encoding/binary"
	"net/netip"
)

// IPv6 extension headers that are walked (RFC 8200 §4). AH, ESP and Mobility
// are next layer protocols to the SPD (RFC 4301 §4.4.1.1).
const (
	hopByHop    = 0
	routing     = 43
	fragmentExt = 44
	destination = 60
)

// maxExtensions bounds the walk, as RFC 8504 §5.3 allows. No honest packet has
// more, and XDP gives the kernel those with more than four on the outside.
const maxExtensions = 8

// parseIPv6 reads a packet of exactly its own length.
//
//	 0                   1                   2                   3
//	+-------+---------------+---------------------------------------+
//	|Version| Traffic Class |              Flow Label               |
//	+-------+---------------+-------+---------------+---------------+
//	|         Payload Length        |  Next Header  |   Hop Limit   |
//	+-------------------------------+---------------+---------------+
//	|                       Source Address (16)                     |
//	|                    Destination Address (16)                   |
//	+---------------------------------------------------------------+
func (h *Header) parseIPv6(b []byte) Verdict {
	p := Header{
		Src:      netip.AddrFrom16([16]byte(b[8:24])),
		Dst:      netip.AddrFrom16([16]byte(b[24:40])),
		Protocol: b[6],
		Version:  6,
		TOS:      b[0]<<4 | b[1]>>4,
		TTL:      b[7],
		Length:   len(b),
		Payload:  IPv6Len,
	}
	// A mapped address on the wire would compare equal to nothing we hold, and
	// hide IPv4 from an IPv6 selector (RFC 4942 §2.2).
	if p.Src.Is4In6() || p.Dst.Is4In6() {
		return DropMalformed
	}
	if v := p.walkExtensions(b); v != Pass {
		return v
	}
	p.Fragment = p.More || p.FragmentOffset != 0
	if reassemblesTooLong(p.More, p.FragmentOffset, p.Length-p.Payload) {
		return DropMalformed
	}
	var v Verdict
	if p.SrcPort, p.DstPort, p.Opaque, v = parsePorts(p.Protocol, p.FragmentOffset, b[p.Payload:]); v != Pass {
		return v
	}
	*h = p
	return Pass
}

// walkExtensions moves Protocol and Payload past the extension headers. It ends
// at a later fragment, whose own bytes are not headers any more.
func (h *Header) walkExtensions(b []byte) Verdict {
	fragmented := false
	for range maxExtensions {
		ext := b[h.Payload:]
		switch h.Protocol {
		case hopByHop, routing, destination:
			if len(ext) < 8 || len(ext) < 8+int(ext[1])*8 {
				return DropTruncated
			}
			h.Protocol = ext[0]
			h.Payload += 8 + int(ext[1])*8
		case fragmentExt:
			if len(ext) < 8 {
				return DropTruncated
			}
			if fragmented {
				return DropMalformed // a second fragment header would deny the first
			}
			fragmented = true
			h.readFragment(ext)
			if h.FragmentOffset != 0 {
				return Pass
			}
		default:
			return Pass
		}
	}
	if isExtension(h.Protocol) {
		return DropMalformed
	}
	return Pass
}

// readFragment reads the fragment header (RFC 8200 §4.5).
//
//	+---------------+---------------+-------------------------+---+-+
//	|  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
//	+---------------+---------------+-------------------------+---+-+
//	|                         Identification                        |
//	+---------------------------------------------------------------+
func (h *Header) readFragment(ext []byte) {
	field := binary.BigEndian.Uint16(ext[2:])
	h.FragmentOffset = int(field &^ 7)
	h.More = field&1 != 0
	h.ID = binary.BigEndian.Uint32(ext[4:])
	h.Protocol = ext[0]
	h.Payload += 8
}

func isExtension(protocol uint8) bool {
	switch protocol {
	case hopByHop, routing, fragmentExt, destination:
		return true
	}
	return false
}
