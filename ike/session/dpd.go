package session

import "time"

// Liveness is dead peer detection with one peer (D1..D7): it decides when to ask
// and counts what is not answered. It knows no message: IKEv1's R-U-THERE and
// IKEv2's empty INFORMATIONAL are asked for by the same figures. Asking and
// answering cost it no timer while nobody has to be asked (D10).
type Liveness struct {
	conf DPD

	proof  time.Time // of life: an authenticated IKE message, or ESP that the data path saw
	next   time.Time // periodic: when to ask; zero otherwise
	asking bool      // a query is outstanding
	errors int       // queries unanswered in a row

	lastReceived   time.Time // an answer; data never moves it (D7)
	mySeq, peerSeq uint32    // of the last query each way

	keepalive bool      // the peer knows no queries (D9)
	kept      time.Time // when it last got a keepalive, zero when it was heard since
}

// NewLiveness begins with a peer that has just proved to be there.
func NewLiveness(conf DPD, now time.Time) Liveness {
	l := Liveness{conf: conf, proof: now}
	l.rest(now)
	return l
}

// rest puts the next periodic query off to a whole interval from now.
func (l *Liveness) rest(now time.Time) {
	if l.conf.Mode == DPDPeriodic {
		l.next = now.Add(l.conf.Interval)
	}
}

// Alive notes an authenticated IKE message of the peer.
func (l *Liveness) Alive(now time.Time) { l.proof = now }

// PeerAsked notes a query of the peer: within the interval none is asked back (D4).
func (l *Liveness) PeerAsked(now time.Time, seq uint32) {
	l.Alive(now)
	l.peerSeq = seq
	if !l.asking {
		l.rest(now)
	}
}

// Silent is what the data path says of a peer that we send to: nothing that
// authenticated came back since lastIn. It reports whether to ask now (D3). ESP
// counts as proof of life, but never clears a query that is out (D6).
func (l *Liveness) Silent(now, lastIn time.Time) bool {
	if lastIn.After(l.proof) {
		l.proof = lastIn
	}
	return l.conf.Mode == DPDOnDemand && !l.asking && !now.Before(l.proof.Add(l.conf.Interval))
}

// Due is when to ask a periodic peer, zero for never.
func (l *Liveness) Due() time.Time {
	if l.asking {
		return time.Time{}
	}
	return l.next
}

// Ask notes that a query goes out, and gives the schedule by which it is
// repeated: at 0, retry, 2 × retry ... and dead one retry after the last (D5).
func (l *Liveness) Ask(now time.Time, seq uint32) Schedule {
	l.asking, l.errors, l.mySeq = true, 0, seq
	l.rest(now)
	return l.conf.Schedule()
}

// Answered notes the answer to our query.
func (l *Liveness) Answered(now time.Time) {
	l.Alive(now)
	l.asking, l.errors, l.lastReceived = false, 0, now
}

// Missed counts a query that was not answered in time, and returns how many that
// makes and how many make the peer dead.
func (l *Liveness) Missed() (errors, tries int) {
	l.errors++
	return l.errors, l.conf.Tries
}

// Asking reports whether a query is outstanding.
func (l *Liveness) Asking() bool { return l.asking }

// Status is what D7 asks to be shown.
func (l *Liveness) Status() DPDStatus {
	return DPDStatus{DPD: l.conf, LastReceived: l.lastReceived, LastProof: l.proof, Next: l.Due(),
		MySeq: l.mySeq, PeerSeq: l.peerSeq, Outstanding: l.asking || !l.kept.IsZero(), Errors: l.errors, Keepalive: l.keepalive}
}

// DPDStatus is dead peer detection with one peer as an operator sees it.
type DPDStatus struct {
	DPD
	LastReceived   time.Time // an answer to a query, zero for never
	LastProof      time.Time // any sign of life
	Next           time.Time // periodic: when it will be asked; zero otherwise
	MySeq, PeerSeq uint32    // of the last query each way; IKEv2: its message ID
	Outstanding    bool
	Errors         int    // unanswered in a row
	Keepalive      bool   // the peer gets keepalives instead of queries (D9)
	Rejected       uint64 // queries and answers with a sequence number that does not follow (D9)
}

func (m DPDMode) String() string {
	return [...]string{"on-demand", "periodic", "off"}[m]
}

// Schedule repeats a query every retry and gives up one retry after the last (D5).
func (d DPD) Schedule() Schedule {
	return Schedule{First: d.Retry, Limit: d.Retry, Tries: d.Tries}
}

// OpeningSchedule repeats a request while a tunnel is being negotiated. With one of
// several peers, the next one is to have its chance as soon as a dead peer would be
// noticed (P1).
func (c *Connection) OpeningSchedule() Schedule {
	if len(c.Remote.Addresses) < 2 || c.DPD.Tries == 0 {
		return DefaultSchedule()
	}
	return c.DPD.Schedule()
}

// Watch is how long the data path is to wait for authentic packets of a peer that
// is sent to, before it says so; 0 when nobody wants to know (D3).
func (d DPD) Watch() time.Duration {
	if d.Mode == DPDOnDemand {
		return d.Interval
	}
	return 0
}
