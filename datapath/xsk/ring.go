package xsk

import "sync/atomic"

// The two sides of a single-producer single-consumer ring that is shared with
// the kernel, as net/xdp/xsk_queue.h describes it: each side owns one index,
// reads the other's with load-acquire and publishes its own with
// store-release. Indices are free-running uint32; their difference is the
// number of filled slots, also after they wrap.
//
// Go's atomics are sequentially consistent, hence stronger than that. The
// store is then also the barrier that must stand between publishing a producer
// index and reading the need-wakeup flag (xsk_set_tx_need_wakeup and its
// readers): without it a descriptor may stay unseen by a kernel that sleeps.

// needWakeup is XDP_RING_NEED_WAKEUP of if_xdp.h.
const needWakeup = 1

// producer is our side of the fill ring or of the TX ring.
type producer[T any] struct {
	slots     []T
	mask      uint32
	next      uint32         // first slot not written
	published uint32         // what the kernel was told
	seen      uint32         // the kernel's consumer index when last read
	shared    *atomic.Uint32 // ours
	peer      *atomic.Uint32 // the kernel's
	flags     *atomic.Uint32
}

// room reports how many slots may be written. It reads the kernel's index only
// when none seem left.
func (r *producer[T]) room() uint32 {
	size := r.mask + 1
	if r.next-r.seen >= size {
		r.seen = r.peer.Load()
	}
	return size - min(r.next-r.seen, size)
}

// put writes the next slot; the kernel does not see it before publish.
func (r *producer[T]) put(v T) {
	r.slots[r.next&r.mask] = v
	r.next++
}

// publish shows the kernel everything put so far, in one store.
func (r *producer[T]) publish() {
	if r.published != r.next {
		r.published = r.next
		r.shared.Store(r.next)
	}
}

// pending reports how many published slots the kernel has not consumed.
func (r *producer[T]) pending() uint32 {
	if r.seen != r.published {
		r.seen = r.peer.Load()
	}
	return r.published - r.seen
}

func (r *producer[T]) needsWakeup() bool { return r.flags.Load()&needWakeup != 0 }

// consumer is our side of the RX ring or of the completion ring.
type consumer[T any] struct {
	slots    []T
	mask     uint32
	next     uint32         // first slot not read
	released uint32         // what the kernel was told
	seen     uint32         // the kernel's producer index when last read
	shared   *atomic.Uint32 // ours
	peer     *atomic.Uint32 // the kernel's
}

// ready reports how many slots may be read, at most limit. It reads the
// kernel's index only when fewer than that are known.
func (r *consumer[T]) ready(limit uint32) uint32 {
	if r.seen-r.next < limit {
		r.seen = r.peer.Load()
	}
	return min(r.seen-r.next, limit, r.mask+1)
}

// take reads the next slot. It stays readable through at until release.
func (r *consumer[T]) take() T {
	v := r.slots[r.next&r.mask]
	r.next++
	return v
}

func (r *consumer[T]) at(i uint32) T { return r.slots[i&r.mask] }

// release gives every slot taken so far back to the kernel, in one store.
func (r *consumer[T]) release() {
	if r.released != r.next {
		r.released = r.next
		r.shared.Store(r.next)
	}
}
