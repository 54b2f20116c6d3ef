// Package datapath carries packets: one worker per RX queue takes frames from the
// ports' rings, protects or opens them by RFC 4301 §5, RFC 4303 and RFC 3948, and
// puts them into the rings of other ports. Around the workers stand the ports
// (XDP program and AF_XDP sockets), the slow path (tunnel device, the kernel's
// sockets, reports to the control process) and Server, which does what the
// control process asks for.
//
// A packet travels transit.go, which says what happens to a whole batch, find.go,
// then inbound.go and forward.go, or outbound.go; an SA is touched by its owner worker alone, to which handoff.go brings packets.
// Every packet ends in one packet.Verdict, which is counted.
//
// It never speaks IKE, keeps no key beside the SAs, waits for nothing and
// allocates nothing while it forwards.
package datapath
