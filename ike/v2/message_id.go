package v2

import (
	"log/slog"
	"time"
)

// RFC 7296 §2.2: a message id is never used again under one IKE SA, and "in the
// unlikely event that Message IDs grow too large to fit in 32 bits, the IKE SA MUST be
// closed or rekeyed". It is rekeyed when half of them are used, and closed when the
// peer has not let that happen until three quarters are.

// wear has the IKE SA rekeyed when the ids of one end are half used. A rekey that
// fails is tried again like any other.
func (s *SA) wear(now time.Time, id uint32) {
	if id < s.env.MessageIDs || s.worn || s.state != Established {
		return
	}
	s.worn = true
	s.audit(slog.LevelInfo, "message ids run low: the IKE SA is rekeyed")
	s.push(now, task{kind: taskRekeyIKE})
}

// exhausted closes an IKE SA that is not to have another exchange.
func (s *SA) exhausted(now time.Time, id uint32) bool {
	if id < s.env.MessageIDs+s.env.MessageIDs/2 || s.state != Established {
		return false
	}
	s.fail(now, "message ids are used up, and the peer did not let the IKE SA be rekeyed")
	return true
}
