package keysock

import "sync"

// maxEvents bounds the events of a queue that may be lost.
const maxEvents = 4096

// queue stands between the receiver, which must never wait, and the reader of
// events. What may not be lost has no bound here: a data path sends one Hello,
// and an Expire or two for each SA.
type queue struct {
	out    chan Message
	closed chan struct{}
	wake   chan struct{} // holds a token while there may be something to move

	mu       sync.Mutex
	waiting  []Message
	lossy    int // of waiting, those that may be dropped
	overflow uint64
}

func newQueue() *queue {
	q := &queue{
		out:    make(chan Message),
		closed: make(chan struct{}),
		wake:   make(chan struct{}, 1),
	}
	go q.move()
	return q
}

func (q *queue) put(m Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m.verb().mayDrop() {
		if q.lossy >= maxEvents {
			q.overflow++
			return
		}
		q.lossy++
	}
	q.waiting = append(q.waiting, m)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close ends the queue: what still waits is not delivered, for its sender is gone.
func (q *queue) close() { close(q.closed) }

func (q *queue) lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.overflow
}

// take removes the oldest message.
func (q *queue) take() (Message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, false
	}
	m := q.waiting[0]
	q.waiting[0] = nil
	if q.waiting = q.waiting[1:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	if m.verb().mayDrop() {
		q.lossy--
	}
	return m, true
}

// move hands messages to the reader, in order.
func (q *queue) move() {
	defer close(q.out)
	for {
		m, ok := q.take()
		if !ok {
			select {
			case <-q.wake:
				continue
			case <-q.closed:
				return
			}
		}
		select {
		case q.out <- m:
		case <-q.closed:
			return
		}
	}
}
