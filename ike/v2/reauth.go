package v2

import (
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// reauthRetry is when an authentication that did not come about is tried again.
const reauthRetry = 30 * time.Second

// reauthMargin is what it takes at least to negotiate anew and to let go of the
// old child SAs without losing a packet.
const reauthMargin = 5 * time.Second

// limitAuth starts the time for which this authentication is good. Rekeying the
// IKE SA does not extend it: RFC 7296 §2.8.3, "reauthentication is done by
// creating a new IKE SA from scratch". Both ends delete what is overdue; the
// original initiator sees to it that it does not come to that, since the other
// end may not be able to authenticate of its own accord (RFC 4478 §2).
func (s *SA) limitAuth(now time.Time) {
	if s.conn.Reauth == 0 {
		return
	}
	s.authEnds = now.Add(s.conn.Reauth)
	if s.initiator {
		s.plan(now, s.conn.Reauth)
	}
}

// plan authenticates again before a time is over, but not all peers at once.
func (s *SA) plan(now time.Time, within time.Duration) {
	soft, err := session.Soft(s.env.Rand, sadb.Lifetime{Time: within})
	if err != nil {
		s.internal(err)
	}
	at := max(min(soft.Time, within-reauthMargin), within/2)
	s.reauthAt = session.Earliest(s.reauthAt, now.Add(at))
}

// heedAuthLifetime takes the responder's wish that we authenticate again within
// some time (RFC 4478 §3).
func (s *SA) heedAuthLifetime(now time.Time, payloads []wire.Payload) {
	n, ok := wire.FindNotify(payloads, wire.NotifyAuthLifetime)
	if !ok || !s.initiator || s.state != Established {
		return
	}
	seconds, err := wire.ParseAuthLifetime(n)
	if err != nil {
		s.audit(slog.LevelWarn, "malformed notification", slog.String("error", err.Error()))
		return
	}
	// Less than some seconds is no time to do it in.
	s.plan(now, max(time.Duration(seconds)*time.Second, 5*time.Second))
}

// tickAuth does what has become due about authentication.
func (s *SA) tickAuth(now time.Time) {
	s.tickFetch(now)
	if session.Passed(now, s.authEnds) && s.state == Established {
		reason := "peer was not authenticated again in time (configuration key: reauth)"
		s.audit(slog.LevelWarn, "IKE SA expired", slog.String("reason", reason))
		s.env.Host.Refused(now, s.conn.Name, reason)
		s.closeNow(now)
		return
	}
	if session.Passed(now, s.reauthAt) && s.state == Established {
		s.reauthAt = now.Add(reauthRetry)
		s.env.Host.Reauthenticate(now, s)
	}
}

// Retire deletes the IKE SA without losing a packet, once another has taken over.
func (s *SA) Retire(now time.Time) {
	if s.state != Established {
		return
	}
	s.softAt, s.reauthAt, s.authEnds = time.Time{}, time.Time{}, time.Time{}
	s.retireAt = now.Add(settleTime)
}
