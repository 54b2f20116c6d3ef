package esp

import (
	"math/bits"
	"sync/atomic"
)

// reorderBuckets are the powers of two up to MaxReplayWindow, and all above.
const reorderBuckets = 18

// Reordering says how far behind the highest sequence number packets arrived, so
// that an operator can choose the replay window (N1). Bucket i counts those that
// were 2^(i-1) to 2^i-1 behind, the last one all that were farther: a window of
// 2^i packets takes what is in buckets 0 to i. Bucket 0 stays empty, for a packet
// that is 0 behind is a repetition.
//
// Late ones are authentic and were delivered. Left ones fell left of the window
// and were dropped unverified, so what is in there may be a forger's as well.
type Reordering struct {
	Late, Left [reorderBuckets]uint64
}

// Window is the smallest window, in packets, that would have taken all of these
// that a window can take; 0 when nothing came out of order.
func (r Reordering) Window() uint32 {
	for i := reorderBuckets - 2; i > 0; i-- {
		if r.Late[i]+r.Left[i] > 0 {
			return 1 << i
		}
	}
	return 0
}

// reorder is a Reordering as its owner counts it. In-order packets do not touch
// it, so it is published where it stands.
type reorder struct {
	late, gone [reorderBuckets]atomic.Uint64
}

func bucket(behind uint64) int { return min(bits.Len64(behind), reorderBuckets-1) }

// add is for the one goroutine that counts: no other one writes.
func add(c *atomic.Uint64) { c.Store(c.Load() + 1) }

// arrived counts an authentic packet, before the window moves.
func (r *reorder) arrived(w *window, seq uint64) {
	if seq < w.top {
		add(&r.late[bucket(w.top-seq)])
	}
}

// left counts a packet that is not fresh, unless it is so for having been seen.
func (r *reorder) left(w *window, seq uint64) {
	if w.size > 0 && seq > 0 && seq < w.top && w.top-seq >= w.size {
		add(&r.gone[bucket(w.top-seq)])
	}
}

// Reordering reads the histogram. Any goroutine may call it.
func (in *Inbound) Reordering() Reordering {
	var r Reordering
	for i := range reorderBuckets {
		r.Late[i], r.Left[i] = in.reorder.late[i].Load(), in.reorder.gone[i].Load()
	}
	return r
}
