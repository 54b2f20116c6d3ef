package datapath

import (
	"net/netip"
	"time"
)

// strangers counts the packets for unknown SPIs by source, in bounded memory, so
// that the control process, which answers for the policy, hears of each source at
// most once a second and of no more than len(places) in all (V1, V6). Of two
// sources that share a place the one is heard of that comes first after that
// second: under a flood, which ones is chance.
type strangers struct {
	places [256]stranger
}

type stranger struct {
	source   netip.Addr
	packets  uint64 // since the last report
	reported int64
}

const strangerInterval = int64(time.Second)

// note counts one packet. It returns how many came from that source since the
// last report when a report is due.
func (s *strangers) note(source netip.Addr, now int64) (packets uint64, due bool) {
	p := &s.places[placeOf(source)]
	if p.source != source {
		if now-p.reported < strangerInterval {
			return 0, false // the place is taken; its holder was reported just now
		}
		*p = stranger{source: source, reported: now - strangerInterval}
	}
	p.packets++
	if now-p.reported < strangerInterval {
		return 0, false
	}
	packets, p.packets, p.reported = p.packets, 0, now
	return packets, true
}

// placeOf spreads addresses by FNV-1a. Whoever aims at a place delays what is said
// about the other source there, as a flood of random ones would.
func placeOf(a netip.Addr) uint8 {
	h := uint32(2166136261)
	for _, b := range a.As16() {
		h = (h ^ uint32(b)) * 16777619
	}
	return uint8(h ^ h>>16)
}
