package datapath

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// How long an idle worker polls its rings before it sleeps. Polling answers in
// microseconds; on a small machine it takes the CPU from the very softirq that
// would fill the rings.
const (
	spinTime      = 50 * time.Microsecond
	spinTimeSmall = 10 * time.Microsecond // with two CPUs or fewer
)

// How often an idle worker looks round by itself, whether its ports are still
// there, and how often a busy one publishes its counters.
const (
	sleepTime   = time.Second
	settleEvery = int64(20 * time.Millisecond)
	unsentTime  = time.Millisecond // until a port is asked again to take what it left
)

// idle decides when a worker has waited long enough for a packet.
type idle struct {
	spin  int64
	since int64 // of the first empty batch in a row, 0 after one with work
}

func newIdle() idle {
	spin := spinTime
	if runtime.NumCPU() <= 2 {
		spin = spinTimeSmall
	}
	return idle{spin: int64(spin)}
}

// spent takes the number of packets of a batch and says whether to sleep.
func (i *idle) spent(packets int, now int64) bool {
	switch {
	case packets > 0:
		i.since = 0
		return false
	case i.since == 0:
		i.since = now
		return false
	case now-i.since < i.spin:
		return false
	}
	i.since = 0
	return true
}

// sleep waits until a frame arrives, another goroutine rouses the worker, or
// there is something to do by the clock. A sleeping worker holds no snapshot, so
// nobody waits for it. The error is that of a port that is gone.
func (w *Worker) sleep() error {
	w.publish()
	w.reader.Leave()
	w.sleeping.Store(true)
	events, timeout := 1, w.patience()
	if !w.nudged.Swap(false) && !w.handedWork() { // looked at after the flag: see rouse
		ts := unix.NsecToTimespec(int64(timeout))
		events, _ = unix.Ppoll(w.fds, &ts, nil) // on an error the rings are looked at, as on success
		if w.fds[0].Revents != 0 {
			var count [8]byte
			unix.Read(w.wake, count[:])
		}
	}
	w.sleeping.Store(false)
	if events == 0 && timeout == sleepTime {
		return w.check()
	}
	return nil
}

// check asks every port of a worker whether it is still there.
func (w *Worker) check() error {
	var errs []error
	for i := range w.ports {
		if err := w.ports[i].Queue.Check(); err != nil {
			errs = append(errs, fmt.Errorf("port %s: %w", w.ports[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

// patience is how long there is nothing to do by the clock.
func (w *Worker) patience() time.Duration {
	switch {
	case w.unsent():
		return unsentTime
	case w.waiting.n > 0:
		return time.Duration(settleEvery)
	}
	return sleepTime
}

func (w *Worker) handedWork() bool {
	for _, ring := range w.in {
		if !ring.empty() {
			return true
		}
	}
	return false
}

// unsent reports frames that a port could not take yet.
func (w *Worker) unsent() bool {
	for i := range w.ports {
		if w.ports[i].Queue.Pending() > 0 {
			return true
		}
	}
	return false
}

// settle publishes the counters from time to time while there is work.
func (w *Worker) settle() {
	if w.now-w.settled >= settleEvery {
		w.publish()
	}
}

// publish makes the worker's counters, and those of the SAs it used, visible to
// other goroutines, and reports the SAs that have reached a bound.
func (w *Worker) publish() {
	w.settled = w.now
	for v := range w.counters {
		w.published[v].Store(w.counters[v])
	}
	w.prefer.published.Store(w.prefer.count)
	w.publishTables()
	for _, sa := range w.changed {
		sa.publish(w.slow)
	}
	w.changed = w.changed[:0]
}

// changedSAs bounds the list of SAs with news; a full list is published at once.
const changedSAs = 256

// note puts an SA that is not touched on the list of those with something to
// publish. The caller asks, for whom it costs no call.
func (w *Worker) note(b *bounds, sa news) {
	if len(w.changed) == cap(w.changed) {
		w.publish()
	}
	b.touched = true
	w.changed = append(w.changed, sa)
}
