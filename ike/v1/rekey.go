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

// adopt takes over the children of all other ISAKMP SAs with the same peer, and
// what they were about to negotiate. Those of one that the peer had deleted are
// negotiated anew at once: whether the peer kept its halves depends on who made it.
func (s *SA) adopt(now time.Time) {
	for _, o := range s.env.Host.Peers(s) {
		if o.state != Established && o.state != Detached {
			continue
		}
		doubtful := o.state == Detached
		for _, c := range slices.Clone(o.children) {
			if o.halfway(c) != nil {
				continue
			}
			s.take(o, c)
			if c.state == childRekeying {
				c.state = childInstalled
			}
			if doubtful && c.state == childInstalled {
				s.push(task{conf: c.Conf, pair: c.pair, replaces: c})
			}
		}
		for _, t := range o.unfinished() {
			s.push(t)
		}
		s.audit(slog.LevelInfo, "ISAKMP SA replaced", slog.String("spi_i", o.spiI.String()))
		o.replaced(now)
		s.env.Host.Changed(now, o)
	}
}

// take makes a child of another ISAKMP SA one of this.
func (s *SA) take(o *SA, c *child) {
	o.children = slices.DeleteFunc(o.children, func(other *child) bool { return other == c })
	s.children = append(s.children, c)
	s.env.Host.Own(c.In, s)
	c.Conn = s.conn
}

// halfway is the quick mode of the peer that made a child and waits for its last
// message, nil for none. It ends where it began, also when that ISAKMP SA has a
// successor meanwhile: the peer may have its half in place already.
func (s *SA) halfway(c *child) *exchange {
	for _, x := range s.exchanges {
		if x.quick != nil && x.quick.installed == c && c.Waits() {
			return x
		}
	}
	return nil
}

// unfinished are the quick modes of ours that wait for their turn or for an answer.
func (s *SA) unfinished() []task {
	if q := s.quick; q != nil {
		return append([]task{{conf: q.conf, pair: q.pair, replaces: q.replaces}}, s.tasks...)
	}
	return s.tasks
}

// heir takes over a child whose quick mode comes to its end after its ISAKMP SA was
// replaced: it is this one while it stands.
func (s *SA) heir(c *child) *SA {
	if s.state != Replaced {
		return s
	}
	for _, o := range s.env.Host.Peers(s) {
		if o.state == Established {
			o.take(s, c)
			return o
		}
	}
	return s
}

// abandon ends the quick modes of the peer that another ISAKMP SA did not see to
// their end. The peer may hold what they were to make: it is told to drop that.
func (s *SA) abandon(now time.Time, o *SA) {
	for _, c := range slices.Clone(o.children) {
		if x := o.halfway(c); x != nil {
			o.dropQuick(x.quick)
			o.forget(x)
			s.notify(now, s.deleteOf(session.SPIBytes(c.In)))
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
		for _, c := range slices.Clone(s.children) {
			o.take(s, c)
		}
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
	for _, c := range s.children {
		if s.halfway(c) != nil {
			s.linger(now, c) // the peer may send by it until the successor stands
		}
	}
	s.giveUp()
	s.softAt, s.hardAt, s.keepaliveAt = time.Time{}, time.Time{}, time.Time{}
	s.wipe()
	s.move(Detached)
	s.expireAt = now.Add(detachedLife)
	s.env.Host.Renew(now, s)
}
