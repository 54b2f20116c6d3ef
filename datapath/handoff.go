package datapath

import "sync/atomic"

// origin says where a packet came from, and so what it is and which stage it
// enters.
type origin uint8

const (
	fromPort   origin = iota // an Ethernet frame
	fromHost                 // an inner IP packet that this host sent into the slow path device
	fromKernel               // an outer IP packet that the kernel reassembled
)

// Dimensions of the rings: powers of two slots, bytes of each. Pages of a ring
// that never fills are never touched.
const (
	handoffSlots = 512
	handoffBytes = 4096 // the largest frame of a port
	kernelSlots  = 32
	kernelBytes  = 1<<16 - 1 // the largest packet that fragments make
)

// handoff is a single-producer single-consumer ring between two goroutines:
// from worker to worker, or from the slow path to a worker. A full ring refuses;
// the producer counts that as DropHandoffFull. Packets are copied, so a received
// frame goes back to its port at once.
type handoff struct {
	produced atomic.Uint32 // stored by the producer only
	_        [60]byte      // keeps the two indices on cache lines of their own
	consumed atomic.Uint32 // stored by the consumer only
	_        [60]byte
	slots    []handoffSlot
	data     []byte // as many times size bytes
	size     int
}

type handoffSlot struct {
	origin origin
	port   uint8 // index of the port, with fromPort
	hops   uint8 // how many workers have passed the packet on
	n      uint16
}

func newHandoff(slots, size int) *handoff {
	return &handoff{slots: make([]handoffSlot, slots), data: make([]byte, slots*size), size: size}
}

// push copies a packet into the ring, or reports false when it is full or the
// packet too long.
func (h *handoff) push(a arrival) bool {
	at := h.produced.Load()
	if int(at-h.consumed.Load()) == len(h.slots) || len(a.data) > h.size {
		return false
	}
	*h.slot(at) = handoffSlot{a.origin, uint8(a.port), a.hops, uint16(len(a.data))}
	copy(h.bytes(at), a.data)
	h.produced.Store(at + 1) // publishes the copy: sync/atomic orders what stands before it
	return true
}

// ready is how many packets may be read, at most limit.
func (h *handoff) ready(limit int) int {
	return min(int(h.produced.Load()-h.consumed.Load()), limit)
}

// at is packet i of those that are ready, valid until its release.
func (h *handoff) at(i int) arrival {
	at := h.consumed.Load() + uint32(i)
	m := h.slot(at)
	return arrival{m.origin, int(m.port), h.bytes(at)[:m.n], m.hops}
}

// release gives the oldest n packets' slots back, in one store.
func (h *handoff) release(n int) { h.consumed.Store(h.consumed.Load() + uint32(n)) }

func (h *handoff) empty() bool { return h.ready(1) == 0 }

func (h *handoff) slot(i uint32) *handoffSlot { return &h.slots[int(i)&(len(h.slots)-1)] }

func (h *handoff) bytes(i uint32) []byte {
	at := (int(i) & (len(h.slots) - 1)) * h.size
	return h.data[at : at+h.size : at+h.size]
}
