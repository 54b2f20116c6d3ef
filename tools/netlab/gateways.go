package netlab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
)

// Options shape the topology of [NewGateways].
type Options struct {
	IPv6Outer bool // R6Addr and R8Addr are the IPv6 ones; both families are always there
	Queues    int  // of every gateway port; 0: 1
	MTU       int  // of every link; 0: 1500

	// ClearRoutes gives the gateways routes to each other's protected networks:
	// what their policy does not catch then shows in the clear on the wire,
	// instead of being refused for lack of a route.
	ClearRoutes bool

	// Direct joins the gateways by one link, without the wire and so without a capture:
	// for measuring them, and not a bridge.
	Direct bool

	// NAT makes the wire a router that hides R6 behind NATAddr: R8 is in another
	// network, and only R6 can begin. For IPv4 outside.
	NAT bool
}

// natInside is the router of [Options.NAT] as R6 knows it.
const natInside = "192.0.2.1"

// NATAddr is where R6 seems to be, seen from R8, with [Options.NAT].
var NATAddr = netip.MustParseAddr("198.51.100.1")

// Gateways is the running example: two hosts behind two gateways, and a wire in
// a namespace of its own between them, where a capture sees every frame.
//
//	 A                R6                wire               R8                B
//	eth0 --------- in0  out0 -------- w6 br0 w8 ------- out0  in0 --------- eth0
//	10.6.6.6    10.6.6.1  192.0.2.6               192.0.2.8  10.8.8.1   10.8.8.8
//	2001:db8:6::6   ::1   2001:db8:0:1::6    2001:db8:0:1::8  ::1   2001:db8:8::8
type Gateways struct {
	*Lab
	A, R6, Wire, R8, B *NS

	R6Addr, R8Addr netip.Addr // outside, of the family asked for
	A4, A6, B4, B6 netip.Addr // of the hosts
	Protected      []netip.Prefix
}

// wirePorts are the bridge ports in the wire namespace, R6's and R8's.
var wirePorts = []string{"w6", "w8"}

// NewGateways builds the topology. The gateways forward, the hosts have default
// routes to them.
func NewGateways(name string, o Options) (*Gateways, error) {
	lab, err := New(name)
	if err != nil {
		return nil, err
	}
	g := &Gateways{
		Lab: lab, R6Addr: netip.MustParseAddr("192.0.2.6"), R8Addr: netip.MustParseAddr("192.0.2.8"),
		A4: netip.MustParseAddr("10.6.6.6"), A6: netip.MustParseAddr("2001:db8:6::6"),
		B4: netip.MustParseAddr("10.8.8.8"), B6: netip.MustParseAddr("2001:db8:8::8"),
	}
	if o.IPv6Outer {
		g.R6Addr, g.R8Addr = netip.MustParseAddr("2001:db8:0:1::6"), netip.MustParseAddr("2001:db8:0:1::8")
	}
	if o.NAT {
		g.R8Addr = netip.MustParseAddr("198.51.100.8")
	}
	for _, a := range []netip.Addr{g.A4, g.A6, g.B4, g.B6} {
		g.Protected = append(g.Protected, netip.PrefixFrom(a, a.BitLen()))
	}
	for _, step := range []func(Options) error{g.namespaces, g.links, g.routes} {
		if err := step(o); err != nil {
			return nil, errors.Join(err, lab.Close())
		}
	}
	return g, nil
}

func (g *Gateways) namespaces(Options) error {
	for _, n := range []struct {
		ns   **NS
		name string
	}{{&g.A, "a"}, {&g.R6, "r6"}, {&g.Wire, "wire"}, {&g.R8, "r8"}, {&g.B, "b"}} {
		var err error
		if *n.ns, err = g.Namespace(n.name); err != nil {
			return err
		}
	}
	return errors.Join(g.R6.Forward(), g.R8.Forward())
}

func (g *Gateways) links(o Options) error {
	end := func(ns *NS, name string, addrs ...string) End {
		e := End{NS: ns, Name: name, MTU: o.MTU, Queues: o.Queues}
		for _, a := range addrs {
			e.Addr = append(e.Addr, netip.MustParsePrefix(a))
		}
		return e
	}
	w6, w8, out8 := end(g.Wire, wirePorts[0]), end(g.Wire, wirePorts[1]), "192.0.2.8/24"
	if o.NAT {
		w6, w8, out8 = end(g.Wire, wirePorts[0], natInside+"/24"), end(g.Wire, wirePorts[1], NATAddr.String()+"/24"), "198.51.100.8/24"
	}
	outside6, outside8 := end(g.R6, "out0", "192.0.2.6/24", "2001:db8:0:1::6/64"), end(g.R8, "out0", out8, "2001:db8:0:1::8/64")
	pairs := [][2]End{
		{end(g.A, "eth0", "10.6.6.6/24", "2001:db8:6::6/64"), end(g.R6, "in0", "10.6.6.1/24", "2001:db8:6::1/64")},
		{outside6, w6},
		{outside8, w8},
		{end(g.B, "eth0", "10.8.8.8/24", "2001:db8:8::8/64"), end(g.R8, "in0", "10.8.8.1/24", "2001:db8:8::1/64")},
	}
	if o.Direct {
		pairs = [][2]End{pairs[0], {outside6, outside8}, pairs[3]}
	}
	for _, pair := range pairs {
		if err := g.Link(pair[0], pair[1]); err != nil {
			return err
		}
	}
	switch {
	case o.Direct:
		return nil
	case o.NAT:
		return g.masquerade()
	}
	return g.Wire.Bridge("br0", wirePorts...)
}

// masquerade makes the wire a router that translates what R6 sends.
func (g *Gateways) masquerade() error {
	const rules = "table ip nat {\n chain out {\n type nat hook postrouting priority srcnat\n oifname w8 masquerade\n }\n}\n"
	file := filepath.Join(g.Dir(), "masquerade.nft")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		return err
	}
	if _, err := g.Wire.Run(context.Background(), "nft", "-f", file); err != nil {
		return err
	}
	return g.Wire.Forward()
}

func (g *Gateways) routes(o Options) error {
	type route struct {
		ns       *NS
		dst, via string
	}
	routes := []route{
		{g.A, "0.0.0.0/0", "10.6.6.1"}, {g.A, "::/0", "2001:db8:6::1"},
		{g.B, "0.0.0.0/0", "10.8.8.1"}, {g.B, "::/0", "2001:db8:8::1"},
	}
	toR8, toR6 := "192.0.2.8", "192.0.2.6"
	if o.NAT {
		toR8, toR6 = natInside, NATAddr.String()
		routes = append(routes, route{g.R6, "198.51.100.0/24", natInside})
	}
	if o.ClearRoutes {
		routes = append(routes,
			route{g.R6, "10.8.8.0/24", toR8}, route{g.R6, "2001:db8:8::/64", "2001:db8:0:1::8"},
			route{g.R8, "10.6.6.0/24", toR6}, route{g.R8, "2001:db8:6::/64", "2001:db8:0:1::6"})
	}
	for _, r := range routes {
		if err := r.ns.Route(netip.MustParsePrefix(r.dst), netip.MustParseAddr(r.via)); err != nil {
			return err
		}
	}
	return nil
}

// CountWire counts what passes between the gateways, each frame once.
func (g *Gateways) CountWire() (*Counter, error) { return g.Wire.Count(g.Protected, wirePorts...) }
