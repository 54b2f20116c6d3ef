package v1

import (
	"time"

	"spindle/ike/wire"
)

// SayDPD sends a query, or an answer, with any sequence number.
func (s *SA) SayDPD(now time.Time, query bool, seq uint32) {
	t := wire.V1NotifyRUThereAck
	if query {
		t = wire.V1NotifyRUThere
	}
	s.notify(now, s.dpdNotify(t, seq))
}

// Held is how many octets of fragments are kept.
func (s *SA) Held() int { return s.fragments.octets() }

// MaxUsed is how many message IDs one ISAKMP SA takes.
const MaxUsed = maxUsed
