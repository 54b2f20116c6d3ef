package v1

import (
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
)

// mayBegin reports whether phase 1 with the peer is ours to open as well: XAUTH
// asks who begins, so its server leaves that to the client.
func (s *SA) mayBegin() bool { return !s.conn.V1.XAuth }

// renew asks for a new ISAKMP SA: there is no rekey in IKEv1, only another
// phase 1 with the same peer, which takes the children over.
func (s *SA) renew(now time.Time) {
	if s.state == Established && !s.rekeyed && s.mayBegin() {
		s.rekeyed = true
		s.env.Host.Renew(now, s)
	}
}

// outlived is the end of the lifetime. When the successor is late, because the peer
// or this host is busy, the ISAKMP SA waits for it a little: a Delete would make both
// ends doubt children that are sound, and cut off the quick modes under way.
func (s *SA) outlived(now time.Time) {
	if s.rekeyed && !s.overdue {
		s.overdue, s.hardAt = true, now.Add(replacedLife)
		return
	}
	s.audit(slog.LevelWarn, "ISAKMP SA expired")
	s.detach(now, true)
}

// adopt takes over the children of all other ISAKMP SAs with the same peer.
// Those of one that the peer had deleted are negotiated anew at once: whether
// the peer kept its halves depends on who made it.
func (s *SA) adopt(now time.Time) {
	if o := s.winner(); o != nil {
		s.handOver(o)
		if o.rekeyed {
			o.rekeyed, o.softAt = false, session.Earliest(o.softAt, now.Add(replacedLife))
		}
		s.audit(slog.LevelInfo, "ISAKMP SAs crossed, the other stays")
		s.replaced(now, o)
		o.pump(now)
		s.env.Host.Changed(now, o)
		return
	}
	for _, o := range s.env.Host.Peers(s) {
		if o.state != Established && o.state != Detached || s.goesElsewhere(o) {
			continue
		}
		if o.state == Detached {
			for _, c := range o.children {
				if c.state == childInstalled {
					s.push(task{conf: c.Conf, pair: c.pair, replaces: c})
				}
			}
		}
		o.handOver(s)
		if o.config.leased {
			s.lease() // what the children are of, whether or not the client asks again
		}
		s.takeQuick(now, o)
		s.audit(slog.LevelInfo, "ISAKMP SA replaced", slog.String("spi_i", o.spiI.String()))
		o.replaced(now, s)
		s.env.Host.Changed(now, o)
	}
}

// goesElsewhere reports whether this one was opened to another address than that one:
// of a list of peers (P1), each of which holds child SAs of its own.
func (s *SA) goesElsewhere(o *SA) bool { return s.initiator && o.remote.Addr() != s.remote.Addr() }

// crossed reports whether both ends opened one of the two while the other was being
// opened.
func (s *SA) crossed(o *SA) bool {
	return s.initiator != o.initiator && s.unaware(o) && o.unaware(s)
}

// unaware reports whether who opened this ISAKMP SA may not have known of the other:
// it was hardly there, and the peer had not used it.
func (s *SA) unaware(o *SA) bool {
	return s.began.Before(o.created.Add(crossingTime)) && (o.heard.IsZero() || s.began.Before(o.heard))
}

// winner is the one that stays of two ISAKMP SAs that crossed, nil if it is this one.
// Did each end keep the newer of them, they might keep different ones. Both know the
// cookies: the higher one of the initiators wins.
func (s *SA) winner() *SA {
	for _, o := range s.env.Host.Peers(s) {
		if o.state == Established && s.crossed(o) && o.spiI > s.spiI {
			return o
		}
	}
	return nil
}

// handOver gives another ISAKMP SA what waits to be negotiated and the children, but
// for those that a quick mode here is still about: phase 2 is not tied to the phase 1
// that began it, but each of its exchanges is.
func (s *SA) handOver(heir *SA) {
	for _, t := range s.tasks {
		heir.push(t)
	}
	s.tasks = nil
	var kept []*child
	for _, c := range s.children {
		if s.answers(c) {
			kept = append(kept, c)
			continue
		}
		s.env.Host.Own(c.In, heir)
		c.Conn = heir.conn
		if s.remote != heir.remote {
			c.Move(s.env.Out, heir.local, heir.remote, heir.encap())
		}
		heir.children = append(heir.children, c)
	}
	s.children = kept
}

