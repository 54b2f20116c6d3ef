package nat

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// MaxMappings is the largest bound of a Table: its indices have 16 bits, 0 for none.
const MaxMappings = 1<<16 - 1

// Table holds the mappings behind one address. All but Usage belongs to one
// worker, and is called with a clock that does not go back.
type Table struct {
	address  [4]byte
	mappings []mapping // element 0 is none
	unused   uint16    // chained
	inside   []uint16  // chains, by hash of the inside end
	seed     uint64
	outside  [kinds][]uint16 // by outside port
	queues   [limits]queue
	pieces   pieces
	now      int64 // when it was last looked for expired ones

	counts    counts
	published published
}

// mapping is one inside end and the port that it has outside.
type mapping struct {
	inside   [4]byte
	port     uint16 // there, as place.number
	outside  uint16
	kind     kind
	limit    limit    // the queue it stands in
	state    tcpState // with kind tcp
	chain    uint16   // next of the same hash, or unused
	older    uint16   // in its queue
	newer    uint16
	lastUsed int64
}

// New makes an empty table for at most bound mappings.
func New(address netip.Addr, bound int) (*Table, error) {
	if !address.Is4() {
		return nil, fmt.Errorf("translate to %v: only IPv4 is translated", address)
	}
	if bound < 1 || bound > MaxMappings {
		return nil, errors.New("translate: the bound of mappings is 1 to 65535")
	}
	t := &Table{address: address.As4(), mappings: make([]mapping, bound+1), seed: rand.Uint64() | 1}
	t.inside = make([]uint16, 1<<bits.Len(uint(bound)))
	for k := range t.outside {
		t.outside[k] = make([]uint16, spaces[k])
	}
	for i := bound; i > 0; i-- {
		t.mappings[i].chain, t.unused = t.unused, uint16(i)
	}
	return t, nil
}

// spaces are how many outside ports each kind has.
var spaces = [kinds]int{tcp: 1 << 16, udp: 1 << 16, query: 1 << 16, other: 1 << 8}

// bucket is the chain of an inside end. Whoever does not know the seed cannot
// choose ends that share one: multiply-shift by a random odd number.
func (t *Table) bucket(k kind, inside [4]byte, port uint16) *uint16 {
	x := uint64(inside[0])<<56 | uint64(inside[1])<<48 | uint64(inside[2])<<40 | uint64(inside[3])<<32 | uint64(k)<<16 | uint64(port)
	return &t.inside[x*t.seed>>(64-bits.Len(uint(len(t.inside)-1)))]
}

// ofInside finds the mapping of an inside end, nil without one.
func (t *Table) ofInside(k kind, inside [4]byte, port uint16) *mapping {
	for i := *t.bucket(k, inside, port); i != 0; i = t.mappings[i].chain {
		if m := &t.mappings[i]; m.port == port && m.inside == inside && m.kind == k {
			return m
		}
	}
	return nil
}

// ofOutside finds the mapping that has an outside port, nil without one.
func (t *Table) ofOutside(k kind, port uint16) *mapping {
	if i := t.outside[k][port]; i != 0 {
		return &t.mappings[i]
	}
	return nil
}

// add makes a mapping of an inside end to a free outside port.
func (t *Table) add(k kind, inside [4]byte, port, outside uint16, now int64) *mapping {
	i := t.unused
	m := &t.mappings[i]
	t.unused = m.chain
	head := t.bucket(k, inside, port)
	*m = mapping{inside: inside, port: port, outside: outside, kind: k, limit: firstLimit[k], chain: *head, lastUsed: now}
	*head = i
	t.outside[k][outside] = i
	t.queues[m.limit].push(t.mappings, i)
	t.counts.made++
	t.counts.standing[k]++
	return m
}

// remove takes mapping i away.
func (t *Table) remove(i uint16) {
	m := &t.mappings[i]
	at := t.bucket(m.kind, m.inside, m.port)
	for *at != i {
		at = &t.mappings[*at].chain
	}
	*at = m.chain
	t.outside[m.kind][m.outside] = 0
	t.queues[m.limit].take(t.mappings, i)
	t.counts.standing[m.kind]--
	m.chain, t.unused = t.unused, i
}

// index is that of a mapping.
func (t *Table) index(m *mapping) uint16 { return t.outside[m.kind][m.outside] }

// port chooses an outside port that is free: the inside host's own if it is,
// else one of the same range and parity (RFC 4787 §4.2.1 REQ-3 a, §4.2.2 REQ-4).
// What stands for a protocol without ports cannot be another.
func (t *Table) port(k kind, own uint16) (uint16, bool) {
	taken := t.outside[k]
	switch {
	case taken[own] == 0 && (own != 0 || k == query):
		return own, true
	case k == other:
		return 0, false
	}
	first, n, step := 0, 1<<16, 1
	if k != query {
		first, n, step = 1024+int(own&1), (1<<16-1024)/2, 2
		if own < 1024 {
			first, n = int(own&1), 1024/2
		}
	}
	start := rand.IntN(n)
	for i := range n {
		at := first + (start+i)%n*step
		if at != 0 && taken[at] == 0 {
			return uint16(at), true
		}
	}
	return 0, false
}
