package esp

import (
	"net/netip"

	"spindle/datapath/packet"
)

// follow remembers where the peer sends from, if that may be believed: the
// packet is authentic, and newer than all before it. A copy of an older one sent
// from elsewhere leads nobody astray, but whoever can hold back the newest packet
// and send it from his own address does; the peer's next packet ends that. RFC
// 7296 §2.23 asks for this where the peer is behind a NAT, which may give it
// another port at any time.
func (in *Inbound) follow(h *packet.Header, seq uint64) {
	if !in.encap || h.Protocol != packet.UDP || seq <= in.window.top {
		return
	}
	if from := netip.AddrPortFrom(h.Src, h.SrcPort); from != in.peer {
		in.peer, in.moved = from, true
	}
}

// Moved reports once that the peer's endpoint changed, and to what (N5). Its
// owner asks after Open, whatever Open's verdict was: an authentic packet may
// carry nothing of use. Whether to Rebind the outbound SA is the caller's to
// decide: only who is not behind a NAT itself follows a peer that is, and an
// address that IKE moved (RFC 4555) is not to be moved back.
func (in *Inbound) Moved() (netip.AddrPort, bool) {
	moved := in.moved
	in.moved = false
	return in.peer, moved
}
