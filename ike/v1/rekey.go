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

// adopt takes over the children of all other ISAKMP SAs with the same peer.
// Those of one that the peer had deleted are negotiated anew at once: whether
// the peer kept its halves depends on who made it.
func (s *SA) adopt(now time.Time) {
	for _, o := range s.env.Host.Peers(s) {
		if o.state != Established && o.state != Detached {
			continue
		}
		doubtful := o.state == Detached
		s.abandon(now, o)
		for _, c := range o.children {
			s.env.Host.Own(c.In, s)
			c.Conn = s.conn
			if c.state == childRekeying {
				c.state = childInstalled
			}
			if doubtful && c.state == childInstalled {
				s.push(task{conf: c.Conf, pair: c.pair, replaces: c})
			}
		}
		s.children = append(s.children, o.children...)
		o.children = nil
		s.audit(slog.LevelInfo, "ISAKMP SA replaced", slog.String("spi_i", o.spiI.String()))
		o.replaced(now)
		s.env.Host.Changed(now, o)
	}
}

// abandon ends the quick modes of the peer that another ISAKMP SA did not see to
// their end. The peer may hold what they were to make: it is told to drop that.
func (s *SA) abandon(now time.Time, o *SA) {
	for _, x := range slices.Clone(o.exchanges) {
		if q := x.quick; q != nil && q.installed != nil && q.installed.Waits() {
			spi := q.installed.In
			o.dropQuick(q)
			o.forget(x)
			s.notify(now, s.deleteOf(session.SPIBytes(spi)))
		}
	}
}

// replaced lets an ISAKMP SA that has a successor end.
func (s *SA) replaced(now time.Time) {
	s.softAt, s.hardAt, s.keepaliveAt = time.Time{}, time.Time{}, time.Time{}
	if s.state == Detached {
		s.free(now)
		return
	}
	if q := s.quick; q != nil {
		s.dropQuick(q)
		s.forget(q.x)
	}
	s.tasks = nil
	s.queries = queries{}
	s.move(Replaced)
	s.expireAt = now.Add(replacedLife)
	if !s.rekeyed {
		s.expireAt = now.Add(3 * replacedLife) // who asked for the successor deletes this one
	}
}

// bequeath leaves the children that a replaced ISAKMP SA made since to one that
// stands.
func (s *SA) bequeath() {
	if s.state != Replaced {
		return
	}
	for _, o := range s.env.Host.Peers(s) {
		if o.state != Established {
			continue
		}
		o.abandon(o.created, s)
		for _, c := range s.children {
			s.env.Host.Own(c.In, o)
		}
		o.children = append(o.children, s.children...)
		s.children = nil
		return
	}
}

// detach ends the ISAKMP SA but not its children: they were made by it and do
// not depend on it (RFC 2409 §5.5). If nobody takes them over, they go.
func (s *SA) detach(now time.Time, tell bool) {
	s.bequeath()
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
	s.giveUp()
	s.softAt, s.hardAt, s.keepaliveAt = time.Time{}, time.Time{}, time.Time{}
	s.wipe()
	s.move(Detached)
	s.expireAt = now.Add(detachedLife)
	s.env.Host.Renew(now, s)
}
