package xsk_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"spindle/datapath/xsk"
)

// A worker takes a Socket as its datapath.Queue, which this room may not import.
var _ interface {
	Peek(frames [][]byte) int
	Release()
	Reserve() []byte
	Submit(n int)
	Flush() error
	FD() int
} = (*xsk.Socket)(nil)

// starts are index values at which rings begin: fresh, and just before each
// place where a 32-bit index or its sign wraps.
var starts = []uint32{0, math.MaxUint32 - 3, math.MaxUint32, math.MaxInt32 - 2}

const frames = 16 // 8 RX, 8 TX

func TestRXWrapsAround(t *testing.T) {
	for _, start := range starts {
		s, k := xsk.OverMemory(frames, start)
		var batch [3][]byte
		for i := range 100 {
			k.TakeFill()
			for j := range 3 {
				if !k.Receive(payload(i, j)) {
					t.Fatalf("start %#x round %d: no frame to receive into", start, i)
				}
			}
			if n := s.Peek(batch[:]); n != 3 {
				t.Fatalf("start %#x round %d: peeked %d", start, i, n)
			}
			for j, f := range batch {
				if !bytes.Equal(f, payload(i, j)) {
					t.Fatalf("start %#x round %d: frame %d is %q", start, i, j, f)
				}
			}
			s.Release()
		}
		if k.TakeFill(); len(k.RX) != frames/2 {
			t.Errorf("start %#x: %d RX frames are left of %d", start, len(k.RX), frames/2)
		}
	}
}

func TestFullRXIsPeekedAtOnce(t *testing.T) {
	s, k := xsk.OverMemory(frames, math.MaxUint32-3)
	k.TakeFill()
	for i := range frames / 2 {
		k.Receive(payload(0, i))
	}
	if n := s.Peek(make([][]byte, frames)); n != frames/2 {
		t.Errorf("peeked %d frames of %d", n, frames/2)
	}
}

func TestFullTXRingGivesNilUntilConsumed(t *testing.T) {
	s, k := xsk.OverSmallTX(frames, 4, math.MaxUint32)
	for i := range 4 {
		if s.Reserve() == nil {
			t.Fatalf("no frame %d", i)
		}
		s.Submit(64)
	}
	if s.Reserve() != nil {
		t.Fatal("a frame although the ring has no slot")
	}
	flush(t, s)
	if k.Send(1); s.Reserve() == nil {
		t.Error("no frame although a slot was consumed")
	}
}

func TestTXWrapsAround(t *testing.T) {
	for _, start := range starts {
		s, k := xsk.OverMemory(frames, start)
		for i := range 100 {
			for j := range 3 {
				s.Submit(copy(s.Reserve(), payload(i, j)))
			}
			flush(t, s)
			if n := k.Send(8); n != 3 {
				t.Fatalf("start %#x round %d: the kernel saw %d descriptors", start, i, n)
			}
			for j := range 3 {
				if got := k.TXBytes[3*i+j]; !bytes.Equal(got, payload(i, j)) {
					t.Fatalf("start %#x round %d: frame %d is %q", start, i, j, got)
				}
				if !k.Complete(0) {
					t.Fatalf("start %#x round %d: no slot for a completion", start, i)
				}
			}
		}
	}
}

func payload(round, i int) []byte { return fmt.Appendf(nil, "frame %06d of round %06d", i, round) }

