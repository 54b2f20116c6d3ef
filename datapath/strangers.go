package datapath

import (
	"net/netip"
	"time"
)

// strangers counts the packets for unknown SPIs by source, in bounded memory:
// two sources that share a place take turns, and the control process, which
// answers for the policy, sees each at most once a second (V1, V6).
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

// placeOf spreads addresses by FNV-1a. An attacker who aims two sources at one
// place only delays a log line.
func placeOf(a netip.Addr) uint8 {
	h := uint32(2166136261)
	for _, b := range a.As16() {
		h = (h ^ uint32(b)) * 16777619
	}
	return uint8(h ^ h>>16)
}
