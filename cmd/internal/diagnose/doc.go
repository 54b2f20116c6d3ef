// Package diagnose says why a connection does not carry traffic: one table of
// checks walks from the configuration to the last packet, each says what it saw,
// and the first that knows the cause names it, with one action.
//
// The checks judge rows that the gateway shows anyway, and are pure. What is known
// only by asking the network (route, neighbour, whether the peer's host answers,
// whether large packets arrive) is in [Path]: Look reads the kernel's tables,
// Probe sends a handful of datagrams. It needs no privilege.
package diagnose
