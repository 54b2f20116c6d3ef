package v2

import (
	"bytes"
	"log/slog"
	"net/netip"
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

// child is one child SA: a pair of ESP SAs and the SPD entry it serves.
type child struct {
	conn  *session.Connection
	conf  *session.Child
	state childState

	in, out           sadb.SPI
	suite             suite.Proposal
	encap             bool
	localTS, remoteTS []sadb.Selector
	binding           *session.Binding
	keyIn, keyOut     string // fingerprints
	mode              sadb.Mode

	spare    *sadb.SA // outbound, not yet installed
	switchAt time.Time
	outSet   bool // outbound is installed

	created     time.Time
	softAt      time.Time // rekey
	hardAt      time.Time // delete
	lingerUntil time.Time
	successor   *child // made by the peer's rekey of this one
	lowest      []byte // the lower nonce of the exchange that made this one (RFC 7296 §2.8.1)
	redundant   bool   // lost a rekey collision: its maker deletes it
	told        bool   // a Delete for it was sent or came
}

// terms are what an exchange agreed on for one child SA.
type terms struct {
	conf              *session.Child
	in, out           sadb.SPI
	suite             suite.Proposal
	keyIn, keyOut     sadb.Key
	localTS, remoteTS []sadb.Selector
	replaces          *child
	nonces            [][]byte // of the exchange
}

// install makes the child SA and puts its inbound half in place. The outbound
// half waits for switchOver.
func (s *SA) install(now time.Time, t terms) (*child, error) {
	soft, err := session.Soft(s.env.Rand, t.conf.Lifetime)
	if err != nil {
		return nil, err
	}
	c := &child{
		conn: s.conn, conf: t.conf,
		in: t.in, out: t.out, suite: t.suite, encap: s.encap(),
		localTS: t.localTS, remoteTS: t.remoteTS, mode: t.conf.Mode,
		keyIn: t.keyIn.Fingerprint(), keyOut: t.keyOut.Fingerprint(),
		created: now,
		lowest:  slices.MinFunc(t.nonces, bytes.Compare),
	}
	if hard := t.conf.Lifetime.Time; hard > 0 {
		c.softAt, c.hardAt = now.Add(soft.Time), now.Add(hard)
	}
	c.binding = s.bind(c, t.replaces)
	inbound := s.half(c, soft)
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

// half is what both directions of a child SA have in common.
func (s *SA) half(c *child, soft sadb.Lifetime) sadb.SA {
	sa := sadb.SA{
		ESN: c.suite.ESN, ReplayWindow: c.conf.ReplayWindow,
		Suite: c.suite.Suite(),
		Soft:  soft, Hard: c.conf.Lifetime, Idle: c.conf.Idle, Silence: s.conn.DPD.Watch(),
		Mode:  c.mode,
		Local: s.local, Remote: s.remote, Encap: c.encap,
		LocalTS: c.localTS, RemoteTS: c.remoteTS,
		Pair: c.in,
		Conn: c.conn.Name, Child: c.conf.Name,
	}
	c.conf.Shape(&sa)
	return sa
}

// bind chooses the SPD entry: that of the SA it replaces if the selectors are
// the same, so that the data path switches at once.
func (s *SA) bind(c, replaces *child) *session.Binding {
	if replaces != nil && replaces.binding != nil &&
		slices.Equal(c.localTS, replaces.localTS) && slices.Equal(c.remoteTS, replaces.remoteTS) {
		return replaces.binding.Retain()
	}
	return s.env.SPD.Bind(s.env.Out, s.conn, c.conf, c.localTS, c.remoteTS)
}

// switchOver installs the outbound half: from here on the policy's packets
// leave by this SA.
func (s *SA) switchOver(now time.Time, c *child) {
	if c.spare == nil {
		return
	}
	s.env.Out.Put(session.AddSA{SA: *c.spare})
	c.spare, c.switchAt, c.outSet = nil, time.Time{}, true
	s.env.Host.Up(s.conn.Name, c.conf.Name)
	s.audit(slog.LevelInfo, "child SA established", slog.String("child", c.conf.Name),
		slog.String("spi_in", c.in.String()), slog.String("spi_out", c.out.String()),
		slog.String("suite", c.suite.String()), slog.Bool("encap", c.encap),
		slog.String("local_ts", formatSelectors(c.localTS)), slog.String("remote_ts", formatSelectors(c.remoteTS)),
		slog.String("key_in", c.keyIn), slog.String("key_out", c.keyOut))
}

// takeOver lets a child SA that we granted carry traffic. Where another IKE SA
// with this peer carries it so far, that one goes on for takeOverTime: the
// initiator, which authenticates again, cannot receive on the new one before our
// answer reached it.
func (s *SA) takeOver(now time.Time, c *child) {
	if s.env.Host.CarriedBeside(s, c.conf.Name) {
		c.switchAt = now.Add(takeOverTime)
		return
	}
	s.switchOver(now, c)
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
	c.softAt, c.hardAt = time.Time{}, time.Time{}
	c.lingerUntil = now.Add(lingerTime)
	s.release(c)
	s.restore(c)
}

// remove takes the child SA away in both directions.
func (s *SA) remove(c *child) {
	if c.state == childGone {
		return
	}
	s.dropOutbound(c)
	s.env.Out.Put(session.DeleteSA{Direction: sadb.Inbound, Pair: c.in})
	s.release(c)
	s.restore(c)
	c.state = childGone
	s.env.Host.Own(c.in, nil)
	s.env.SPIs.Free(c.in)
	s.children = slices.DeleteFunc(s.children, func(o *child) bool { return o == c })
}

// release lets go of the SPD entry.
func (s *SA) release(c *child) {
	if c.binding != nil {
		c.binding.Release(s.env.Out)
		c.binding = nil
	}
}

// byOutbound finds the child SA whose outbound SPI the peer names: in its
// notifies and Deletes a peer names the SPIs that it receives with.
func (s *SA) byOutbound(spi sadb.SPI) *child {
	return s.find(func(c *child) bool { return c.out == spi && c.state < childLingering })
}

func (s *SA) byInbound(spi sadb.SPI) *child {
	return s.find(func(c *child) bool { return c.in == spi })
}

func (s *SA) find(match func(*child) bool) *child {
	if i := slices.IndexFunc(s.children, match); i >= 0 {
		return s.children[i]
	}
	return nil
}

// carries reports whether the selectors admit a packet; the zero flow is any.
func (c *child) carries(flow sadb.Flow) bool {
	matches := func(set []sadb.Selector, addr netip.Addr, port uint16) bool {
		return slices.ContainsFunc(set, func(s sadb.Selector) bool { return s.Matches(addr, flow.Protocol, port) })
	}
	return flow == sadb.Flow{} ||
		matches(c.localTS, flow.Src, flow.SrcPort) && matches(c.remoteTS, flow.Dst, flow.DstPort)
}

// deadline is when the child SA wants attention, zero for never.
func (c *child) deadline() time.Time {
	return earliest(c.switchAt, c.softAt, c.hardAt, c.lingerUntil)
}

// earliest is the first of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// passed reports whether a time that is set has come.
func passed(now, t time.Time) bool { return !t.IsZero() && !now.Before(t) }

// tickChild does what has become due for one child SA.
func (s *SA) tickChild(now time.Time, c *child) {
	if passed(now, c.switchAt) {
		s.switchOver(now, c)
	}
	if passed(now, c.softAt) {
		c.softAt = time.Time{}
		s.push(now, task{kind: taskRekeyChild, child: c})
	}
	if passed(now, c.hardAt) {
		s.expireChild(now, c, "time")
	}
	if passed(now, c.lingerUntil) {
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
func (c *child) expired() bool { return !c.lingerUntil.IsZero() }

// expireChild ends a child SA whose bound is reached. Whatever becomes of the
// Delete, it is gone after lingerTime.
func (s *SA) expireChild(now time.Time, c *child, cause string) {
	s.audit(slog.LevelInfo, "child SA expired", slog.String("child", c.conf.Name),
		slog.String("spi_in", c.in.String()), slog.String("spi_out", c.out.String()), slog.String("cause", cause))
	s.succeed(now, c)
	s.dropOutbound(c)
	c.softAt, c.hardAt = time.Time{}, time.Time{}
	c.lingerUntil = now.Add(lingerTime)
	s.push(now, task{kind: taskDeleteChild, child: c})
	if cause == "idle" && s.conn.IdleIKE && !s.holdsOther(c) {
		s.push(now, task{kind: taskDeleteIKE})
	}
}

// holdsOther reports whether the IKE SA has another child SA than this one.
func (s *SA) holdsOther(besides *child) bool {
	return s.find(func(c *child) bool { return c != besides && c.state < childDeleting }) != nil
}
