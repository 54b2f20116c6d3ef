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
	// lingerTime is how long the inbound half of a deleted child SA still takes
	// packets that were under way.
	lingerTime = 5 * time.Second
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

// child is one child SA: a pair of ESP SAs and the SPD entry it serves.
type child struct {
	conn  *session.Connection
	conf  *session.Child
	state childState

	in, out       sadb.SPI
	suite         suite.Proposal
	mode          sadb.Mode
	encap         bool
	pair          pair
	binding       *session.Binding
	keyIn, keyOut string // fingerprints

	spare    *sadb.SA // outbound, not yet installed
	switchAt time.Time
	outSet   bool   // outbound is installed
	replaces *child // by our rekey: it is to be deleted

	created     time.Time
	softAt      time.Time // rekey
	hardAt      time.Time // delete
	deleteAt    time.Time // replaced by our rekey: say goodbye
	lingerUntil time.Time
}

// terms are what a quick mode agreed on.
type terms struct {
	conf          *session.Child
	in, out       sadb.SPI
	suite         suite.Proposal
	mode          sadb.Mode
	life          suite.V1Lifetime
	keyIn, keyOut sadb.Key
	pair          pair
	replaces      *child
}

// install makes the child SA and puts its inbound half in place. The outbound
// half waits for switchOver.
func (s *SA) install(now time.Time, t terms) (*child, error) {
	hard := lifetime(t.conf, t.life)
	soft, err := session.Soft(s.env.Rand, hard)
	if err != nil {
		return nil, err
	}
	c := &child{
		conn: s.conn, conf: t.conf, in: t.in, out: t.out, suite: t.suite, mode: t.mode, encap: s.encap(), pair: t.pair,
		keyIn: t.keyIn.Fingerprint(), keyOut: t.keyOut.Fingerprint(), created: now,
	}
	if hard.Time > 0 {
		c.softAt, c.hardAt = now.Add(soft.Time), now.Add(hard.Time)
	}
	c.binding = s.bind(c)
	inbound := sadb.SA{
		ESN: c.suite.ESN, ReplayWindow: c.conf.ReplayWindow, Suite: c.suite.Suite(),
		Soft: soft, Hard: hard, Idle: c.conf.Idle, Silence: s.conn.DPD.Watch(), Mode: c.mode,
		Local: s.local, Remote: s.remote, Encap: c.encap,
		LocalTS: []sadb.Selector{c.pair.local}, RemoteTS: []sadb.Selector{c.pair.remote},
		Pair: c.in, Conn: c.conn.Name, Child: c.conf.Name,
	}
	c.conf.Shape(&inbound)
	outbound := inbound
	inbound.SPI, inbound.Direction, inbound.Key = t.in, sadb.Inbound, t.keyIn
	outbound.SPI, outbound.Direction, outbound.Key = t.out, sadb.Outbound, t.keyOut
	outbound.Policy = c.binding.Policy.ID
	c.spare = &outbound
	s.children = append(s.children, c)
	s.env.Host.Own(c.in, s)
	s.env.Out.Put(session.AddSA{SA: inbound})
	return c, nil
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
	if old := s.findChild(func(o *child) bool { return o.conf.Name == c.conf.Name && o.pair == c.pair && o.binding != nil }); old != nil {
		return old.binding.Retain()
	}
	return s.env.SPD.Bind(s.env.Out, s.conn, c.conf, []sadb.Selector{c.pair.local}, []sadb.Selector{c.pair.remote})
}

// switchOver installs the outbound half: from here on the policy's packets
// leave by this SA. Older ones with the same selectors only receive, until who
// asked for the new one deletes them, or their lifetime does.
func (s *SA) switchOver(now time.Time, c *child) {
	if c.spare == nil {
		return
	}
	s.env.Out.Put(session.AddSA{SA: *c.spare})
	c.spare, c.switchAt, c.outSet = nil, time.Time{}, true
	for _, o := range s.children {
		if o != c && o.conf.Name == c.conf.Name && o.pair == c.pair && o.state < childReplaced && o.spare == nil {
			o.state, o.softAt = childReplaced, time.Time{}
			s.dropOutbound(o)
		}
	}
	if old := c.replaces; old != nil && old.state == childReplaced {
		old.deleteAt = now.Add(overlapTime)
	}
	c.replaces = nil
	s.env.Host.Up(s.conn.Name, c.conf.Name)
	s.audit(slog.LevelInfo, "child SA established", slog.String("child", c.conf.Name),
		slog.String("spi_in", c.in.String()), slog.String("spi_out", c.out.String()),
		slog.String("suite", c.suite.String()), slog.Bool("encap", c.encap),
		slog.String("local_ts", c.pair.local.String()), slog.String("remote_ts", c.pair.remote.String()),
		slog.String("key_in", c.keyIn), slog.String("key_out", c.keyOut))
}

