package xsk_test

import (
	"bytes"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"spindle/datapath/xsk"
)

// TestNoFrameIsInTwoPlaces compares the engine with a model that knows nothing
// but the set of places a frame may be in.
func TestNoFrameIsInTwoPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.SampledFrom([]int{2, 4, 8}).Draw(t, "slots")
		s, k := xsk.OverSmallTX(frames, slots, rapid.Uint32().Draw(t, "start"))
		m := &model{s: s, k: k}
		t.Repeat(map[string]func(*rapid.T){
			"fill":     func(*rapid.T) { k.TakeFill() },
			"receive":  m.receive,
			"peek":     m.peek,
			"release":  func(*rapid.T) { s.Release(); m.held = nil },
			"reserve":  m.reserve,
			"submit":   m.submit,
			"flush":    m.flush,
			"send":     m.send,
			"complete": m.complete,
			"":         m.check,
		})
		m.drain(t)
	})
}

type model struct {
	s       *xsk.Socket
	k       *xsk.Kernel
	serial  int
	arrived [][]byte // received, not yet peeked
	held    []uintptr
	lent    []byte
	queued  [][]byte // submitted, not yet sent
}

func (m *model) receive(t *rapid.T) {
	m.serial++
	if p := payload(m.serial, 0); m.k.Receive(p) {
		m.arrived = append(m.arrived, p)
	}
}

func (m *model) peek(t *rapid.T) {
	batch := make([][]byte, rapid.IntRange(0, 10).Draw(t, "batch"))
	n := m.s.Peek(batch)
	if want := min(len(batch), len(m.arrived)); n != want {
		t.Fatalf("peeked %d, want %d", n, want)
	}
	for _, f := range batch[:n] {
		if !bytes.Equal(f, m.arrived[0]) {
			t.Fatalf("peeked %q, want %q", f, m.arrived[0])
		}
		m.arrived = m.arrived[1:]
		m.held = append(m.held, chunkOf(f))
	}
}

func (m *model) reserve(t *rapid.T) {
	was := m.lent
	m.lent = m.s.Reserve()
	if was != nil && (m.lent == nil || chunkOf(was) != chunkOf(m.lent)) {
		t.Fatal("the reserved frame changed")
	}
}

func (m *model) submit(t *rapid.T) {
	if m.lent == nil {
		return
	}
	m.serial++
	n := copy(m.lent, payload(m.serial, 1))
	m.s.Submit(n)
	m.queued = append(m.queued, m.lent[:n])
	m.lent = nil
}

func (m *model) flush(t *rapid.T) {
	if err := m.s.Flush(); err != nil {
		t.Fatal(err)
	}
}

func (m *model) send(t *rapid.T) {
	n := m.k.Send(rapid.IntRange(1, 8).Draw(t, "budget"))
	if n > len(m.queued) {
		t.Fatalf("the kernel found %d descriptors, %d were submitted", n, len(m.queued))
	}
	for i := range n {
		if got := m.k.TXBytes[len(m.k.TXBytes)-n+i]; !bytes.Equal(got, m.queued[i]) {
			t.Fatalf("the kernel sent %q, want %q", got, m.queued[i])
		}
	}
	m.queued = m.queued[n:]
}

func (m *model) complete(t *rapid.T) {
	if n := len(m.k.TX); n > 0 {
		if !m.k.Complete(rapid.IntRange(0, n-1).Draw(t, "which")) {
			t.Fatal("no slot for a completion")
		}
	}
}

// check: no RX frame is both held and with the kernel, no TX frame both lent
// and in flight, and no frame is twice in the same place.
func (m *model) check(t *rapid.T) {
	seen := map[uintptr]string{}
	place := func(chunk uintptr, where string) {
		if other, ok := seen[chunk]; ok {
			t.Fatalf("frame %#x is %s and %s", chunk, other, where)
		}
		seen[chunk] = where
	}
	for _, c := range m.held {
		place(c, "peeked")
	}
	for _, a := range m.k.RX {
		place(m.addr(a), "being received into")
	}
	if m.lent != nil {
		place(chunkOf(m.lent), "lent")
	}
	for _, q := range m.queued {
		place(chunkOf(q), "submitted")
	}
	for _, a := range m.k.TX {
		place(m.addr(a), "being sent")
	}
	if m.s.Free() > frames/2 {
		t.Fatalf("%d free TX frames of %d", m.s.Free(), frames/2)
	}
}

// drain: when everything has been given back, no frame is missing.
func (m *model) drain(t *rapid.T) {
	m.s.Release()
	m.flush(t)
	m.k.Send(frames)
	for len(m.k.TX) > 0 {
		m.k.Complete(0)
	}
	m.flush(t)
	lent := 0
	if m.lent != nil {
		lent = 1
	}
	m.k.TakeFill()
	if got := m.s.InFlight(); got != 0 {
		t.Fatalf("%d TX frames are still in flight", got)
	}
	if got := m.s.Free() + lent; got != frames/2 {
		t.Fatalf("%d TX frames are left of %d", got, frames/2)
	}
	if got := len(m.k.RX) + len(m.arrived); got != frames/2 {
		t.Fatalf("%d RX frames are left of %d", got, frames/2)
	}
}

func (m *model) addr(umem uint64) uintptr { return m.k.Base() + uintptr(umem) }

// chunkOf identifies the frame a slice lies in by the address its capacity
// ends at.
func chunkOf(f []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(f))) + uintptr(cap(f)) - 2048
}
