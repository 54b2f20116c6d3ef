package packet

import (
	"encoding/binary"
	"net/netip"
)

// DefaultTTL is what packets of our own leave with (RFC 1700).
const DefaultTTL = 64

// putIP writes an IPv4 or IPv6 header for n bytes of payload and returns its
// length, or 0 when the addresses are of two families or the packet does not fit.
func putIP(b []byte, src, dst netip.Addr, protocol, tos uint8, n int, id uint16) int {
	if src.Is4() && dst.Is4() && IPv4Len+n <= min(len(b), 0xffff) {
		b[0], b[1] = 0x45, tos
		binary.BigEndian.PutUint16(b[2:], uint16(IPv4Len+n))
		binary.BigEndian.PutUint16(b[4:], id)
		binary.BigEndian.PutUint16(b[6:], 0)
		b[8], b[9] = DefaultTTL, protocol
		putAddr(b[12:16], src)
		putAddr(b[16:20], dst)
		SetIPv4Checksum(b)
		return IPv4Len
	}
	if src.Is6() && dst.Is6() && n <= 0xffff && IPv6Len+n <= len(b) {
		binary.BigEndian.PutUint32(b, 6<<28|uint32(tos)<<20)
		binary.BigEndian.PutUint16(b[4:], uint16(n))
		b[6], b[7] = protocol, DefaultTTL
		putAddr(b[8:24], src)
		putAddr(b[24:40], dst)
		return IPv6Len
	}
	return 0
}

func putAddr(b []byte, a netip.Addr) {
	if a.Is4() {
		v4 := a.As4()
		copy(b, v4[:])
		return
	}
	v6 := a.As16()
	copy(b, v6[:])
}

// NonESPMarker is what tells IKE from ESP on port 4500: four zero bytes where an
// SPI would stand (RFC 3948 §2.2).
const NonESPMarker = 4

// PutUDP writes an IP packet that carries data over UDP and returns its length,
// or 0 when the addresses are of two families or dst is too short. marker puts
// the non-ESP marker in front of the data. id is the IPv4 identification: DF is
// clear, so it must differ between packets that may be fragmented on their way.
func PutUDP(dst []byte, from, to netip.AddrPort, marker bool, data []byte, id uint16) int {
	n := UDPLen + len(data)
	if marker {
		n += NonESPMarker
	}
	header := 0
	if n <= 0xffff {
		header = putIP(dst, from.Addr(), to.Addr(), UDP, 0, n, id)
	}
	if header == 0 {
		return 0
	}
	layer := dst[header : header+n]
	binary.BigEndian.PutUint16(layer, from.Port())
	binary.BigEndian.PutUint16(layer[2:], to.Port())
	binary.BigEndian.PutUint16(layer[4:], uint16(n))
	body := layer[UDPLen:]
	if marker {
		clear(body[:NonESPMarker])
		body = body[NonESPMarker:]
	}
	copy(body, data)
	putChecksum(dst, layer, checksumOffset(UDP), UDP)
	return header + n
}

// UDPPayload is what an unfragmented UDP packet carries, by its UDP length.
func UDPPayload(ip []byte, h *Header) ([]byte, Verdict) {
	layer := ip[h.Payload:h.Length]
	if len(layer) < UDPLen {
		return nil, DropTruncated
	}
	n := int(binary.BigEndian.Uint16(layer[4:]))
	if n < UDPLen {
		return nil, DropMalformed
	}
	if n > len(layer) {
		return nil, DropTruncated
	}
	return layer[UDPLen:n], Pass
}

// Encapsulated is what arrived on the port for UDP-encapsulated ESP.
type Encapsulated uint8

const (
	EncapESP Encapsulated = iota
	EncapIKE
	EncapKeepalive
	EncapRunt // nothing of RFC 3948
)

// Classify tells what a UDP payload on port 4500 is (RFC 3948 §2). body starts
// at the ESP header or at the IKE message, past the marker.
func Classify(payload []byte) (kind Encapsulated, body []byte) {
	if len(payload) == 1 && payload[0] == 0xff {
		return EncapKeepalive, nil
	}
	if len(payload) <= NonESPMarker {
		return EncapRunt, nil
	}
	if binary.BigEndian.Uint32(payload) == 0 {
		return EncapIKE, payload[NonESPMarker:]
	}
	return EncapESP, payload
}
