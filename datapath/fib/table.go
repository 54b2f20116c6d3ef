package fib

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Kind says what to do with a packet for a destination.
type Kind uint8

const (
	Kernel      Kind = iota // only the kernel can tell: unresolved neighbour, no port there, multicast, ...
	Direct                  // send from Port with the two MAC addresses
	Local                   // an address of this host
	Blackhole               // drop silently
	Unreachable             // drop; ICMP host unreachable
	Prohibit                // drop; ICMP administratively prohibited
)

var kindNames = [...]string{"kernel", "direct", "local", "blackhole", "unreachable", "prohibit"}

func (k Kind) String() string { return kindNames[k] }

// NoPort is the Port of an adjacency that leaves by none of ours.
const NoPort = -1

// Adjacency is all a worker needs to send a packet on. It is flat and shared by
// every destination behind the same next hop.
type Adjacency struct {
	Kind    Kind
	SrcMAC  [6]byte // Direct only: the port's
	DstMAC  [6]byte // Direct only: the next hop's
	Port    int     // Port.Index, or NoPort
	Ifindex int     // 0 when there is no interface
	MTU     int     // of the route if it has one, else of the link; 0 when unknown
}

// Port is a network interface that the data path drives.
type Port struct {
	Ifindex int
	Index   int // the data path's own number for it, from 0
}

// PortState is what the kernel says of a port.
type PortState struct {
	MAC [6]byte
	MTU int
	Up  bool // administratively up and with carrier
}

// Table is one immutable snapshot. The zero value has no routes.
type Table struct {
	index bart.Fast[uint32]
	adj   []Adjacency
	local []netip.Addr
	ports map[int]PortState
}

// NewTable makes a table without a kernel, for tests and benches: the adjacency of
// each prefix, and the addresses of this host, which need no route of their own.
func NewTable(routes map[netip.Prefix]Adjacency, local ...netip.Addr) *Table {
	t := &Table{local: slices.SortedFunc(slices.Values(local), netip.Addr.Compare)}
	add := func(p netip.Prefix, a Adjacency) {
		t.index.Insert(p, uint32(len(t.adj)))
		t.adj = append(t.adj, a)
	}
	for p, a := range routes {
		add(p, a)
	}
	for _, a := range local {
		add(netip.PrefixFrom(a, a.BitLen()), Adjacency{Kind: Local, Port: NoPort})
	}
	return t
}

// Lookup finds the longest match, nil if there is no route. IPv4-mapped IPv6
// addresses are IPv6 here, as on the wire. It does not allocate. The result
// must not be changed.
func (t *Table) Lookup(addr netip.Addr) *Adjacency {
	i, ok := t.index.Lookup(addr)
	if !ok {
		return nil
	}
	return &t.adj[i]
}

// LocalAddrs lists the unicast addresses of this host without the loopback
// ones, sorted. It must not be changed.
func (t *Table) LocalAddrs() []netip.Addr { return t.local }

// Port is the state of the port with that Index; the zero value while its
// interface does not exist.
func (t *Table) Port(index int) PortState { return t.ports[index] }

// Len is the number of prefixes, neighbours included.
func (t *Table) Len() int { return t.index.Size() }
