package xsk

// Peek fills frames with received Ethernet frames, at most len(frames), and
// returns how many. They stay valid until Release.
//
// The descriptors stay in the RX ring until then, which is where Release finds
// what to give back: no second list.
func (s *Socket) Peek(frames [][]byte) int {
	n := s.rx.ready(uint32(len(frames)))
	if n == 0 {
		s.wakeRX()
		return 0
	}
	got := 0
	for range n {
		d := s.rx.take()
		end := d.Addr + uint64(d.Len)
		chunk := d.Addr&^(s.frameSize-1) + s.frameSize
		if d.Addr >= s.txBase || end > chunk {
			s.counts.BadDescriptors++
			continue
		}
		frames[got] = s.umem[d.Addr:end:chunk]
		got++
	}
	return got
}

// Release returns every peeked frame to the fill ring. That has a slot for
// each frame of the RX half, so it is never full.
func (s *Socket) Release() {
	if s.rx.released == s.rx.next {
		return
	}
	for i := s.rx.released; i != s.rx.next; i++ {
		// The kernel hands out the chunk's address plus headroom.
		if chunk := s.rx.at(i).Addr &^ (s.frameSize - 1); chunk < s.txBase {
			s.fill.put(chunk)
		}
	}
	s.rx.release()
	s.fill.publish()
	s.wakeRX()
}

// wakeRX makes a zero-copy driver that ran out of fill entries look again. In
// copy mode the flag is never set.
func (s *Socket) wakeRX() {
	if s.fill.needsWakeup() {
		s.kickRX()
	}
}
