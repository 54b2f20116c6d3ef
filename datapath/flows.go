package datapath

import (
	"encoding/binary"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// entry is an SPD entry with the SA bound to it.
type entry = sadb.Entry[outboundSA]

// flows remembers by which SPD entry the packets of a flow leave, so that only the
// first of them searches the SPD. A slot counts as long as the snapshot in which
// its entry was found; flows that meet in a slot push each other out, which costs
// a search and no more.
type flows [flowSlots]struct {
	epoch uint64
	flow  sadb.Flow
	entry *entry // nil: no policy names the flow
}

// flowSlots are half a megabyte, a quarter of a core's second-level cache, and
// room enough for the flows that a core has in a second.
const (
	flowBits  = 13
	flowSlots = 1 << flowBits
)

// policyOf finds the SPD entry of an outbound packet, parsed into h.
func (w *Worker) policyOf(h *packet.Header, ip []byte) *entry {
	slot := &w.flows[flowHash(h, ip)]
	flow := flowOf(h)
	if slot.epoch != w.snap.Epoch() || slot.flow != flow {
		slot.epoch, slot.flow, slot.entry = w.snap.Epoch(), flow, w.snap.Match(sadb.Outbound, &flow)
	}
	return slot.entry
}

// flowHash multiplies addresses and ports by an odd number, whose product's upper
// bits depend on all of them.
func flowHash(h *packet.Header, ip []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15
	x := uint64(h.SrcPort)<<16 | uint64(h.DstPort)
	if h.Version == 4 {
		x = x*odd ^ binary.LittleEndian.Uint64(ip[12:])
	} else {
		for at := 8; at < packet.IPv6Len; at += 8 {
			x = x*odd ^ binary.LittleEndian.Uint64(ip[at:])
		}
	}
	return x * odd >> (64 - flowBits)
}
