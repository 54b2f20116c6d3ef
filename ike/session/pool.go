package session

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"spindle/sadb"
)

// Pool is what a gateway gives to peers that ask for an inside address
// (RFC 7296 §2.19).
type Pool struct {
	Ranges  []AddressRange // of either family, in the order in which they are used
	DNS     []netip.Addr
	Subnets []netip.Prefix // behind the gateway: what the peer is to send through the tunnel

	// What only IKEv1 gives besides.
	WINS           []netip.Addr
	Banner, Domain string
}

// AddressRange is inclusive, of one family.
type AddressRange struct{ First, Last netip.Addr }

// HostRange is what of a prefix can be given away: neither the network and its
// broadcast in IPv4, nor the anycast address of its routers in IPv6 (RFC 4291
// §2.6.1).
func HostRange(p netip.Prefix) AddressRange {
	all := sadb.PrefixSelector(p)
	r := AddressRange{all.First, all.Last}
	if p.Addr().BitLen()-p.Bits() < 2 {
		return r
	}
	r.First = r.First.Next()
	if r.First.Is4() {
		r.Last = r.Last.Prev()
	}
	return r
}

// Contains reports whether an address is in the range.
func (r AddressRange) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Contains reports whether an address is one to give away.
func (p *Pool) Contains(a netip.Addr) bool {
	return slices.ContainsFunc(p.Ranges, func(r AddressRange) bool { return r.Contains(a) })
}

// Overlaps reports whether a selector has addresses to give away.
func (p *Pool) Overlaps(s sadb.Selector) bool {
	return slices.ContainsFunc(p.Ranges, func(r AddressRange) bool {
		return r.First.BitLen() == s.First.BitLen() && r.First.Compare(s.Last) <= 0 && s.First.Compare(r.Last) <= 0
	})
}

// Lease is one inside address that a peer has.
type Lease struct {
	Address netip.Addr
	Conn    string
	Client  string // identity or user name
}

// ErrPoolEmpty means that every address of a pool is taken.
var ErrPoolEmpty = errors.New("every address of the pool is taken")

// maxRemembered bounds for how many peers the address that they had is kept in mind.
const maxRemembered = 1 << 16

// Leases are the inside addresses that peers have. No two peers have the same
// one, whatever pools their connections share. A peer that comes back gets the
// address it had, while nobody else has it.
type Leases struct {
	held   map[netip.Addr]Lease
	again  map[netip.Addr]int // how often its client leased it besides
	had    map[tenant]netip.Addr
	cursor map[cursor]netip.Addr // the last one given away
}

type tenant struct {
	conn, client string
	four         bool
}

type cursor struct {
	conn string
	four bool
}

// NewLeases holds none.
func NewLeases() *Leases {
	return &Leases{held: map[netip.Addr]Lease{}, again: map[netip.Addr]int{}, had: map[tenant]netip.Addr{}, cursor: map[cursor]netip.Addr{}}
}

// Lease gives a client an IPv4 address of the connection's pool: the one it holds
// already, if it holds one. Two ISAKMP SAs of it share that until both released it.
func (l *Leases) Lease(conn *Connection, client string) (netip.Addr, error) {
	had := l.had[tenant{conn.Name, client, true}]
	if l.held[had] == (Lease{had, conn.Name, client}) && conn.Pool.Contains(had) {
		l.again[had]++
		return had, nil
	}
	a, ok := l.Take(conn.Name, conn.Pool, client, netip.Addr{}, true)
	if !ok {
		return a, fmt.Errorf("lease of %s: %w", conn.Name, ErrPoolEmpty)
	}
	return a, nil
}

// Take leases an address of one family to a peer: the one it wants if that is
// free, else the one it had, else the next free one. It reports false when the
// pool has none left.
func (l *Leases) Take(conn string, pool *Pool, client string, want netip.Addr, four bool) (netip.Addr, bool) {
	who := tenant{conn, client, four}
	for _, a := range []netip.Addr{want, l.had[who]} {
		if a.IsValid() && a.Is4() == four && pool.Contains(a) && l.free(a) {
			return l.give(a, who), true
		}
	}
	a, ok := l.next(pool, cursor{conn, four})
	if !ok {
		return netip.Addr{}, false
	}
	l.cursor[cursor{conn, four}] = a
	return l.give(a, who), true
}

func (l *Leases) give(a netip.Addr, who tenant) netip.Addr {
	l.held[a] = Lease{Address: a, Conn: who.conn, Client: who.client}
	if len(l.had) >= maxRemembered {
		clear(l.had)
	}
	l.had[who] = a
	return a
}

func (l *Leases) free(a netip.Addr) bool {
	_, held := l.held[a]
	return !held
}

// next is the first free address behind the last one given away, so that an
// address that was freed rests, and no search is longer than what is leased.
func (l *Leases) next(pool *Pool, at cursor) (netip.Addr, bool) {
	ranges := slices.DeleteFunc(slices.Clone(pool.Ranges), func(r AddressRange) bool { return r.First.Is4() != at.four })
	if len(ranges) == 0 {
		return netip.Addr{}, false
	}
	i := slices.IndexFunc(ranges, func(r AddressRange) bool { return r.Contains(l.cursor[at]) })
	a := ranges[max(i, 0)].First
	if i >= 0 {
		i, a = following(ranges, i, l.cursor[at])
	} else {
		i = 0
	}
	for range len(l.held) + 1 {
		if l.free(a) {
			return a, true
		}
		i, a = following(ranges, i, a)
	}
	return netip.Addr{}, false
}

// following is the address after a in the ranges, and in which one it is; after
// the last comes the first.
func following(ranges []AddressRange, i int, a netip.Addr) (int, netip.Addr) {
	if a.Compare(ranges[i].Last) < 0 {
		return i, a.Next()
	}
	i = (i + 1) % len(ranges)
	return i, ranges[i].First
}

// Release frees an address, unless its client leased it again.
func (l *Leases) Release(a netip.Addr) {
	if l.again[a] > 0 {
		l.again[a]--
		return
	}
	delete(l.held, a)
	delete(l.again, a)
}

// List is in the order of the addresses.
func (l *Leases) List() []Lease {
	list := make([]Lease, 0, len(l.held))
	for _, lease := range l.held {
		list = append(list, lease)
	}
	slices.SortFunc(list, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return list
}

// Assigned are the inside addresses that peers gave to us. Two IKE SAs may bring
// the same one: it stays on the host until both are gone.
type Assigned map[netip.Addr]int

// Add puts an address on the host.
func (as Assigned) Add(out *Outbox, a netip.Addr) {
	if as[a]++; as[a] == 1 {
		out.Put(Address{Addr: a})
	}
}

// Remove takes it away with its last IKE SA.
func (as Assigned) Remove(out *Outbox, a netip.Addr) {
	if as[a]--; as[a] <= 0 {
		delete(as, a)
		out.Put(Address{Remove: true, Addr: a})
	}
}
