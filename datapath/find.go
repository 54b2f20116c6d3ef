package datapath

import (
	"unsafe"

	"spindle/datapath/prefetch"
)

// find is stage 2. With many SAs each of their cache lines comes from memory, which
// takes as long as to encrypt a packet. So it goes through the batch once for each
// step from pointer to pointer, and asks in each for what the next one reads.
func (w *Worker) find(packets []transit) {
	last := -1
	for i := range packets {
		switch t := &packets[i]; t.side {
		case outward:
			last = w.foresee(t, last)
		case inward:
			t.verdict = t.strip()
		}
	}
	w.findSAs(packets)
	w.fetchKeys(packets)
}

// foresee asks for the flow's place, unless it was the last one as well.
func (w *Worker) foresee(t *transit, last int) int {
	t.flow.read(&t.header, t.ip)
	t.place = w.flows.place(&t.flow)
	if t.place != last {
		prefetch.Of(&w.flows.slots[t.place])
	}
	return t.place
}

// findSAs asks for the SAs. Those of one flow come one after the other as a rule,
// and need it once.
func (w *Worker) findSAs(packets []transit) {
	var in *inboundSA
	var out *outboundSA
	for i := range packets {
		switch t := &packets[i]; t.side {
		case outward:
			t.entry = w.policyOf(t)
			if t.entry != nil && t.entry.Outbound != nil && t.entry.Outbound != out {
				out = t.entry.Outbound
				prefetch.Bytes(unsafe.Pointer(out), unsafe.Offsetof(out.watch))
			}
		case inward:
			w.locate(t)
			if t.sa != nil && t.sa != in {
				in = t.sa
				prefetch.Bytes(unsafe.Pointer(in), in.hot())
			}
		}
	}
}

// fetchKeys asks for the keys, and for the replay windows.
func (w *Worker) fetchKeys(packets []transit) {
	var in *inboundSA
	var out *outboundSA
	for i := range packets {
		switch t := &packets[i]; t.side {
		case outward:
			if t.entry != nil && t.entry.Outbound != nil && t.entry.Outbound != out {
				out = t.entry.Outbound
				out.Prefetch(len(t.ip))
			}
		case inward:
			if t.sa != nil && t.sa != in {
				in = t.sa
				in.Prefetch(t.body)
			}
		}
	}
}
