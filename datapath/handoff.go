package datapath

import "sync/atomic"

// origin says where a packet that waits in a hand-off ring came from, and so
// what it is and which stage it enters.
type origin uint8

const (
	fromPort   origin = iota // an Ethernet frame that another worker received
	fromHost                 // an inner IP packet that this host sent into the slow path device
	fromKernel               // an outer IP packet that the kernel reassembled
)

const (
	handoffSlots = 512 // power of two
	handoffBytes = 4096
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
	meta     [handoffSlots]handoffMeta
	data     []byte // handoffSlots slots of handoffBytes each
}

type handoffMeta struct {
	origin origin
	port   uint8 // index of the port, with fromPort
	n      uint16
}

func newHandoff() *handoff {
	return &handoff{data: make([]byte, handoffSlots*handoffBytes)}
}

// push copies b into the ring, or reports false when it is full or b too long.
func (h *handoff) push(o origin, port uint8, b []byte) bool {
	at := h.produced.Load()
	if at-h.consumed.Load() == handoffSlots || len(b) > handoffBytes {
		return false
	}
	slot := at % handoffSlots
	h.meta[slot] = handoffMeta{o, port, uint16(len(b))}
	copy(h.slot(slot), b)
	h.produced.Store(at + 1) // publishes the copy: sync/atomic orders what stands before it
	return true
}

// peek returns the oldest packet, valid until release, or false when empty.
func (h *handoff) peek() (handoffMeta, []byte, bool) {
	at := h.consumed.Load()
	if at == h.produced.Load() {
		return handoffMeta{}, nil, false
	}
	slot := at % handoffSlots
	m := h.meta[slot]
	return m, h.slot(slot)[:m.n], true
}

func (h *handoff) release() { h.consumed.Store(h.consumed.Load() + 1) }

func (h *handoff) empty() bool { return h.consumed.Load() == h.produced.Load() }

func (h *handoff) slot(i uint32) []byte {
	at := int(i) * handoffBytes
	return h.data[at : at+handoffBytes : at+handoffBytes]
}
