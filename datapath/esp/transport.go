package esp

import (
	"encoding/binary"

	"spindle/datapath/packet"
)

// restore makes of the outer packet's headers, which are the first head bytes of
// ip, and the plaintext behind them the packet that the peer sealed in transport
// mode (RFC 4303 §3.1.1), and returns its length. h is the outer header.
func restore(ip []byte, head int, h *packet.Header) (int, packet.Verdict) {
	plain := ip[head:]
	end, next, v := strip(plain)
	if v != packet.Pass {
		return 0, v
	}
	// RFC 4303 §2.7: padding may stand behind a payload that tells its own length.
	if next == packet.UDP && end >= packet.UDPLen {
		if n := int(binary.BigEndian.Uint16(plain[4:])); n >= packet.UDPLen {
			end = min(end, n)
		}
	}
	ip = ip[:head+end]
	packet.Restack(ip, head, next)
	if h.Protocol == packet.UDP { // a NAT may stand between
		var inner packet.Header
		if v := inner.ParseIP(ip); v != packet.Pass {
			return 0, v
		}
		packet.RestoreChecksum(ip, &inner)
	}
	return len(ip), packet.Pass
}
