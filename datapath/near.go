package datapath

import (
	"net/netip"

	"spindle/datapath/fib"
	"spindle/datapath/packet"
)

// near remembers by which way the last packets went on, by the end of their
// destination: to search the routes takes several times as long as to look here.
// It is of one table of routes, and forgets everything with it.
type near [256]struct {
	to  netip.Addr
	adj *fib.Adjacency
}

// lookup is Table.Lookup for where the packet goes whose header was parsed into h.
func (n *near) lookup(t *fib.Table, ip []byte, h *packet.Header) *fib.Adjacency {
	last := ip[packet.IPv4Len-1]
	if h.Version == 6 {
		last = ip[packet.IPv6Len-1]
	}
	p, to := &n[last], h.Dst
	if p.to != to {
		p.to, p.adj = to, t.Lookup(to)
	}
	return p.adj
}
