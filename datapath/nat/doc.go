// Package nat translates the hosts behind this gateway to the one address that
// a peer assigned to it: traditional NAPT (RFC 3022 §2.2) with the behaviour
// that RFC 4787 asks for with UDP, RFC 5382 with TCP and RFC 5508 with ICMP.
//
// A mapping belongs to an inside address and port (or ICMP identifier), not to
// where the packets go: RFC 4787 §4.1, endpoint-independent mapping. Nothing
// from outside makes one. Who may answer through a mapping is not asked here:
// the packet comes out of an SA, whose selectors have said so. Errors of ICMP are
// translated with the packet that they quote. What has no ports and is no echo
// takes the address alone, one inside host for each protocol.
//
// A later fragment shows no ports. On its way out it needs none; on its way in it
// goes where its first fragment went, which must have come before it.
//
// A Table is bounded, allocates nothing for a packet, and belongs to one worker:
// only Usage may be called by others. It knows no SA, route or port.
package nat
