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
	acquireInterval  = int64(time.Second) // between two requests for one policy
)

// waiting holds packets whose policy has no SA yet, oldest first. The zero
// value is ready; memory for the packets is made when the first one waits, which
// is not the fast path.
type waiting struct {
	entries [waitingPackets]waiter
	n       int
	epoch   uint64 // of the snapshot that was last tried
	asked   [waitingPackets]request
}

type waiter struct {
	policy sadb.PolicyID
	since  int64
	origin origin
	port   int
	data   []byte
}

// request remembers when an SA was last asked for; one policy in so many shares
// its place with another, and then both ask a little less often.
type request struct {
	policy sadb.PolicyID
	at     int64
}

// add keeps a copy of the packet if there is room, and says whether it is time to
// ask the control process for an SA.
func (q *waiting) add(p sadb.PolicyID, a arrival, now int64) (kept, ask bool) {
	r := &q.asked[int(p)%len(q.asked)]
	if ask = r.policy != p || now-r.at >= acquireInterval; ask {
		*r = request{p, now}
	}
	same := 0
	for i := range q.n {
		if q.entries[i].policy == p {
			same++
		}
	}
	if q.n == len(q.entries) || same >= waitingPerPolicy {
		return false, ask
	}
	e := &q.entries[q.n]
	e.policy, e.since, e.origin, e.port = p, now, a.origin, a.port
	e.data = append(e.data[:0], a.data...)
	q.n++
	return true, ask
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
		e := q.entries[i]
		if w.now-e.since >= waitingTime {
			w.count(packet.DropNoSA)
			q.entries[i].policy = 0
			continue
		}
		if w.retry(&e) {
			q.entries[i].policy = 0
		}
	}
	q.compact()
	return n - q.n
}

// retry sends a waiting packet if it no longer has to wait.
func (w *Worker) retry(e *waiter) bool {
	ip := e.data
	if e.origin == fromPort {
		eth, v := packet.ParseEthernet(e.data)
		if v != packet.Pass {
			return true
		}
		ip = e.data[eth.Len:]
	}
	if w.outer.ParseIP(ip) != packet.Pass {
		return true
	}
	ip = ip[:w.outer.Length]
	h := &w.outer
	w.flow = sadb.Flow{Src: h.Src, Dst: h.Dst, Protocol: h.Protocol, SrcPort: h.SrcPort, DstPort: h.DstPort}
	entry := w.snap.Match(sadb.Outbound, &w.flow)
	if entry != nil && entry.Policy.Action == sadb.Protect && entry.Outbound == nil {
		return false
	}
	w.count(w.outbound(arrival{origin: e.origin, port: e.port, data: e.data}, ip))
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
