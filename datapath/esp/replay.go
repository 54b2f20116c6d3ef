package esp

import (
	"fmt"
	"math/bits"
)

// MaxReplayWindow is the widest window, in packets.
const MaxReplayWindow = 1 << 16

// window remembers which of the last size sequence numbers were seen. As RFC
// 6479 proposes, the bits stand still in a ring of words: moving the window
// clears the words it enters instead of shifting the others. The ring has a
// power of two of words and at least one more than size needs, so that the word
// being filled never holds bits of the far end.
type window struct {
	top  uint64   // highest number that authenticated
	size uint64   // packets, 0 when anti-replay is off
	ring []uint64 // bit seq%64 of word seq/64%len
	esn  bool
}

const wordBits = 64

func newWindow(size uint32, esn bool) (window, error) {
	if size > MaxReplayWindow {
		return window{}, fmt.Errorf("replay window of %d packets: the most is %d", size, MaxReplayWindow)
	}
	w := window{size: uint64(size), esn: esn}
	if size > 0 {
		words := (size+wordBits-1)/wordBits + 1
		w.ring = make([]uint64, 1<<bits.Len32(words-1))
	}
	return w, nil
}

// lateness is how old a packet with ESN may be when anti-replay is off: the
// high half must be guessed then as well.
const lateness = 1 << 30

// complete gives a received number its high half (RFC 4303 appendix A2.2): of
// the numbers that end in low it is the first at or above the window's bottom.
// It is false when that lies before the start of the SA.
func (w *window) complete(low uint32) (uint64, bool) {
	if !w.esn {
		return uint64(low), true
	}
	size := w.size
	if size == 0 {
		size = lateness
	}
	bottom := w.top - size + 1 // wraps while the window reaches below 0
	seq := bottom + uint64(low-uint32(bottom))
	if w.top < size-1 && seq >= bottom {
		return 0, false
	}
	if w.top >= size-1 && seq < bottom {
		return 0, false // past the last number of all
	}
	return seq, true
}

// fresh says whether a number is neither too old nor seen. 0 is never sent: the
// first packet carries 1 (RFC 4303 §3.3.3).
func (w *window) fresh(seq uint64) bool {
	switch {
	case seq == 0:
		return false
	case w.size == 0 || seq > w.top:
		return true
	case w.top-seq >= w.size:
		return false
	}
	return w.ring[w.word(seq)]&(1<<(seq%wordBits)) == 0
}

// commit marks a fresh number as seen, after its packet authenticated.
func (w *window) commit(seq uint64) {
	if w.size > 0 {
		w.advance(seq)
		w.ring[w.word(seq)] |= 1 << (seq % wordBits)
	}
	w.top = max(w.top, seq)
}

// advance clears the words between the top and a higher number.
func (w *window) advance(seq uint64) {
	from, to := w.top/wordBits, seq/wordBits
	if seq <= w.top || from == to {
		return
	}
	if to-from >= uint64(len(w.ring)) {
		clear(w.ring)
		return
	}
	for i := from + 1; i <= to; i++ {
		w.ring[i&uint64(len(w.ring)-1)] = 0
	}
}

func (w *window) word(seq uint64) uint64 {
	return seq / wordBits & uint64(len(w.ring)-1)
}
