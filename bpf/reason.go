package bpf

import "strings"

// Reason is why the program passed, redirected or dropped a frame. Each frame
// gets exactly one. The list mirrors enum reason in reason.h.
type Reason uint8

const (
	undecided Reason = iota // never counted

	PassNoPort            // interface without a port configuration
	PassOtherMAC          // not our MAC: broadcast, multicast, promiscuous
	PassTruncated         // shorter than the headers that must be read
	PassNotIP             // ARP and other protocols
	PassMalformed         // version or header length that cannot be
	PassFragment          // outer fragment, the kernel reassembles
	PassExtension         // too many IPv6 extension headers, or source routed
	PassLocal             // for this host, neither ESP nor IKE
	PassNotInside         // in transit, on a port without the inside role
	PassLinkScope         // multicast, broadcast, IPv6 link-local
	PassTTL               // the kernel answers with ICMP
	PassNoPrefix          // no policy may protect this destination
	PassESPNoSocket       // ESP, but no socket serves this queue
	PassIKENoSocket       // IKE, but no socket serves this queue
	PassProtectedNoSocket // may need protection, no socket, fail-open

	RedirectESP
	RedirectUnknownSPI
	RedirectIKE
	RedirectProtected
	RedirectClear // unprotected between networks that a policy may protect

	DropKeepalive        // RFC 3948 §2.3
	DropVLANDepth        // more than two VLAN tags
	DropUnknownSPIBudget // more unknown SPIs than the bucket holds
	DropIKEBudget        // more IKE than the bucket holds
	DropFailClosed       // may need protection, no socket, fail-closed

	Reasons // one more than the last
)

var reasonNames = [Reasons]string{
	"undecided",
	"pass_no_port", "pass_other_mac", "pass_truncated", "pass_not_ip", "pass_malformed",
	"pass_fragment", "pass_extension", "pass_local", "pass_not_inside", "pass_link_scope", "pass_ttl", "pass_no_prefix",
	"pass_esp_no_socket", "pass_ike_no_socket", "pass_protected_no_socket",
	"redirect_esp", "redirect_unknown_spi", "redirect_ike", "redirect_protected", "redirect_clear",
	"drop_keepalive", "drop_vlan_depth", "drop_unknown_spi_budget", "drop_ike_budget", "drop_fail_closed",
}

// String is the counter's name: pass_, redirect_ or drop_, then why.
func (r Reason) String() string { return reasonNames[r] }

// Dropped tells whether frames of this reason end here.
func (r Reason) Dropped() bool { return strings.HasPrefix(reasonNames[r], "drop_") }

// Redirected tells whether frames of this reason went to a socket.
func (r Reason) Redirected() bool { return strings.HasPrefix(reasonNames[r], "redirect_") }
