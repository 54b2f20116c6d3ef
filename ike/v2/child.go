package v2

import (
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

const (
	// switchTime is the longest that the responder of a rekey keeps sending on the
	// old SA when the initiator's Delete does not come: until then it may not have
	// our answer, and so not the new SA (RFC 7296 §2.8). No longer than that does
	// an initiator repeat its request.
	switchTime = 32 * time.Second
	// takeOverTime is less: the initiator deletes the old IKE SA after settleTime.
	takeOverTime = time.Second
)

// childState is where a child SA stands.
type childState uint8

const (
	childInstalled childState = iota // carries traffic
	childRekeying                    // our request to replace it is out
	childReplaced                    // its successor stands, its Delete is to come
	childDeleting                    // our Delete is out
	childLingering                   // the peer let go of it; only inbound is left, for a moment
	childGone
)

func (s childState) String() string {
	return [...]string{"installed", "rekeying", "replaced", "deleting", "lingering", "gone"}[s]
}

// child is one child SA.
type child struct {
	session.ChildSA
	state     childState
	successor *child // made by the peer's rekey of this one
	lowest    []byte // the lower nonce of the exchange that made this one (RFC 7296 §2.8.1)
	redundant bool   // lost a rekey collision: its maker deletes it
	told      bool   // a Delete for it was sent or came
}

// terms are what an exchange agreed on for one child SA.
type terms struct {
	session.ChildTerms
	replaces *child
	nonces   [][]byte // of the exchange

	initiator bool           // of the exchange
	shared    []suite.Secret // of its key exchanges
}

// install makes the child SA and puts its inbound half in place. The outbound
// half waits for switchOver.
func (s *SA) install(now time.Time, t terms) (*child, error) {
	t.Conn, t.Mode, t.Lifetime = s.conn, t.Conf.Mode, t.Conf.Lifetime
	t.Local, t.Remote, t.Encap = s.local, s.remote, s.encap()
	made, err := session.NewChildSA(now, s.env.Rand, t.ChildTerms)
	if err != nil {
		return nil, err
	}
	c := &child{ChildSA: made, lowest: lowest(t.nonces)}
	b := s.bind(c, t.replaces)
	s.children = append(s.children, c)
	s.env.Host.Own(c.In, s)
	c.Install(s.env.Out, b)
	return c, nil
}

// bind chooses the SPD entry: that of the SA it replaces if the selectors are
// the same, so that the data path switches at once.
func (s *SA) bind(c, replaces *child) *session.Binding {
	if replaces != nil && c.SameSelectors(&replaces.ChildSA) {
		if b := replaces.Share(); b != nil {
			return b
		}
	}
	return s.env.SPD.Bind(s.env.Out, s.conn, c.Conf, c.LocalTS, c.RemoteTS)
}

// switchOver installs the outbound half: from here on the policy's packets
// leave by this SA.
func (s *SA) switchOver(c *child) {
	if c.SwitchOver(s.env.Out) {
		s.env.Host.Up(s.conn.Name, c.Conf.Name)
		s.audit(slog.LevelInfo, "child SA established", c.Described()...)
	}
}

// takeOver lets a child SA that we granted carry traffic. Where another IKE SA
// with this peer carries it so far, that one goes on for takeOverTime: the
// initiator, which authenticates again, cannot receive on the new one before our
// answer reached it.
func (s *SA) takeOver(now time.Time, c *child) {
	if s.env.Host.CarriedBeside(s, c.Conf.Name) {
		c.SwitchAt = now.Add(takeOverTime)
		return
	}
	s.switchOver(c)
}

// linger stops sending and keeps the inbound half for packets under way.
func (s *SA) linger(now time.Time, c *child) {
	c.Linger(now, s.env.Out)
	c.state = childLingering
	s.restore(c)
}

// remove takes the child SA away in both directions.
func (s *SA) remove(c *child) {
	if c.state == childGone {
		return
	}
	c.Remove(s.env.Out)
	s.restore(c)
	c.state = childGone
	s.env.Host.Own(c.In, nil)
	s.env.SPIs.Free(c.In)
	s.children = slices.DeleteFunc(s.children, func(o *child) bool { return o == c })
}

// byOutbound finds the child SA whose outbound SPI the peer names: in its
// notifies and Deletes a peer names the SPIs that it receives with.
func (s *SA) byOutbound(spi sadb.SPI) *child {
	return s.find(func(c *child) bool { return c.Out == spi && c.state < childLingering })
}

func (s *SA) byInbound(spi sadb.SPI) *child {
	return s.find(func(c *child) bool { return c.In == spi })
}

func (s *SA) find(match func(*child) bool) *child {
	if i := slices.IndexFunc(s.children, match); i >= 0 {
		return s.children[i]
	}
	return nil
}

// tickChild does what has become due for one child SA.
func (s *SA) tickChild(now time.Time, c *child) {
	if session.Passed(now, c.SwitchAt) {
		s.switchOver(c)
	}
	if session.Passed(now, c.SoftAt) {
		c.SoftAt = time.Time{}
		s.push(now, task{kind: taskRekeyChild, child: c})
	}
	if session.Passed(now, c.HardAt) {
		s.expireChild(now, c, "time")
	}
	if session.Passed(now, c.LingerUntil) {
		s.remove(c)
	}
}

// Expire is what the data path says about a child SA: soft asks for a rekey,
// hard ends it.
func (s *SA) Expire(now time.Time, pair sadb.SPI, hard bool, cause string) {
	c := s.byInbound(pair)
	if c == nil || c.state >= childDeleting || c.expired() {
		return
	}
	if hard {
		s.expireChild(now, c, cause)
	} else {
		s.push(now, task{kind: taskRekeyChild, child: c})
	}
	s.pump(now)
}

// expired reports whether the child SA reached its hard bound.
func (c *child) expired() bool { return !c.LingerUntil.IsZero() }

// expireChild ends a child SA whose bound is reached. Whatever becomes of the
// Delete, it is gone after session.LingerTime.
func (s *SA) expireChild(now time.Time, c *child, cause string) {
	s.audit(slog.LevelInfo, "child SA expired", c.Named(slog.String("cause", cause))...)
	s.succeed(c)
	c.Hush(s.env.Out)
	c.SoftAt, c.HardAt = time.Time{}, time.Time{}
	c.LingerUntil = now.Add(session.LingerTime)
	s.push(now, task{kind: taskDeleteChild, child: c})
	if cause == "idle" && s.conn.IdleIKE && !s.holdsOther(c) {
		s.push(now, task{kind: taskDeleteIKE})
	}
}

// holdsOther reports whether the IKE SA has another child SA than this one.
func (s *SA) holdsOther(besides *child) bool {
	return s.find(func(c *child) bool { return c != besides && c.state < childDeleting }) != nil
}
