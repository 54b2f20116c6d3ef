package datapath

import (
	"encoding/binary"
	"math/bits"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// entry is an SPD entry with the SA bound to it.
type entry = sadb.Entry[outboundSA]

// flows remembers by which SPD entry the packets of a flow leave, so that only the
// first of them searches the SPD. It is a hash table in which a flow stands in its
// own place or one of the next few; where all of them are taken, the flow whose own
// place it is goes, which costs a search and no more. What was found in another
// state of the SPD does not count.
type flows struct {
	slots []flow
	shift int // what leaves of a hash the number of a place
}

// flow fills a cache line, and points to nothing that a garbage collector follows.
type flow struct {
	key flowKey
	spd uint64   // the state of the SPD, 0 in an empty slot
	row sadb.Row // 0: no policy names the flow
	_   [12]byte
}

// flowKey is what selectors match.
type flowKey struct {
	src, dst address
	rest     uint64 // ports, protocol, IP version
}

// address is an IP address as it stands in the packet. One of IPv4 leaves high 0.
type address struct{ high, low uint64 }

func (k *flowKey) is(o *flowKey) bool { return k.rest == o.rest && k.dst == o.dst && k.src == o.src }

const (
	flowProbes = 4 // places in which a flow may stand
	flowsLeast = 1 << 13
	flowsMost  = 1 << 19 // 32 MiB
	perPolicy  = 4       // as many SPD entries have traffic as there are, or fewer
)

// fit makes room for the flows of so many policies.
func (f *flows) fit(policies int) {
	n := min(max(flowsLeast, 1<<bits.Len(uint(perPolicy*policies-1))), flowsMost)
	if n <= len(f.slots) {
		return
	}
	f.slots = onHugePages(make([]flow, n+flowProbes-1))
	f.shift = 64 - bits.TrailingZeros(uint(n))
}

// read is for a packet whose header was parsed into h. It writes each word once,
// where it belongs: a key that is handed over is copied right after it was written,
// in longer words, and the processor waits for the shorter ones.
func (k *flowKey) read(h *packet.Header, ip []byte) {
	k.rest = uint64(h.SrcPort)<<48 | uint64(h.DstPort)<<32 | uint64(h.Protocol)<<8 | uint64(h.Version)
	if h.Version == 4 {
		k.src = address{low: uint64(binary.LittleEndian.Uint32(ip[12:]))}
		k.dst = address{low: uint64(binary.LittleEndian.Uint32(ip[16:]))}
		return
	}
	k.src = address{binary.LittleEndian.Uint64(ip[8:]), binary.LittleEndian.Uint64(ip[16:])}
	k.dst = address{binary.LittleEndian.Uint64(ip[24:]), binary.LittleEndian.Uint64(ip[32:])}
}

// place is where a flow stands, or shortly before it. It multiplies by an odd
// number, whose product's upper bits depend on all of what it was made of.
func (f *flows) place(k *flowKey) int {
	const odd = 0x9e3779b97f4a7c15
	x := (k.src.low<<32 ^ k.dst.low) * odd
	if k.dst.high != 0 {
		x = (x ^ k.src.high) * odd
		x = (x ^ k.src.low) * odd
		x = (x ^ k.dst.high) * odd
	}
	x ^= k.rest ^ k.rest>>32
	return int(x * odd >> f.shift)
}

// policyOf finds the SPD entry of an outbound packet, whose place is known.
func (w *Worker) policyOf(t *transit) *entry {
	spd, places := w.snap.SPD(), w.flows.slots[t.place:t.place+flowProbes]
	for i := range places {
		if p := &places[i]; p.spd == spd && p.key.is(&t.flow) {
			return w.snap.Entry(p.row)
		}
	}
	free := &places[0]
	for i := range places {
		if places[i].spd != spd {
			free = &places[i]
			break
		}
	}
	f := flowOf(&t.header)
	*free = flow{key: t.flow, spd: spd, row: w.snap.Find(sadb.Outbound, &f)}
	return w.snap.Entry(free.row)
}
