package bench

import "spindle/datapath"

// frameLen is what xsk gives a frame at the usual MTU.
const frameLen = 2048

// queue is a port made of memory. Like a copy-mode AF_XDP socket it hands out
// received frames in the order of a ring, each copied into its own frame (the
// worker may change it), and TX frames last out first in.
type queue struct {
	arriving [][]byte // what Peek is to receive, in order
	taken    int

	rx   [][]byte // frames, used in turn
	turn int

	tx     [][]byte // frames, reserved from the end of free
	free   []int
	lent   int // index in tx, -1 for none
	queued []sent

	flushed []sent // what the last Flush with anything to send sent
	frames  uint64 // sent in all
	octets  uint64 // of them
}

// sent is one frame as it left.
type sent struct {
	frame int // index in tx
	n     int
}

var _ datapath.Queue = (*queue)(nil)

// newQueue takes its frames, half RX and half TX, from memory.
func newQueue(memory []byte) *queue {
	half := len(memory) / frameLen / 2
	q := &queue{lent: -1, queued: make([]sent, 0, half), flushed: make([]sent, 0, half)}
	for i := range half {
		q.rx = append(q.rx, slot(memory, i))
		q.tx = append(q.tx, slot(memory, half+i))
		q.free = append(q.free, i)
	}
	return q
}

func slot(memory []byte, i int) []byte { return memory[i*frameLen : (i+1)*frameLen : (i+1)*frameLen] }

// arrive is what the next Peeks receive.
func (q *queue) arrive(frames [][]byte) { q.arriving, q.taken = frames, 0 }

func (q *queue) Peek(frames [][]byte) int {
	n := min(len(frames), len(q.arriving)-q.taken)
	for i := range n {
		into := q.rx[q.turn]
		frames[i] = into[:copy(into, q.arriving[q.taken])]
		q.taken++
		if q.turn++; q.turn == len(q.rx) {
			q.turn = 0
		}
	}
	return n
}

func (q *queue) Release() {}

func (q *queue) Reserve() []byte {
	if q.lent < 0 {
		last := len(q.free) - 1
		if last < 0 {
			return nil
		}
		q.lent, q.free = q.free[last], q.free[:last]
	}
	return q.tx[q.lent]
}

func (q *queue) Submit(n int) {
	q.queued = append(q.queued, sent{q.lent, n})
	q.octets += uint64(n)
	q.lent = -1
}

func (q *queue) Flush() error {
	if len(q.queued) == 0 {
		return nil
	}
	for i := len(q.queued) - 1; i >= 0; i-- {
		q.free = append(q.free, q.queued[i].frame)
	}
	q.frames += uint64(len(q.queued))
	q.flushed, q.queued = q.queued, q.flushed[:0]
	return nil
}

// last are the frames of the last flush; they stand until the next one.
func (q *queue) last() [][]byte {
	frames := make([][]byte, len(q.flushed))
	for i, s := range q.flushed {
		frames[i] = q.tx[s.frame][:s.n]
	}
	return frames
}

func (q *queue) Pending() int { return 0 }
func (q *queue) Check() error { return nil }
func (q *queue) FD() int      { return -1 }
