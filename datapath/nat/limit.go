package nat

import "time"

// limit is how long a mapping stands without a packet. The mappings of one limit
// stand in one queue, the least recently used first, so that what has expired is
// found without a search.
type limit uint8

const (
	limitQuery limit = iota
	limitUDP
	limitTransitory
	limitEstablished
	limits
)

// The limits: RFC 5508 REQ-2 asks for 60 s at least; RFC 4787 REQ-5 for two
// minutes, and recommends five; RFC 5382 REQ-5 for four minutes while a
// connection opens or closes, and 2 hours 4 minutes while it stands.
var lasts = [limits]int64{
	limitQuery:       int64(time.Minute),
	limitUDP:         int64(5 * time.Minute),
	limitTransitory:  int64(4 * time.Minute),
	limitEstablished: int64(2*time.Hour + 4*time.Minute),
}

var firstLimit = [kinds]limit{tcp: limitTransitory, udp: limitUDP, query: limitQuery, other: limitUDP}

// queue is a list of mappings by last use.
type queue struct{ oldest, newest uint16 }

func (q *queue) push(list []mapping, i uint16) {
	list[i].older, list[i].newer = q.newest, 0
	if q.newest != 0 {
		list[q.newest].newer = i
	} else {
		q.oldest = i
	}
	q.newest = i
}

func (q *queue) take(list []mapping, i uint16) {
	m := &list[i]
	if m.older != 0 {
		list[m.older].newer = m.newer
	} else {
		q.oldest = m.newer
	}
	if m.newer != 0 {
		list[m.newer].older = m.older
	} else {
		q.newest = m.older
	}
}

// use notes a packet of a mapping, which from now on stands for l without another.
// RFC 4787 REQ-6: packets from inside keep it alive; those from outside do as
// well, for they are the peer's, which has authenticated.
func (t *Table) use(m *mapping, l limit, now int64) {
	if m.lastUsed == now && m.limit == l {
		return
	}
	i := t.index(m)
	t.queues[m.limit].take(t.mappings, i)
	m.limit, m.lastUsed = l, now
	t.queues[l].push(t.mappings, i)
}

// expire takes away what has stood unused for as long as it may.
func (t *Table) expire(now int64) {
	if t.now == now {
		return
	}
	t.now = now
	for l := range t.queues {
		for i := t.queues[l].oldest; i != 0 && now-t.mappings[i].lastUsed >= lasts[l]; i = t.queues[l].oldest {
			t.remove(i)
		}
	}
}