func flush(t *testing.T, s *xsk.Socket) {
	t.Helper()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestEmptyRingsGiveNothing(t *testing.T) {
	s, k := xsk.OverMemory(frames, 7)
	fill, rx, tx, completion := k.Indices()
	var batch [4][]byte
	if n := s.Peek(batch[:]); n != 0 {
		t.Errorf("peeked %d frames of an empty ring", n)
	}
	if n := s.Peek(nil); n != 0 {
		t.Errorf("peeked %d frames into nothing", n)
	}
	s.Release()
	flush(t, s)
	if f, r, x, c := k.Indices(); f != fill || r != rx || x != tx || c != completion {
		t.Error("an index moved although nothing happened")
	}
}

func TestFullTXGivesNilUntilCompleted(t *testing.T) {
	s, k := xsk.OverMemory(frames, math.MaxUint32-3)
	for i := range frames / 2 {
		if f := s.Reserve(); f == nil {
			t.Fatalf("no frame %d", i)
		}
		s.Submit(64)
	}
	if s.Reserve() != nil {
		t.Fatal("a frame although all are in flight")
	}
	flush(t, s)
	k.Send(frames)
	if s.Reserve() != nil {
		t.Fatal("a frame although none has been completed")
	}
	k.Complete(3)
	if s.Reserve() == nil {
		t.Fatal("no frame after a completion")
	}
	if got := s.Counts().TXFull; got != 2 {
		t.Errorf("full was counted %d times, want 2", got)
	}
}

func TestSubmitsAreUnseenUntilFlush(t *testing.T) {
	s, k := xsk.OverMemory(frames, math.MaxUint32)
	for range 5 {
		s.Reserve()
		s.Submit(60)
		if _, _, tx, _ := k.Indices(); tx != math.MaxUint32 {
			t.Fatal("the kernel saw a descriptor before Flush")
		}
	}
	flush(t, s)
	if _, _, tx, _ := k.Indices(); tx != 4 {
		t.Errorf("producer index %d after 5 frames from %#x, want 4", tx, uint32(math.MaxUint32))
	}
}

func TestPeekedFramesAreOursUntilRelease(t *testing.T) {
	s, k := xsk.OverMemory(frames, 0)
	k.TakeFill()
	for i := range frames / 2 {
		k.Receive(payload(0, i))
	}
	var batch [2][]byte
	for range 3 {
		if n := s.Peek(batch[:]); n != 2 {
			t.Fatalf("peeked %d", n)
		}
	}
	fill, rx, _, _ := k.Indices()
	if fill != frames/2 || rx != 0 {
		t.Fatalf("before Release the kernel has fill %d rx %d, want %d and 0", fill, rx, frames/2)
	}
	s.Release()
	if fill, rx, _, _ = k.Indices(); fill != frames/2+6 || rx != 6 {
		t.Errorf("after Release the kernel has fill %d rx %d, want %d and 6", fill, rx, frames/2+6)
	}
}

func TestReserveComesAgainUntilSubmitted(t *testing.T) {
	s, _ := xsk.OverMemory(frames, 0)
	a, b := s.Reserve(), s.Reserve()
	if &a[0] != &b[0] {
		t.Error("a second frame before the first was submitted")
	}
	for _, n := range []int{-1, 0, 13, len(a) + 1} {
		s.Submit(n)
	}
	if c := s.Reserve(); &a[0] != &c[0] {
		t.Error("a refused length lost the frame")
	}
	s.Submit(len(a))
	s.Submit(60)
	if got := s.Counts().BadSubmits; got != 5 {
		t.Errorf("%d bad submits counted, want 5", got)
	}
}

func TestFramesEndAtTheirChunk(t *testing.T) {
	s, k := xsk.OverMemory(frames, 0)
	if f := s.Reserve(); len(f) != 2048 || cap(f) != 2048 {
		t.Errorf("TX frame has length %d capacity %d", len(f), cap(f))
	}
	k.TakeFill()
	k.Receive(make([]byte, 100))
	var batch [1][]byte
	s.Peek(batch[:])
	if len(batch[0]) != 100 || cap(batch[0]) != 2048-256 {
		t.Errorf("RX frame has length %d capacity %d", len(batch[0]), cap(batch[0]))
	}
}

func TestImpossibleDescriptorsAreCountedNotFollowed(t *testing.T) {
	s, k := xsk.OverMemory(frames, 0)
	bad := []struct {
		addr uint64
		n    uint32
	}{{1 << 40, 60}, {frames * 2048, 1}, {256, 2048}, {math.MaxUint64, 1}, {256, math.MaxUint32}, {frames / 2 * 2048, 60}}
	for _, d := range bad {
		k.ReceiveAt(d.addr, d.n)
	}
	var batch [8][]byte
	if n := s.Peek(batch[:]); n != 0 {
		t.Errorf("%d impossible frames were handed out", n)
	}
	s.Release()
	s.Submit(len(s.Reserve()[:60]))
	flush(t, s)
	k.CompleteAddr(1 << 50)
	flush(t, s)
	if got := s.Counts().BadDescriptors; got != uint64(len(bad)+1) {
		t.Errorf("%d bad descriptors counted, want %d", got, len(bad)+1)
	}
}

func TestErrnoOutcomes(t *testing.T) {
	for _, c := range []struct {
		errno  unix.Errno
		paused bool
		want   error
	}{
		{0, false, nil}, {unix.EAGAIN, false, nil}, {unix.EBUSY, false, nil}, {unix.EINTR, false, nil},
		{unix.ENOBUFS, false, nil}, {unix.ENETDOWN, true, nil}, {unix.ENXIO, false, xsk.ErrGone}, {unix.EBADF, false, unix.EBADF},
	} {
		s, _ := xsk.OverMemory(frames, 0)
		if err := s.Settle(c.errno); !errors.Is(err, c.want) || s.Paused() != c.paused {
			t.Errorf("%v: error %v paused %v, want %v and %v", c.errno, err, s.Paused(), c.want, c.paused)
		}
		if s.Settle(0); s.Paused() || s.Flush() != nil {
			t.Errorf("%v: does not recover", c.errno)
		}
	}
}

func TestEngineAllocatesNothing(t *testing.T) {
	s, k := xsk.OverMemory(frames, math.MaxUint32-100)
	var batch [8][]byte
	var work uint64
	got := testing.AllocsPerRun(1000, func() {
		work += uint64(s.Peek(batch[:]))
		s.Release()
		if s.Reserve() != nil {
			s.Submit(64)
		}
		if s.Flush() != nil {
			work++
		}
	})
	if got != 0 {
		t.Errorf("%v allocations per batch", got)
	}
	_ = k
}
