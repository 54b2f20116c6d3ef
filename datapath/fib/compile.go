package fib

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// alwaysKernel are destinations that no router forwards by its unicast routes,
// or whose meaning depends on the interface (RFC 4291 §2.5.6).
var alwaysKernel = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// compiler turns a snapshot into a table and finds which neighbours it rests on.
type compiler struct {
	in     *snapshot
	ports  map[int]int // ifindex to Port.Index
	table  *Table
	seen   map[Adjacency]uint32
	onLink map[uint32]bool // adjacencies of routes whose destinations are on the link

	gateways []neighKey // must be kept resolved
	adopted  []neighKey // are used while they last
}

// compile builds the table. The rules of the kernel ask the local table before
// the main one whatever the prefix lengths, so a local route also takes away
// what main says below it.
func compile(in *snapshot, ports []Port) *compiler {
	c := &compiler{
		in: in, ports: make(map[int]int, len(ports)), seen: map[Adjacency]uint32{}, onLink: map[uint32]bool{},
		table: &Table{ports: make(map[int]PortState, len(ports))},
	}
	for _, p := range ports {
		c.ports[p.Ifindex] = p.Index
		if l, ok := in.links[p.Ifindex]; ok {
			c.table.ports[p.Index] = PortState{MAC: l.mac, MTU: l.mtu, Up: l.running}
		}
	}
	c.addTable(unix.RT_TABLE_MAIN)
	c.addNeighbours()
	c.addTable(unix.RT_TABLE_LOCAL)
	kernel := c.intern(Adjacency{Kind: Kernel, Port: NoPort}, false)
	for _, p := range alwaysKernel {
		c.cover(p, kernel)
	}
	slices.SortFunc(c.table.local, netip.Addr.Compare)
	c.table.local = slices.Compact(c.table.local)
	return c
}

func (c *compiler) addTable(number int) {
	best := map[netip.Prefix]*route{}
	var order []netip.Prefix
	for i := range c.in.routes {
		r := &c.in.routes[i]
		if r.table != number || !r.alive() {
			continue
		}
		was, ok := best[r.prefix]
		if !ok {
			order = append(order, r.prefix)
		}
		switch {
		case !ok || (!was.opaque && r.metric < was.metric):
			best[r.prefix] = r
		case r.opaque: // e.g. another route for one DSCP: the kernel sorts it out
			best[r.prefix] = r
		}
	}
	// Shorter prefixes first: a local route covers what main has below it, never
	// another local route.
	slices.SortStableFunc(order, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	for _, p := range order {
		c.addRoute(best[p])
	}
}

// alive is false for a route that the kernel keeps but does not use.
func (r *route) alive() bool {
	return r.kind != unix.RTN_UNICAST || slices.ContainsFunc(r.hops, func(h hop) bool { return !h.dead })
}

func (c *compiler) addRoute(r *route) {
	a, onLink := c.resolve(r)
	i := c.intern(a, onLink)
	if r.table != unix.RT_TABLE_LOCAL {
		c.table.index.Insert(r.prefix, i)
		return
	}
	c.cover(r.prefix, i)
	addr := r.prefix.Addr()
	if r.kind == unix.RTN_LOCAL && r.prefix.IsSingleIP() && !addr.IsLoopback() {
		c.table.local = append(c.table.local, addr)
	}
}

// cover makes i the only answer within p.
func (c *compiler) cover(p netip.Prefix, i uint32) {
	var below []netip.Prefix
	for q := range c.table.index.Subnets(p) {
		below = append(below, q)
	}
	for _, q := range below {
		c.table.index.Delete(q)
	}
	c.table.index.Insert(p, i)
}

// resolve gives the adjacency of a route, and whether its destinations are on
// the link and so need a neighbour each.
func (c *compiler) resolve(r *route) (a Adjacency, onLink bool) {
	if r.opaque {
		return Adjacency{Kind: Kernel, Port: NoPort}, false
	}
	switch r.kind {
	case unix.RTN_UNICAST:
		return c.nextHop(r)
	case unix.RTN_LOCAL:
		return Adjacency{Kind: Local, Port: NoPort}, false
	case unix.RTN_BLACKHOLE:
		return Adjacency{Kind: Blackhole, Port: NoPort}, false
	case unix.RTN_PROHIBIT:
		return Adjacency{Kind: Prohibit, Port: NoPort}, false
	case unix.RTN_UNREACHABLE:
		return Adjacency{Kind: Unreachable, Port: NoPort}, false
	}
	return Adjacency{Kind: Kernel, Port: NoPort}, false // broadcast, anycast, throw, ...
}

// nextHop takes the first usable next hop: one that is on the link of a running
// port, or whose gateway there is resolved.
func (c *compiler) nextHop(r *route) (Adjacency, bool) {
	fallback := Adjacency{Kind: Kernel, Port: NoPort}
	for _, h := range r.hops {
		if h.dead {
			continue
		}
		a := c.toward(h.ifindex, r.mtu)
		if fallback.Ifindex == 0 {
			fallback = a
		}
		if a.Port == NoPort || !c.in.links[h.ifindex].running {
			continue
		}
		if !h.gateway.IsValid() {
			return a, true
		}
		key := neighKey{h.ifindex, h.gateway}
		c.gateways = append(c.gateways, key)
		if n := c.in.neighs[key]; n.valid {
			return c.direct(a, n), false
		}
	}
	return fallback, false
}

// toward is the adjacency of an interface while the neighbour is not known.
func (c *compiler) toward(ifindex, mtu int) Adjacency {
	a := Adjacency{Kind: Kernel, Port: NoPort, Ifindex: ifindex, MTU: mtu}
	if port, ok := c.ports[ifindex]; ok {
		a.Port = port
	}
	if a.MTU == 0 {
		a.MTU = c.in.links[ifindex].mtu
	}
	return a
}

func (c *compiler) direct(a Adjacency, n neigh) Adjacency {
	a.Kind, a.DstMAC, a.SrcMAC = Direct, n.mac, c.in.links[a.Ifindex].mac
	return a
}

// addNeighbours gives every resolved neighbour that an on-link route leads to
// an entry of its own.
func (c *compiler) addNeighbours() {
	type entry struct {
		prefix netip.Prefix
		i      uint32
	}
	var found []entry // inserted at the end, so that lookups here see routes only
	for key, n := range c.in.neighs {
		if key.addr.IsLinkLocalUnicast() || key.addr.IsMulticast() {
			continue // see alwaysKernel
		}
		i, ok := c.table.index.Lookup(key.addr)
		if !ok || !n.valid || !c.onLink[i] || c.table.adj[i].Ifindex != key.ifindex {
			continue
		}
		host := netip.PrefixFrom(key.addr, key.addr.BitLen())
		found = append(found, entry{host, c.intern(c.direct(c.table.adj[i], n), false)})
		c.adopted = append(c.adopted, key)
	}
	for _, e := range found {
		c.table.index.Insert(e.prefix, e.i)
	}
}

// intern numbers an adjacency, once for all that share it. Those of on-link
// routes are kept apart from equal ones that only wait for their gateway.
func (c *compiler) intern(a Adjacency, onLink bool) uint32 {
	if i, ok := c.seen[a]; ok && c.onLink[i] == onLink {
		return i
	}
	i := uint32(len(c.table.adj))
	c.table.adj = append(c.table.adj, a)
	c.seen[a] = i
	if onLink {
		c.onLink[i] = true
	}
	return i
}
