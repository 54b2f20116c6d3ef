package datapath

// MemoryQueue is a Queue without a network: what stands on its far side puts
// frames in with Deliver and takes them out with Sent. Tests and benches run
// workers on it. The far side is one goroutine, which may be another than the
// worker's; it has to call Group.Rouse for a worker that may sleep.
type MemoryQueue struct {
	rx, tx  *handoff
	peeked  int
	pending uint32 // frames submitted and not flushed
}

// NewMemoryQueue makes one with that many frames, a power of two, in each
// direction.
func NewMemoryQueue(frames, frameSize int) *MemoryQueue {
	return &MemoryQueue{rx: newHandoff(frames, frameSize), tx: newHandoff(frames, frameSize)}
}

// Deliver copies a frame into the RX ring, or reports false when it is full.
func (q *MemoryQueue) Deliver(frame []byte) bool { return q.rx.push(arrival{data: frame}) }

// Sent hands every frame that was sent to visit, which must not keep it, and
// returns how many there were.
func (q *MemoryQueue) Sent(visit func(frame []byte)) int {
	n := q.tx.ready(len(q.tx.slots))
	for i := range n {
		visit(q.tx.at(i).data)
	}
	q.tx.release(n)
	return n
}

// Peek, Release, Reserve, Submit, Flush, Pending, Check and FD are those of Queue.
func (q *MemoryQueue) Peek(frames [][]byte) int {
	q.peeked = q.rx.ready(len(frames))
	for i := range q.peeked {
		frames[i] = q.rx.at(i).data
	}
	return q.peeked
}

func (q *MemoryQueue) Release() {
	q.rx.release(q.peeked)
	q.peeked = 0
}

func (q *MemoryQueue) Reserve() []byte {
	at := q.tx.produced.Load() + q.pending
	if int(at-q.tx.consumed.Load()) == len(q.tx.slots) {
		return nil
	}
	return q.tx.bytes(at)
}

func (q *MemoryQueue) Submit(n int) {
	*q.tx.slot(q.tx.produced.Load() + q.pending) = handoffSlot{n: uint16(n)}
	q.pending++
}

func (q *MemoryQueue) Flush() error {
	q.tx.produced.Store(q.tx.produced.Load() + q.pending)
	q.pending = 0
	return nil
}

func (q *MemoryQueue) Pending() int { return 0 }
func (q *MemoryQueue) Check() error { return nil }
func (q *MemoryQueue) FD() int      { return -1 }
