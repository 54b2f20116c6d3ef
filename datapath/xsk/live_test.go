package xsk_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spindle/datapath/xsk"
)

func TestLiveFramesBothWays(t *testing.T) { onEither(t, liveFramesBothWays) }

func liveFramesBothWays(t *testing.T, on xsk.Opener) {
	for _, c := range []struct{ mtu, frameSize, queue int }{{1500, 2048, 0}, {1766, 2048, 0}, {3500, 4096, 1}} {
		w := newWire(t, on, c.mtu)
		s := w.open(t, xsk.Options{Queue: c.queue})
		if s.Mode() != "copy" || s.FrameSize() != c.frameSize {
			t.Errorf("mtu %d: mode %s, frames of %d; veth has no zero-copy", c.mtu, s.Mode(), s.FrameSize())
		}
		if c.queue == 0 {
			for i := range 1000 {
				w.sendFromFar(t, frame(uint32(i), c.mtu+14))
				if i%100 == 99 {
					receive(t, s, uint32(i-99), 100)
				}
			}
		}
		for i := range 10 {
			transmit(t, s, uint32(100*i), 100)
			if got := w.receiveAtFar(100); len(got) != 100 || got[0] != uint32(100*i) || got[99] != uint32(100*i+99) {
				t.Fatalf("mtu %d: round %d: %d frames of 100 arrived", c.mtu, i, len(got))
			}
		}
		stats, err := s.Stats()
		must(t, err)
		if stats.TXCompleted != 1000 || stats.TXFull != 0 || stats.Kernel != (unix.XDPStatistics{Tx_ring_empty_descs: stats.Kernel.Tx_ring_empty_descs, Rx_fill_ring_empty_descs: stats.Kernel.Rx_fill_ring_empty_descs}) {
			t.Errorf("mtu %d: %+v", c.mtu, stats)
		}
		must(t, s.Close())
	}
}

// In copy mode one wake-up sends no more than the budget, and then says EAGAIN.
func TestLiveFlushSendsMoreThanOneBudget(t *testing.T) { onEither(t, liveFlushSendsMoreThanOneBudget) }

func liveFlushSendsMoreThanOneBudget(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	s := w.open(t, xsk.Options{TXBudget: 32})
	transmit(t, s, 0, 200)
	stats, err := s.Stats()
	must(t, err)
	if stats.TXKicks < 200/32 || stats.Again == 0 {
		t.Errorf("200 frames took %d wake-ups, %d of them EAGAIN: the budget is not what limits", stats.TXKicks, stats.Again)
	}
	if got := w.receiveAtFar(200); len(got) != 200 {
		t.Errorf("%d of 200 frames arrived", len(got))
	}
}

// A queue can be opened again at once: nothing holds the socket after Close.
func TestLiveCloseAndReopen(t *testing.T) { onEither(t, liveCloseAndReopen) }

func liveCloseAndReopen(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	mapped := socketMappings(t)
	for i := range 5 {
		s := w.open(t, xsk.Options{})
		if got := socketMappings(t) - mapped; got != 4 {
			t.Errorf("open %d: %d mappings of sockets, want our 4", i, got)
		}
		w.sendFromFar(t, frame(uint32(i), 60))
		receive(t, s, uint32(i), 1)
		transmit(t, s, uint32(i), 1)
		must(t, s.Close())
		must(t, s.Close())
		if got := socketMappings(t) - mapped; got != 0 {
			t.Errorf("close %d: %d mappings of sockets are left", i, got)
		}
	}
}

func socketMappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return strings.Count(string(maps), "socket:[")
}

func TestLiveBusyQueueIsRefusedAndLeaksNothing(t *testing.T) {
	onEither(t, liveBusyQueueIsRefusedAndLeaksNothing)
}

func liveBusyQueueIsRefusedAndLeaksNothing(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	first := w.open(t, xsk.Options{})
	mapped := socketMappings(t)
	start := time.Now()
	_, err := xsk.Open(xsk.Options{Name: "dut", RingSize: 64, Opener: on})
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "bind xsk dut:0: another socket holds this queue") {
		t.Errorf("error is %v", err)
	}
	if waited := time.Since(start); waited < 900*time.Millisecond {
		t.Errorf("gave up after %v", waited)
	}
	if got := socketMappings(t); got != mapped {
		t.Errorf("%d mappings of sockets, %d before", got, mapped)
	}
	transmit(t, first, 0, 1)
	if _, err = xsk.Open(xsk.Options{Name: "dut", Queue: 7, Opener: on}); err == nil || !strings.Contains(err.Error(), "does the device have that queue?") {
		t.Errorf("error for a queue that does not exist is %v", err)
	}
}

// A queue that is given up while another waits for it is taken at once.
func TestLiveOpenWaitsForTheQueue(t *testing.T) { onEither(t, liveOpenWaitsForTheQueue) }

