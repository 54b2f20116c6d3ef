package sadb

import (
	"context"
	"sync/atomic"
	"time"
)

// Reader is one worker's view of a DB. It belongs to one goroutine.
type Reader[I, O any] struct {
	db       *DB[I, O]
	snapshot *Snapshot[I, O] // entered last, nil after Leave

	_     [64]byte      // the writer polls epoch: keep it off the worker's own cache lines
	epoch atomic.Uint64 // of snapshot, 0 while the worker holds none
	_     [56]byte
}

// Enter returns the newest snapshot and holds it until the next Enter or
// Leave. What earlier snapshots led to must not be used any more.
//
// The order is what makes it safe: load, announce, look again. If the snapshot
// is still the newest after the announcement, the writer replaces it later, and
// so sees the announcement when it looks for readers (sync/atomic operations
// have one total order).
func (r *Reader[I, O]) Enter() *Snapshot[I, O] {
	s := r.db.current.Load()
	for s != r.snapshot {
		r.epoch.Store(s.epoch)
		r.snapshot = s
		s = r.db.current.Load()
	}
	return s
}

// Leave gives the snapshot back. Call it before sleeping: a reader that is away
// holds nobody up.
func (r *Reader[I, O]) Leave() {
	r.snapshot = nil
	r.epoch.Store(0)
}

// Close takes the reader off the DB for good.
func (r *Reader[I, O]) Close() {
	r.Leave()
	r.db.readersMu.Lock()
	defer r.db.readersMu.Unlock()
	delete(r.db.readers, r)
}

// Reader registers a reader. Any goroutine may call it.
func (d *DB[I, O]) Reader() *Reader[I, O] {
	r := &Reader[I, O]{db: d}
	d.readersMu.Lock()
	defer d.readersMu.Unlock()
	d.readers[r] = struct{}{}
	return r
}

// quiescent reports whether no reader holds a snapshot older than epoch.
func (d *DB[I, O]) quiescent(epoch uint64) bool {
	d.readersMu.Lock()
	defer d.readersMu.Unlock()
	for r := range d.readers {
		if at := r.epoch.Load(); at != 0 && at < epoch {
			return false
		}
	}
	return true
}

// retired is what waits for the readers to pass an epoch.
type retired struct {
	epoch uint64
	free  func()
}

// Retire runs free on the writer's goroutine once no reader can hold what was
// deleted before this call: when all have passed the Publish that follows, or
// the last one if nothing was changed since. Writer only.
func (d *DB[I, O]) Retire(free func()) {
	epoch := d.current.Load().epoch
	if d.draft != nil {
		epoch = d.draft.epoch
	}
	d.retired = append(d.retired, retired{epoch, free})
	d.reclaim()
}

// reclaim runs what no reader can reach any more, in the order of retirement.
func (d *DB[I, O]) reclaim() {
	published := d.current.Load().epoch
	for len(d.retired) > 0 {
		next := d.retired[0]
		if next.epoch > published || !d.quiescent(next.epoch) {
			return
		}
		d.retired = d.retired[1:]
		next.free()
	}
}

// Bounds of how long Wait sleeps between two looks at the readers.
const (
	waitMin = 10 * time.Microsecond
	waitMax = time.Millisecond
)

// Wait returns once every reader has entered the newest snapshot or left, and
// what was retired for it has run. Then an inbound SA may be acknowledged: no
// worker misses it. Readers pay nothing for it, hence the polling. It returns
// the context's error if that comes first. Writer only.
func (d *DB[I, O]) Wait(ctx context.Context) error {
	published := d.current.Load().epoch
	for pause := waitMin; !d.quiescent(published); pause = min(2*pause, waitMax) {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
	d.reclaim()
	return nil
}
