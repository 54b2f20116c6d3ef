// Package netlab builds network-namespace topologies in which gateways carry
// real packets: namespaces, veth links, a bridge as the wire between them,
// traffic with exact accounting, a counter of what is on the wire, and
// strongSwan as the other side. Tests use it, and `spindle demo`.
//
// Nothing is left behind. [Lab.Close] removes all that a lab made. What a
// process that died could not remove, the next [New] does: everything a lab
// makes bears its id, and the id names its owner.
//
// A lab never touches the caller's own namespace, and needs root.
package netlab
