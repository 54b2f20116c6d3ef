package v2

import (
	"bytes"
	"io"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// rekeyChild asks for a successor of a child SA (RFC 7296 §1.3.3).
func (s *SA) rekeyChild(now time.Time, c *child) {
	if c.state != childInstalled || c.expired() || c.redundant {
		return
	}
	c.state = childRekeying
	s.begin(now, &attempt{conf: c.Conf, replaces: c}, c.Conf.ESP[0].Group)
}

// replace makes our rekey take effect: outbound switches now, the old child SA
// is deleted by us. If the peer rekeyed the same child SA at the same moment,
// both compare nonces: RFC 7296 §2.8.1, "the SA created with the lowest of the
// four nonces SHOULD be closed by the endpoint that created it".
func (s *SA) replace(now time.Time, old, c *child) {
	old.state, old.SoftAt = childReplaced, time.Time{}
	rival := old.successor
	if nonce := s.rivalOf(old); nonce != nil && bytes.Compare(c.lowest, nonce) < 0 {
		c.redundant = true
		c.Withhold()
		s.audit(slog.LevelInfo, "rekey collision: the peer's child SA stays", slog.String("child", c.Conf.Name))
		s.push(now, task{kind: taskDeleteChild, child: c})
		if rival == nil { // its key exchanges are not all made yet
			old.state, old.SoftAt = childInstalled, sooner(now, s.env.backOff(), old.HardAt)
		}
		return
	}
	if rival != nil {
		rival.redundant, rival.SoftAt = true, time.Time{}
		rival.Withhold()
		rival.HardAt = now.Add(redundancy)
	}
	if s.void(func(o *series) bool { return o.replaces == old }) || rival != nil {
		s.audit(slog.LevelInfo, "rekey collision: our child SA stays", slog.String("child", c.Conf.Name))
	}
	s.switchOver(c)
	s.push(now, task{kind: taskDeleteChild, child: old})
}

// abort ends an attempt. A child SA that was to be replaced goes on, and is
// tried again after the given time, unless the peer's own rekey replaced it.
func (s *SA) abort(now time.Time, a *attempt, retry time.Duration) {
	s.env.SPIs.Free(a.spi)
	old := a.replaces
	switch {
	case old == nil || old.state != childRekeying:
	case old.successor != nil:
		old.state, old.SoftAt = childReplaced, time.Time{}
	default:
		old.state, old.SoftAt = childInstalled, sooner(now, retry, old.HardAt)
	}
}

// rekeyed finds the child SA that a request wants to replace, nil for none, or
// says why it cannot be.
func (s *SA) rekeyed(m wire.Message) (*child, *wire.Notify) {
	n, ok := wire.FindNotify(m.Payloads, wire.NotifyRekeySA)
	if !ok {
		return nil, nil
	}
	spi, ok := session.ParseSPI(n.SPI)
	c := s.byOutbound(spi)
	switch {
	case ok && c == nil && s.asking != nil:
		// It may be the one whose answer has not reached us yet.
		return nil, &wire.Notify{Type: wire.NotifyTemporaryFailure}
	case !ok || c == nil || n.Protocol != wire.ProtocolESP:
		return nil, &wire.Notify{Protocol: n.Protocol, SPI: n.SPI, Type: wire.NotifyChildSANotFound}
	case c.state > childRekeying || c.successor != nil || c.expired() || c.redundant,
		s.followsUp() && s.asking != nil && s.asking.replaces == c:
		return nil, &wire.Notify{Type: wire.NotifyTemporaryFailure}
	}
	return c, nil
}

// backOff is how long to leave a busy peer alone: two ends that refuse each
// other must not come back at the same moment (RFC 7296 §2.25).
func (e *Env) backOff() time.Duration {
	var b [1]byte
	if _, err := io.ReadFull(e.Rand, b[:]); err != nil {
		return rekeyRetry
	}
	return 2*time.Second + time.Duration(b[0])*16*time.Millisecond
}

// succeed lets the successor of a rekeyed child SA take over its traffic, now
// that the peer's Delete of the old one proves that it is ready (RFC 7296 §2.8).
func (s *SA) succeed(c *child) {
	if c.successor != nil && !c.successor.redundant {
		s.switchOver(c.successor)
	}
}

// restore makes a child SA current again whose successor went before it did.
func (s *SA) restore(successor *child) {
	old := s.find(func(o *child) bool { return o.successor == successor })
	if old == nil || successor.redundant {
		return
	}
	old.successor = nil
	if old.state == childReplaced {
		old.state = childInstalled
	}
	if old.state == childInstalled && !old.HardAt.IsZero() {
		old.SoftAt = old.HardAt.Add(-old.HardAt.Sub(old.Created) / 20)
	}
}

// sooner is when to try again: after the given time, but well before the end.
func sooner(now time.Time, retry time.Duration, end time.Time) time.Time {
	if !end.IsZero() {
		retry = min(retry, end.Sub(now)/2)
	}
	return now.Add(max(retry, time.Second))
}
