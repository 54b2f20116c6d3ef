package datapath

import (
	"net/netip"

	"spindle/datapath/fib"
)

// way is how an outbound SA's packets get to the peer, found once for each table
// of routes and place of the peer. It belongs to the owner worker. It is a copy:
// an SA that rests would hold on to a table that is long out of date.
type way struct {
	era   uint64 // of the worker's routes; 0 before the first packet
	to    netip.Addr
	adj   fib.Adjacency
	known bool
}

// route is nil when there is none to the peer.
func (w *Worker) route(sa *outboundSA) *fib.Adjacency {
	if to := sa.Remote(); sa.era != w.era || sa.to != to {
		sa.way = way{era: w.era, to: to}
		if adj := w.table.Lookup(to); adj != nil {
			sa.adj, sa.known = *adj, true
		}
	}
	if !sa.known {
		return nil
	}
	return &sa.adj
}
