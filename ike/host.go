package ike

import (
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

// peered is an SA of one version beside others of that version.
type peered[S any] interface {
	association
	comparable
	SamePeer(S) bool
	Forget(now time.Time, spi sadb.SPI) bool
}

// host is the engine as the SAs of one version see it, as far as both see the same.
type host[S peered[S]] struct {
	*Engine
	version int
}

func (h host[S]) Candidates(local, remote netip.Addr) []*session.Connection {
	return slices.DeleteFunc(h.candidates(local, remote), func(c *session.Connection) bool { return c.Version != h.version })
}

// candidates are the connections of both versions that a peer may mean.
func (e *Engine) candidates(local, remote netip.Addr) []*session.Connection {
	var list []*session.Connection
	for _, c := range append(slices.Clone(e.byAddress[remote]), e.fromAny...) {
		if addrs := c.conf.Local.Addresses; len(addrs) == 0 || slices.Contains(addrs, local) {
			list = append(list, c.conf)
		}
	}
	return list
}

// Peers lists the other SAs with the peer of this one that are or were established.
func (h host[S]) Peers(sa S) (list []S) {
	conn := sa.Conn()
	if conn == nil {
		return nil
	}
	for _, m := range h.byWho[who{conn.Name, sa.Peer()}] {
		if other, ok := m.association.(S); ok && other != sa && !other.Gone() && other.SamePeer(sa) {
			list = append(list, other)
		}
	}
	return list
}

func (h host[S]) Own(pair sadb.SPI, sa S) {
	var none S
	if sa == none {
		delete(h.byPair, pair)
		return
	}
	h.byPair[pair] = sa
	h.reserved.stands(pair)
}

// UnknownToPeer looks in the other SAs with a peer for a child SA that it does not
// hold.
func (h host[S]) UnknownToPeer(now time.Time, sa S, spi sadb.SPI) {
	for _, o := range h.Peers(sa) {
		if o.Forget(now, spi) {
			h.syncAll(now, o)
			return
		}
	}
}

func (h host[S]) Failed(now time.Time, conn, child, reason string) {
	h.failed(now, conn, child, reason)
}

func (h host[S]) Refused(now time.Time, conn, reason string) { h.refused(now, conn, reason) }
func (h host[S]) Up(conn, child string)                      { h.up(conn, child) }
func (h host[S]) MayLog(now time.Time) bool                  { return h.logs.take(now) }
func (h host[S]) MayAnswer(now time.Time) bool               { return h.answers.take(now) }
