package nat

import (
	"sync/atomic"

	"spindle/datapath/packet"
)

// Usage is what a table holds and did, as of the last Publish.
type Usage struct {
	TCP, UDP, ICMP, Other int // mappings
	Bound                 int // of them together
	Made                  uint64
	Full                  uint64 // packets that got no mapping, for there are too many
	NoMapping             uint64 // packets from outside that belong to none
	Untranslatable        uint64
}

// counts are the figures that the owner counts.
type counts struct {
	standing                        [kinds]int
	made                            uint64
	full, noMapping, untranslatable uint64
}

type published struct {
	standing                              [kinds]atomic.Int64
	made, full, noMapping, untranslatable atomic.Uint64
}

// refuse counts a packet that is not translated.
func (t *Table) refuse(v packet.Verdict) packet.Verdict {
	switch v {
	case packet.DropMappingsFull:
		t.counts.full++
	case packet.DropNoMapping:
		t.counts.noMapping++
	default:
		t.counts.untranslatable++
	}
	return v
}

// Publish makes the figures visible to others, without what has expired by now.
func (t *Table) Publish(now int64) {
	t.expire(now)
	for k := range t.counts.standing {
		t.published.standing[k].Store(int64(t.counts.standing[k]))
	}
	t.published.made.Store(t.counts.made)
	t.published.full.Store(t.counts.full)
	t.published.noMapping.Store(t.counts.noMapping)
	t.published.untranslatable.Store(t.counts.untranslatable)
}

// Usage reads what was last published. Any goroutine may call it.
func (t *Table) Usage() Usage {
	p := &t.published
	standing := func(k kind) int { return int(p.standing[k].Load()) }
	return Usage{
		TCP: standing(tcp), UDP: standing(udp), ICMP: standing(query), Other: standing(other), Bound: len(t.mappings) - 1,
		Made: p.made.Load(), Full: p.full.Load(), NoMapping: p.noMapping.Load(), Untranslatable: p.untranslatable.Load(),
	}
}
