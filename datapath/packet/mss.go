package packet

import (
	"encoding/binary"
	"math/bits"
)

const (
	tcpLen    = 20 // without options
	tcpSYN    = 0x02
	tcpEnd    = 0
	tcpNoop   = 1
	tcpMSS    = 2
	tcpMSSLen = 4
)

// ClampMSS lowers the maximum segment size that a TCP SYN announces to what a
// packet of mtu bytes holds: "the MSS value ... should be equal to the effective
// MTU minus the fixed IP and TCP headers" (RFC 6691 §2). A SYN without the option
// stays as it is; then 536 or 1220 hold, which fit any tunnel. The checksum is
// updated, not computed, so one that was wrong stays wrong. It reports whether it
// changed anything.
func ClampMSS(ip []byte, h *Header, mtu int) bool {
	if h.Protocol != TCP || h.Fragment || h.Length-h.Payload < tcpLen || len(ip) < h.Length {
		return false
	}
	tcp := ip[h.Payload:h.Length]
	header := int(tcp[12]>>4) * 4
	if tcp[13]&tcpSYN == 0 || header < tcpLen || header > len(tcp) {
		return false
	}
	most := mtu - IPv4Len - tcpLen
	if h.Version == 6 {
		most = mtu - IPv6Len - tcpLen
	}
	at := findMSS(tcp[:header])
	if at == 0 || most < 1 || int(binary.BigEndian.Uint16(tcp[at:])) <= most {
		return false
	}
	from, to := binary.BigEndian.Uint16(tcp[at:]), uint16(most)
	binary.BigEndian.PutUint16(tcp[at:], to)
	if at%2 != 0 {
		// Its bytes are the low half of one checksummed word and the high half of the
		// next: swapped, they add up to the same (RFC 1071 §2 (B)).
		from, to = bits.ReverseBytes16(from), bits.ReverseBytes16(to)
	}
	adjust(tcp[16:], from, to)
	return true
}

// Opens reports whether a packet opens a TCP connection, or answers one that does:
// whether ClampMSS may find something in it.
func Opens(ip []byte, h *Header) bool {
	return h.Protocol == TCP && !h.Fragment && h.Length-h.Payload >= tcpLen && ip[h.Payload+13]&tcpSYN != 0
}

// findMSS is where in a TCP header the value of the MSS option stands, 0 without
// one (RFC 9293 §3.1).
func findMSS(tcp []byte) int {
	for at := tcpLen; at < len(tcp); {
		switch tcp[at] {
		case tcpEnd:
			return 0
		case tcpNoop:
			at++
			continue
		}
		if at+1 >= len(tcp) || tcp[at+1] < 2 || at+int(tcp[at+1]) > len(tcp) {
			return 0
		}
		if tcp[at] == tcpMSS && tcp[at+1] == tcpMSSLen {
			return at + 2
		}
		at += int(tcp[at+1])
	}
	return 0
}
