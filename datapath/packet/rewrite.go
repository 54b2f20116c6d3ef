package packet

import "encoding/binary"

// DecrementTTL takes one from the TTL or hop limit of the IP packet at the start
// of ip, whose header must have been parsed, and keeps an IPv4 checksum right.
// The verdict is DropTTL when nothing would be left (RFC 1812 §5.3.1, RFC 8200
// §3); ip is unchanged then.
func DecrementTTL(ip []byte) Verdict {
	if ip[0]>>4 == 6 {
		if ip[7] <= 1 {
			return DropTTL
		}
		ip[7]--
		return Pass
	}
	if ip[8] <= 1 {
		return DropTTL
	}
	from := binary.BigEndian.Uint16(ip[8:])
	ip[8]--
	adjust(ip[10:], from, from-0x100)
	return Pass
}

// TOS is the traffic class octet of the IP packet at the start of ip.
func TOS(ip []byte) uint8 {
	if ip[0]>>4 == 6 {
		return ip[0]<<4 | ip[1]>>4
	}
	return ip[1]
}

// SetTOS replaces the traffic class octet and keeps an IPv4 checksum right.
func SetTOS(ip []byte, tos uint8) {
	if ip[0]>>4 == 6 {
		ip[0] = 0x60 | tos>>4
		ip[1] = tos<<4 | ip[1]&15
		return
	}
	from := binary.BigEndian.Uint16(ip)
	ip[1] = tos
	adjust(ip[10:], from, from&0xff00|uint16(tos))
}

// Decapsulated returns the traffic class that an inner packet leaves a tunnel
// with: its own, with the congestion mark of RFC 6040 §4.2 (figure 4).
//
//	             outer  Not-ECT   ECT(0)    ECT(1)    CE
//	inner Not-ECT       Not-ECT   Not-ECT   Not-ECT   drop
//	inner ECT(0)        ECT(0)    ECT(0)    ECT(1)    CE
//	inner ECT(1)        ECT(1)    ECT(1)    ECT(1)    CE
//	inner CE            CE        CE        CE        CE
func Decapsulated(inner, outer uint8) (uint8, Verdict) {
	switch outer & ECNMask {
	case CE:
		if inner&ECNMask == NotECT {
			return 0, DropECN
		}
		return inner | CE, Pass
	case ECT1:
		if inner&ECNMask == ECT0 {
			return inner&^ECNMask | ECT1, Pass
		}
	}
	return inner, Pass
}
