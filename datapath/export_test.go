package datapath

import (
	"time"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// HandoffSlots is how many packets fit between two workers.
const HandoffSlots = handoffSlots

// Verdicts are the worker's counters as they stand, for a worker that rests.
func (w *Worker) Verdicts() [packet.Verdicts]uint64 { return w.counters }

// Waiting is how many packets wait for an SA.
func (w *Worker) Waiting() int { return w.waiting.n }

// Publish does what a busy worker does from time to time.
func (w *Worker) Publish() { w.publish() }

// Later sets the worker's clock ahead.
func (w *Worker) Later(d time.Duration) {
	was := w.clock
	w.clock = func() int64 { return was() + int64(d) }
}

// Leave gives the snapshot back, as before a sleep.
func (w *Worker) Leave() { w.reader.Leave() }

// Sleep is what a worker without work does.
func (w *Worker) Sleep() error { return w.sleep() }

// Permits is what an SA with these selectors says of a packet.
func Permits(local, remote []sadb.Selector, ip []byte) bool {
	var w Worker
	if w.inner.ParseIP(ip) != packet.Pass {
		return false
	}
	return w.permitted(&inboundSA{local: newGates(local), remote: newGates(remote)}, ip)
}