// answers reports whether a quick mode of the peer, whose last message is to come,
// is about a child.
func (s *SA) answers(c *child) bool {
	return slices.ContainsFunc(s.exchanges, func(x *exchange) bool { return x.quick != nil && x.quick.installed == c })
}

// replaced lets an ISAKMP SA that has a successor end. Who asked for the successor
// deletes this one, or who opened it, if they crossed.
func (s *SA) replaced(now time.Time, heir *SA) {
	s.keepaliveAt = time.Time{}
	if s.state == Detached {
		s.free(now)
		return
	}
	s.queries = queries{}
	s.move(Replaced)
	s.expireAt = now.Add(3 * replacedLife)
	if s.rekeyed || s.initiator && s.crossed(heir) {
		s.expireAt = now.Add(replacedLife)
	}
}

// heir is another ISAKMP SA with the peer that can carry on, nil for none. One that
// was replaced by this one turns back.
func (s *SA) heir(now time.Time) *SA {
	var old, waits *SA
	for _, o := range s.env.Host.Peers(s) {
		switch o.state {
		case Established:
			return o
		case Replaced:
			old = o
		case Detached:
			waits = o
		}
	}
	if old == nil || s.state != Established {
		return waits
	}
	old.move(Established)
	old.rekeyed, old.expireAt = false, time.Time{}
	old.watchPeer(now)
	old.silent(now)
	return old
}

// carrier is the ISAKMP SA over which quick modes for the children of this one go.
func (s *SA) carrier() *SA {
	for _, o := range s.all() {
		if o.state == Established && (o == s || s.state == Replaced) {
			return o
		}
	}
	return nil
}

// moveOn leaves what a replaced ISAKMP SA still made to the one that carries on.
func (s *SA) moveOn(now time.Time) {
	if o := s.carrier(); o != nil && o != s {
		s.handOver(o)
		o.pump(now)
		s.env.Host.Changed(now, o)
	}
}

// takeQuick begins again what another ISAKMP SA had asked the peer for. The peer may
// hold what it was to make.
func (s *SA) takeQuick(now time.Time, from *SA) {
	q := from.quick
	if q == nil {
		return
	}
	spi := q.spi
	from.withdraw(now, q)
	s.notify(now, s.deleteOf(session.SPIBytes(spi)))
	s.push(task{q.conf, q.pair, q.replaces})
}

// busy reports whether a quick mode of the peer is under way here.
func (s *SA) busy() bool { return slices.ContainsFunc(s.children, s.answers) }

// bequeath leaves to one that carries on all that depends on this ISAKMP SA no more,
// and ends what does. The peer may hold what its quick modes were to make: it is told
// to drop that.
func (s *SA) bequeath(now time.Time) {
	heir := s.heir(now)
	if heir == nil {
		return
	}
	for _, x := range slices.Clone(s.exchanges) {
		if q := x.quick; q != nil && q.installed != nil && q.installed.Waits() {
			spi := q.installed.In
			s.dropQuick(q)
			s.forget(x)
			heir.notify(now, heir.deleteOf(session.SPIBytes(spi)))
		}
	}
	heir.takeQuick(now, s)
	s.handOver(heir)
	heir.pump(now)
	s.env.Host.Changed(now, heir)
}

// withdraw ends a quick mode of ours for another to take its place.
func (s *SA) withdraw(now time.Time, q *quick) {
	s.dropQuick(q)
	s.forget(q.x)
	if old := q.replaces; old != nil && old.state == childRekeying {
		old.state, old.SoftAt = childInstalled, now.Add(rekeyRetry)
	}
}

// detach ends the ISAKMP SA but not its children: they were made by it and do
// not depend on it (RFC 2409 §5.5). If nobody takes them over, they go.
func (s *SA) detach(now time.Time, tell bool) {
	s.bequeath(now)
	alive := slices.ContainsFunc(s.children, func(c *child) bool { return c.state < childLingering })
	stays := s.state == Established && alive && s.mayBegin() && len(s.conn.Remote.Addresses) > 0
	if tell {
		if !stays {
			s.sayDelete(now, s.children...)
		}
		s.deleteISAKMP()
	}
	if !stays {
		s.free(now)
		return
	}
	for _, c := range s.children {
		if s.answers(c) {
			s.linger(now, c) // the peer may send by it until the successor stands
		}
	}
	s.giveUp()
	s.keepaliveAt = time.Time{}
	s.wipe()
	s.move(Detached)
	s.expireAt = now.Add(detachedLife)
	s.env.Host.Renew(now, s)
}
