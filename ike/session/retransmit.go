package session

import "time"

// Schedule says when a request that was not answered is sent again. RFC 7296
// §2.4: "the number of retries and length of timeouts are not covered in this
// specification because they do not affect interoperability".
type Schedule struct {
	First time.Duration // from the first transmission to the second
	Limit time.Duration // the wait doubles each time, up to this
	Tries int           // transmissions in all
}

// DefaultSchedule is that of every request but dead peer detection. It
// transmits at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 23.5 s and gives the peer up for
// dead at 31.5 s. There is no jitter: the requests of one gateway start at
// moments of their own, and a trace stays predictable.
func DefaultSchedule() Schedule {
	return Schedule{First: 500 * time.Millisecond, Limit: 8 * time.Second, Tries: 7}
}

// Wait is the time between transmission n (from 1) and what follows it.
func (s Schedule) Wait(n int) time.Duration {
	wait := s.First
	for ; n > 1 && wait < s.Limit; n-- {
		wait *= 2
	}
	return min(wait, s.Limit)
}

// Retransmission follows one request through its schedule. The zero value
// has nothing outstanding.
type Retransmission struct {
	Schedule Schedule
	sent     int
	due      time.Time
}

// Start notes the first transmission.
func (r *Retransmission) Start(now time.Time, s Schedule) {
	*r = Retransmission{Schedule: s, sent: 1, due: now.Add(s.Wait(1))}
}

// Stop forgets the request: it was answered.
func (r *Retransmission) Stop() { *r = Retransmission{} }

// Due is when to look again, zero when nothing is outstanding.
func (r *Retransmission) Due() time.Time { return r.due }

// Sent is how often the request went out.
func (r *Retransmission) Sent() int { return r.sent }

// Step tells what to do now: send the request again, or give the peer up.
func (r *Retransmission) Step(now time.Time) (again, dead bool) {
	if r.sent == 0 || now.Before(r.due) {
		return false, false
	}
	if r.sent >= r.Schedule.Tries {
		return false, true
	}
	r.sent++
	r.due = now.Add(r.Schedule.Wait(r.sent))
	return true, false
}
