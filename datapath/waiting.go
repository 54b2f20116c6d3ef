package datapath

import (
	"time"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// Bounds of what may wait for an SA on one worker (P3).
const (
	waitingPackets   = 64
	waitingPerPolicy = 8
	waitingTime      = int64(5 * time.Second)
)

// Bounds of asking for SAs. Acquires share the queue of reports with IKE, which
// they must not crowd out, however many policies have traffic and no SA.
const (
	acquireInterval = int64(time.Second) // between two requests for one policy
	acquiresAtOnce  = 64                 // within that time, for all policies
	acquiresKnown   = 4096               // policies that wait for their turn
)

// waiting holds packets whose policy has no SA yet, oldest first. Memory is made
// when the first ones wait, which is not the fast path. The zero value is ready.
type waiting struct {
	entries [waitingPackets]waiter
	n       int
	epoch   uint64 // of the snapshot that was last tried

	asked  map[sadb.PolicyID]request
	asking int   // requests in this round
	since  int64 // when it began
}

// request is what is known of a policy without an SA.
type request struct {
	at     int64 // when it was asked for, 0 never
	wanted int64 // when a packet last needed it
}

type waiter struct {
	policy sadb.PolicyID // 0 once it has gone
	since  int64
	origin origin
	port   int
	data   []byte
}

// keep copies the packet if there is room.
func (q *waiting) keep(p sadb.PolicyID, a arrival, now int64) bool {
	same := 0
	for i := range q.n {
		if q.entries[i].policy == p {
			same++
		}
	}
	if q.n == len(q.entries) || same >= waitingPerPolicy {
		return false
	}
	e := &q.entries[q.n]
	e.policy, e.since, e.origin, e.port = p, now, a.origin, a.port
	e.data = append(e.data[:0], a.data...)
	q.n++
	return true
}

// mayAsk says whether it is time to ask for an SA, and takes the answer as done.
// When more policies want one than may ask at once, they take turns.
func (q *waiting) mayAsk(p sadb.PolicyID, now int64) bool {
	if now-q.since >= acquireInterval {
		q.nextRound(now)
	}
	r, known := q.asked[p]
	if !known && len(q.asked) == acquiresKnown {
		return false
	}
	rounds := int64(1 + (len(q.asked)-1)/acquiresAtOnce)
	may := q.asking < acquiresAtOnce && now-r.at >= rounds*acquireInterval
	if may {
		q.asking++
		r.at = now
	}
	r.wanted = now
	q.asked[p] = r
	return may
}

// nextRound forgets the policies that do not want an SA any more.
func (q *waiting) nextRound(now int64) {
	q.since, q.asking = now, 0
	if q.asked == nil {
		q.asked = map[sadb.PolicyID]request{}
	}
	for p, r := range q.asked {
		if now-r.wanted >= 2*acquireInterval && now-r.at >= acquireInterval {
			delete(q.asked, p)
		}
	}
}

// resume sends the waiting packets whose policy got an SA and drops those that
// waited too long. It returns how many went.
func (w *Worker) resume() int {
	q := &w.waiting
	if q.n == 0 {
		return 0
	}
	changed := q.epoch != w.snap.Epoch()
	if !changed && w.now-q.entries[0].since < waitingTime {
		return 0
	}
	q.epoch = w.snap.Epoch()
	n := q.n
	for i := range n {
		e := &q.entries[i]
		if w.now-e.since >= waitingTime {
			w.count(packet.DropNoSA)
			e.policy = 0
		} else if w.retry(e) {
			e.policy = 0
		}
	}
	q.compact()
	return n - q.n
}

// retry sends a waiting packet if it no longer has to wait. It was parsed before
// it was kept.
func (w *Worker) retry(e *waiter) bool {
	t := &w.batch[0]
	t.arrival = arrival{origin: e.origin, port: e.port, data: e.data}
	if v := t.parse(); v != packet.Pass {
		w.count(v)
		return true
	}
	flow := flowOf(&t.header)
	t.entry = w.snap.Match(sadb.Outbound, &flow)
	if t.entry != nil && t.entry.Policy.Action == sadb.Protect && t.entry.Policy.Acquire && t.entry.Outbound == nil {
		return false
	}
	delete(w.waiting.asked, e.policy) // it came: when it is gone the next packet may ask at once
	w.count(w.outbound(t))
	return true
}

// compact closes the gaps, keeping order and the memory of the packets.
func (q *waiting) compact() {
	kept := 0
	for i := range q.n {
		if q.entries[i].policy != 0 {
			q.entries[kept], q.entries[i] = q.entries[i], q.entries[kept]
			kept++
		}
	}
	q.n = kept
}