func liveOpenWaitsForTheQueue(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	first := w.open(t, xsk.Options{})
	closed := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() { closed <- first.Close() })
	second := w.open(t, xsk.Options{})
	must(t, <-closed)
	transmit(t, second, 0, 1)
}

func TestLiveLinkDownPausesAndUpRecovers(t *testing.T) { onEither(t, liveLinkDownPausesAndUpRecovers) }

func liveLinkDownPausesAndUpRecovers(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	s := w.open(t, xsk.Options{})
	must(t, netlink.LinkSetDown(w.dut))
	transmit(t, s, 0, 10)
	if !s.Paused() {
		t.Error("not paused while the link is down")
	}
	if err := s.Check(); err != nil || !s.Paused() {
		t.Errorf("check says %v, paused %v", err, s.Paused())
	}
	for range 1000 { // a worker goes on as if nothing were, until TX is full
		if f := s.Reserve(); f != nil {
			s.Submit(copy(f, frame(99, 60)))
		}
		must(t, s.Flush())
	}
	if s.Reserve() != nil {
		t.Error("TX takes more frames than it has")
	}
	must(t, netlink.LinkSetUp(w.dut))
	if !within(func() bool { return s.Flush() == nil && !s.Paused() && s.Reserve() != nil }) {
		t.Fatal("does not recover")
	}
	// The carrier follows a little later, and what is sent before is dropped
	// on either side: so both try again.
	sent := within(func() bool {
		transmit(t, s, 7, 1)
		return slices.Contains(w.receiveNow(), 7)
	})
	if !sent {
		t.Error("nothing is sent after the link came up")
	}
	var batch [1][]byte
	received := within(func() bool {
		w.sendFromFar(t, frame(5, 60))
		return s.Peek(batch[:]) == 1 && serialOf(batch[0]) == 5
	})
	if !received {
		t.Error("nothing is received after the link came up")
	}
}

func TestLiveDeletedLinkIsGone(t *testing.T) { onEither(t, liveDeletedLinkIsGone) }

func liveDeletedLinkIsGone(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	s := w.open(t, xsk.Options{})
	transmit(t, s, 0, 1)
	must(t, s.Check())
	must(t, netlink.LinkDel(w.dut))
	if err := s.Check(); !errors.Is(err, xsk.ErrGone) {
		t.Errorf("check says %v", err)
	}
	s.Submit(copy(s.Reserve(), frame(1, 60)))
	if err := s.Flush(); !errors.Is(err, xsk.ErrGone) {
		t.Errorf("flush says %v", err)
	}
	var batch [4][]byte
	s.Peek(batch[:])
	s.Release()
	must(t, s.Close())
}

func TestLiveClosedSocketDoesNothing(t *testing.T) { onEither(t, liveClosedSocketDoesNothing) }

func liveClosedSocketDoesNothing(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	s := w.open(t, xsk.Options{})
	must(t, s.Close())
	var batch [4][]byte
	if s.Peek(batch[:]) != 0 || s.Reserve() != nil || s.FD() != -1 {
		t.Error("a closed socket hands something out")
	}
	s.Release()
	s.Submit(60)
	must(t, s.Flush())
	must(t, s.Check())
	if _, err := s.Stats(); err != nil || s.Mode() != "copy" {
		t.Errorf("stats say %v, mode %s", err, s.Mode())
	}
}

func TestLiveAllocatesNothing(t *testing.T) { onEither(t, liveAllocatesNothing) }

func liveAllocatesNothing(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	s := w.open(t, xsk.Options{})
	f := frame(1, 60)
	var batch [8][]byte
	received := 0
	got := testing.AllocsPerRun(200, func() {
		copy(s.Reserve(), f)
		s.Submit(len(f))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		received += s.Peek(batch[:])
		s.Release()
	})
	if got != 0 {
		t.Errorf("%v allocations per packet", got)
	}
}

// Nothing that a frame carries survives into what is peeked later.
func TestLiveFramesAreExact(t *testing.T) { onEither(t, liveFramesAreExact) }

func liveFramesAreExact(t *testing.T, on xsk.Opener) {
	w := newWire(t, on, 1500)
	s := w.open(t, xsk.Options{})
	for i, size := range []int{60, 1514, 61, 1000, 18} {
		f := frame(uint32(i), size)
		f[size-1] |= 0xa0
		w.sendFromFar(t, f)
		var batch [2][]byte
		if !within(func() bool { return s.Peek(batch[:1]) == 1 }) {
			t.Fatalf("frame of %d bytes did not arrive", size)
		}
		if !bytes.Equal(batch[0], f) {
			t.Errorf("frame of %d bytes arrived as %d bytes", size, len(batch[0]))
		}
		s.Release()
	}
}
