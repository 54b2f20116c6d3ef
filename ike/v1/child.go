package v1

import (
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

const (
	// overlapTime is how long a rekeyed child SA stays whole beside its
	// successor, before who asked for that deletes it.
	overlapTime = 5 * time.Second
	// switchTime is how long the initiator of a quick mode waits with sending. The
	// responder may put its inbound half in place only when message 3 comes, after
	// its key exchange, and no message says that it did.
	switchTime  = 100 * time.Millisecond
	maxChildren = 256 // of one ISAKMP SA that a peer can make us hold
)

// childState is where a child SA stands.
type childState uint8

const (
	childInstalled childState = iota // carries traffic
	childRekeying                    // our quick mode to replace it is under way
	childReplaced                    // its successor stands
	childLingering                   // deleted; only inbound is left, for a moment
	childGone
)

func (s childState) String() string {
	return [...]string{"installed", "rekeying", "replaced", "lingering", "gone"}[s]
}

// child is one child SA, which IKEv1 calls a pair of IPsec SAs.
type child struct {
	session.ChildSA
	state    childState
	pair     pair
	replaces *child    // by our rekey: it is to be deleted
	deleteAt time.Time // replaced by our rekey: say goodbye
}

// terms are what a quick mode agreed on.
type terms struct {
	session.ChildTerms
	life     suite.V1Lifetime
	pair     pair
	replaces *child
}

// install makes the child SA and puts its inbound half in place. The outbound
// half waits for switchOver.
func (s *SA) install(now time.Time, t terms) (*child, error) {
	t.Conn, t.Lifetime = s.conn, lifetime(t.Conf, t.life)
	t.Local, t.Remote, t.Encap = s.local, s.remote, s.encap()
	t.LocalTS, t.RemoteTS = []sadb.Selector{t.pair.local}, []sadb.Selector{t.pair.remote}
	made, err := session.NewChildSA(now, s.env.Rand, t.ChildTerms)
	if err != nil {
		return nil, err
	}
	c := &child{ChildSA: made, pair: t.pair}
	b := s.bind(c)
	s.children = append(s.children, c)
	s.env.Host.Own(c.In, s)
	c.Install(s.env.Out, b)
	return c, nil
}

// told is what RESPONDER-LIFETIME is to say: the bounds of ours that are shorter than
// what the peer offered, or that it did not speak of.
func told(conf *session.Child, offered suite.V1Lifetime) (life suite.V1Lifetime) {
	ours := lifetime(conf, offered)
	if ours.Time != offered.Time {
		life.Time = ours.Time
	}
	if kilobytes := ours.Bytes >> 10; kilobytes != offered.Kilobytes {
		life.Kilobytes = kilobytes
	}
	return life
}

// lifetime is the shorter of what is configured and what the peer wants.
func lifetime(conf *session.Child, life suite.V1Lifetime) sadb.Lifetime {
	hard := conf.Lifetime
	if life.Time > 0 && (hard.Time == 0 || life.Time < hard.Time) {
		hard.Time = life.Time
	}
	if bytes := life.Kilobytes << 10; bytes > 0 && bytes>>10 == life.Kilobytes && (hard.Bytes == 0 || bytes < hard.Bytes) {
		hard.Bytes = bytes
	}
	return hard
}

// bind chooses the SPD entry: that of a child SA with the same selectors, so
// that the data path switches at once.
func (s *SA) bind(c *child) *session.Binding {
	for _, owner := range s.all() {
		for _, o := range owner.children {
			if o.like(c) {
				if b := o.Share(); b != nil {
					return b
				}
			}
		}
	}
	return s.env.SPD.Bind(s.env.Out, s.conn, c.Conf, c.LocalTS, c.RemoteTS)
}

// switchOver installs the outbound half: from here on the policy's packets
// leave by this SA. Older ones with the same selectors only receive, until who
// asked for the new one deletes them, or their lifetime does.
func (s *SA) switchOver(now time.Time, c *child) {
	if s.outdated(c) {
		c.Withhold()
		c.state, c.SoftAt = childReplaced, time.Time{}
		return
	}
	if !c.SwitchOver(s.env.Out) {
		return
	}
	for _, owner := range s.all() {
		for _, o := range owner.children {
			if o != c && o.like(c) && o.state < childReplaced && !o.Waits() {
				o.state, o.SoftAt = childReplaced, time.Time{}
				o.Hush(s.env.Out)
			}
		}
	}
	if old := c.replaces; old != nil && old.state == childReplaced {
		old.deleteAt = now.Add(overlapTime)
	}
	c.replaces = nil
	s.env.Host.Up(s.conn.Name, c.Conf.Name)
	s.audit(slog.LevelInfo, "child SA established", c.Described()...)
	for _, owner := range s.all()[1:] {
		s.env.Host.Changed(now, owner)
	}
	s.moveOn(now)
}

// outdated reports whether a later child SA carries the traffic already: the last
// message of the quick mode that made this one came late.
func (s *SA) outdated(c *child) bool {
	for _, owner := range s.all() {
		if owner.findChild(func(o *child) bool { return o.like(c) && o.Sends() && o.Created.After(c.Created) }) != nil {
			return true
		}
	}
	return false
}

// all is this ISAKMP SA and the others with the same peer, any of which may hold the
// children that a quick mode here is about.
func (s *SA) all() []*SA { return append([]*SA{s}, s.env.Host.Peers(s)...) }

// like reports whether both carry the same packets.
func (c *child) like(o *child) bool { return c.Conf.Name == o.Conf.Name && c.pair == o.pair }

// linger stops sending and keeps the inbound half for packets under way.
func (s *SA) linger(now time.Time, c *child) {
	c.Linger(now, s.env.Out)
	c.state, c.deleteAt = childLingering, time.Time{}
}

// remove takes the child SA away in both directions.
func (s *SA) remove(c *child) {
	if c.state == childGone {
		return
	}
	c.Remove(s.env.Out)
	c.state = childGone
	s.env.Host.Own(c.In, nil)
	s.env.SPIs.Free(c.In)
	s.children = slices.DeleteFunc(s.children, func(o *child) bool { return o == c })
}

// byOutbound finds the child SA whose outbound SPI the peer names: in its
// notifies and Deletes a peer names the SPIs that it receives with.
func (s *SA) byOutbound(spi sadb.SPI) *child {
	return s.findChild(func(c *child) bool { return c.Out == spi && c.state < childLingering })
}

func (s *SA) byInbound(spi sadb.SPI) *child {
	return s.findChild(func(c *child) bool { return c.In == spi })
}

func (s *SA) findChild(match func(*child) bool) *child {
	if i := slices.IndexFunc(s.children, match); i >= 0 {
		return s.children[i]
	}
	return nil
}

// deadline is when the child SA wants attention, zero for never.
func (c *child) deadline() time.Time {
	return session.Earliest(c.Due(), c.deleteAt)
}

// tickChild does what has become due for one child SA.
func (s *SA) tickChild(now time.Time, c *child) {
	if session.Passed(now, c.SwitchAt) {
		s.switchOver(now, c)
	}
	if session.Passed(now, c.SoftAt) {
		c.SoftAt = time.Time{}
		s.rekeyChild(now, c)
	}
	if session.Passed(now, c.deleteAt) {
		s.deleteChild(now, c)
	}
	if session.Passed(now, c.HardAt) {
		s.expireChild(now, c, "time")
	}
	if session.Passed(now, c.LingerUntil) {
		s.remove(c)
	}
}

// rekeyChild asks for a successor, over an ISAKMP SA that can carry that.
func (s *SA) rekeyChild(now time.Time, c *child) {
	o := s.carrier()
	if o == nil {
		if s.mayBegin() {
			s.env.Host.Renew(now, s) // it adopts this child and rekeys it
		}
		c.SoftAt = now.Add(detachedLife)
		return
	}
	o.push(task{conf: c.Conf, pair: c.pair, replaces: c})
	s.moveOn(now)
}

// Expire is what the data path says about a child SA: soft asks for a rekey,
// hard ends it.
func (s *SA) Expire(now time.Time, spi sadb.SPI, hard bool, cause string) {
	c := s.byInbound(spi)
	switch {
	case c == nil || c.state >= childLingering:
	case hard:
		s.expireChild(now, c, cause)
	case c.state == childInstalled:
		s.rekeyChild(now, c)
	}
	s.pump(now)
}

// expireChild ends a child SA whose bound is reached. A successor that still waits to
// be used is used now: better that a packet comes early than that none can leave.
func (s *SA) expireChild(now time.Time, c *child, cause string) {
	next := s.findChild(func(o *child) bool {
		return o != c && o.Conf.Name == c.Conf.Name && o.pair == c.pair && !o.SwitchAt.IsZero()
	})
	if next != nil {
		s.switchOver(now, next)
	}
	s.audit(slog.LevelInfo, "child SA expired", c.Named(slog.String("cause", cause))...)
	s.sayDelete(now, c)
	s.linger(now, c)
}

// deleteChild says goodbye to a child SA and lets what is under way arrive.
func (s *SA) deleteChild(now time.Time, c *child) {
	if c.state >= childLingering {
		return
	}
	s.sayDelete(now, c)
	s.audit(slog.LevelInfo, "child SA deleted", c.Named()...)
	s.linger(now, c)
}
