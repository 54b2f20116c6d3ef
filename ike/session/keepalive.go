package session

import "time"

// keepaliveTries is how many keepalives in a row may come to nothing (D9).
const keepaliveTries = 3

// UseKeepalive is for a peer that did not announce dead peer detection: it gets a
// keepalive that it need not answer, and any sign of life counts.
func (l *Liveness) UseKeepalive() { l.keepalive = true }

// Keepalive reports whether the peer gets keepalives instead of queries.
func (l *Liveness) Keepalive() bool { return l.keepalive }

// KeepaliveDue is when to look at a periodic peer again, zero for never: an interval
// after the last keepalive or sign of life. On-demand only what the data path says
// of its silence counts, since ESP that comes in is told by nothing else.
func (l *Liveness) KeepaliveDue() time.Time {
	if l.conf.Mode != DPDPeriodic {
		return time.Time{}
	}
	return later(l.proof, l.kept).Add(l.conf.Interval)
}

// KeepAlive looks at a peer that was silent: whether to send a keepalive, whether
// the last one was missed, and whether the peer is dead by that.
func (l *Liveness) KeepAlive(now time.Time) (send, missed, dead bool) {
	if l.proof.After(l.kept) {
		l.errors, l.kept = 0, time.Time{}
	}
	if now.Before(later(l.proof, l.kept).Add(l.conf.Interval)) {
		return false, false, false
	}
	if missed = !l.kept.IsZero(); missed {
		l.errors++
	}
	l.kept = now
	return l.errors < keepaliveTries, missed, l.errors >= keepaliveTries
}

// Heard tells of ESP that authenticated at that time.
func (l *Liveness) Heard(at time.Time) { l.proof = later(l.proof, at) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