// dropOutbound stops sending on the child SA.
func (s *SA) dropOutbound(c *child) {
	if c.outSet {
		s.env.Out.Put(session.DeleteSA{Direction: sadb.Outbound, Pair: c.in})
	}
	c.outSet, c.spare, c.switchAt = false, nil, time.Time{}
}

// linger stops sending and keeps the inbound half for packets under way.
func (s *SA) linger(now time.Time, c *child) {
	s.dropOutbound(c)
	c.state = childLingering
	c.softAt, c.hardAt, c.deleteAt = time.Time{}, time.Time{}, time.Time{}
	c.lingerUntil = now.Add(lingerTime)
	s.unbind(c)
}

// remove takes the child SA away in both directions.
func (s *SA) remove(c *child) {
	if c.state == childGone {
		return
	}
	s.dropOutbound(c)
	s.env.Out.Put(session.DeleteSA{Direction: sadb.Inbound, Pair: c.in})
	s.unbind(c)
	c.state = childGone
	s.env.Host.Own(c.in, nil)
	s.env.SPIs.Free(c.in)
	s.children = slices.DeleteFunc(s.children, func(o *child) bool { return o == c })
}

// unbind lets go of the SPD entry.
func (s *SA) unbind(c *child) {
	if c.binding != nil {
		c.binding.Release(s.env.Out)
		c.binding = nil
	}
}

// byOutbound finds the child SA whose outbound SPI the peer names: in its
// notifies and Deletes a peer names the SPIs that it receives with.
func (s *SA) byOutbound(spi sadb.SPI) *child {
	return s.findChild(func(c *child) bool { return c.out == spi && c.state < childLingering })
}

func (s *SA) byInbound(spi sadb.SPI) *child {
	return s.findChild(func(c *child) bool { return c.in == spi })
}

func (s *SA) findChild(match func(*child) bool) *child {
	if i := slices.IndexFunc(s.children, match); i >= 0 {
		return s.children[i]
	}
	return nil
}

// deadline is when the child SA wants attention, zero for never.
func (c *child) deadline() time.Time {
	return earliest(c.switchAt, c.softAt, c.hardAt, c.deleteAt, c.lingerUntil)
}

// tickChild does what has become due for one child SA.
func (s *SA) tickChild(now time.Time, c *child) {
	if passed(now, c.switchAt) {
		s.switchOver(now, c)
	}
	if passed(now, c.softAt) {
		c.softAt = time.Time{}
		s.rekeyChild(now, c)
	}
	if passed(now, c.deleteAt) {
		s.deleteChild(now, c)
	}
	if passed(now, c.hardAt) {
		s.expireChild(now, c, "time")
	}
	if passed(now, c.lingerUntil) {
		s.remove(c)
	}
}

// rekeyChild asks for a successor, over an ISAKMP SA that can carry that.
func (s *SA) rekeyChild(now time.Time, c *child) {
	if s.state != Established {
		if s.mayBegin() {
			s.env.Host.Renew(now, s) // it adopts this child and rekeys it
		}
		c.softAt = now.Add(detachedLife)
		return
	}
	s.push(task{conf: c.conf, pair: c.pair, replaces: c})
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

// expireChild ends a child SA whose bound is reached.
func (s *SA) expireChild(now time.Time, c *child, cause string) {
	s.audit(slog.LevelInfo, "child SA expired", slog.String("child", c.conf.Name),
		slog.String("spi_in", c.in.String()), slog.String("spi_out", c.out.String()), slog.String("cause", cause))
	s.sayDelete(now, c)
	s.linger(now, c)
}

// deleteChild says goodbye to a child SA and lets what is under way arrive.
func (s *SA) deleteChild(now time.Time, c *child) {
	if c.state >= childLingering {
		return
	}
	s.sayDelete(now, c)
	s.audit(slog.LevelInfo, "child SA deleted", slog.String("child", c.conf.Name),
		slog.String("spi_in", c.in.String()), slog.String("spi_out", c.out.String()))
	s.linger(now, c)
}
