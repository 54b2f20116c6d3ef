package xsk

import "golang.org/x/sys/unix"

// Reserve lends an empty TX frame of full length, or nil when TX is full. The
// same frame comes again until it is submitted.
func (s *Socket) Reserve() []byte {
	if s.lent == nil {
		s.lend()
	}
	return s.lent
}

// lend takes a frame off the free list; when that is empty it looks once
// whether the kernel has finished with any.
func (s *Socket) lend() {
	if len(s.free) == 0 {
		s.reap()
	}
	last := len(s.free) - 1
	if last < 0 || s.tx.room() == 0 {
		s.counts.TXFull++
		return
	}
	s.reserved = s.free[last]
	s.free = s.free[:last]
	end := s.reserved + s.frameSize
	s.lent = s.umem[s.reserved:end:end]
}

// Submit queues the first n bytes of the reserved frame for sending. A length
// that the kernel would refuse leaves the frame reserved and is counted.
func (s *Socket) Submit(n int) {
	if n < minFrame || n > len(s.lent) {
		s.counts.BadSubmits++
		return
	}
	s.tx.put(unix.XDPDesc{Addr: s.reserved, Len: uint32(n)})
	s.lent = nil
	s.inFlight++
}

// Flush makes submitted frames visible, wakes the kernel if it asks for that,
// and collects completions. It never blocks.
//
// In copy mode the kernel sends inside the wake-up, at most TXBudget frames,
// and reports EAGAIN when more are left: so it is woken again as long as that
// makes progress. A zero-copy driver consumes on its own time and gets one.
//
// A device that is down is no error: see Paused. The error is [ErrGone], or an
// errno that has no meaning here.
func (s *Socket) Flush() error {
	s.tx.publish()
	left := s.tx.pending()
	for kicks := 0; left > 0 && kicks < s.maxKicks && s.tx.needsWakeup(); kicks++ {
		s.kickTX()
		before := left
		if left = s.tx.pending(); left == before {
			break
		}
	}
	s.reap()
	return s.fault
}

// reap moves what the kernel has sent from the completion ring to the free list.
func (s *Socket) reap() {
	if s.inFlight == 0 {
		return
	}
	n := s.completion.ready(s.inFlight)
	for range n {
		addr := s.completion.take()
		if addr < s.txBase || addr >= uint64(len(s.umem)) || len(s.free) == cap(s.free) {
			s.counts.BadDescriptors++
			continue
		}
		s.free = append(s.free, addr&^(s.frameSize-1))
	}
	s.completion.release()
	s.inFlight -= n
	s.counts.TXCompleted += uint64(n)
}

// Pending is how many submitted frames the kernel has not taken yet; Flush
// again, soon.
func (s *Socket) Pending() int { return int(s.tx.pending()) }
