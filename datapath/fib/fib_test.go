package fib_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spindle/datapath/fib"
)

// world is a network namespace with the ports p0 and p1 and the interface x0
// that is no port, each a veth whose far end stands in a second namespace. Both
// are anonymous: they vanish with the test however it ends.
type world struct {
	t      testing.TB
	near   *netlink.Handle
	far    *netlink.Handle
	index  map[string]int
	mac    map[string][6]byte
	ports  []fib.Port
	mirror *fib.Mirror
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	runtime.LockOSThread() // never unlocked: the thread dies with the test's goroutine
	nearNS, nearHandle := newNamespace(t)
	farNS, farHandle := newNamespace(t)
	w := &world{t: t, near: nearHandle, far: farHandle, index: map[string]int{}, mac: map[string][6]byte{}}
	for _, name := range []string{"p0", "p1", "x0"} {
		w.addVeth(name, nearNS, farNS)
	}
	w.ports = []fib.Port{{Ifindex: w.index["p0"], Index: 0}, {Ifindex: w.index["p1"], Index: 1}}
	if err := netns.Set(nearNS); err != nil {
		t.Fatal(err)
	}
	return w
}

func newNamespace(t testing.TB) (netns.NsHandle, *netlink.Handle) {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(); ns.Close() })
	for _, scope := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/accept_dad", []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	lo, err := h.LinkByName("lo")
	must(t, err)
	must(t, h.LinkSetUp(lo))
	return ns, h
}

func (w *world) addVeth(name string, near, far netns.NsHandle) {
	w.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Namespace = name, 1500, netlink.NsFd(near)
	must(w.t, w.near.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far-" + name, PeerNamespace: netlink.NsFd(far)}))
	l := w.link(name)
	w.index[name] = l.Attrs().Index
	w.mac[name] = [6]byte(l.Attrs().HardwareAddr)
	must(w.t, w.near.LinkSetUp(l))
	peer, err := w.far.LinkByName("far-" + name)
	must(w.t, err)
	must(w.t, w.far.LinkSetUp(peer))
}

func (w *world) link(name string) netlink.Link {
	w.t.Helper()
	l, err := w.near.LinkByName(name)
	must(w.t, err)
	return l
}

func (w *world) addr(h *netlink.Handle, name, cidr string) {
	w.t.Helper()
	l, err := h.LinkByName(name)
	must(w.t, err)
	a, err := netlink.ParseAddr(cidr)
	must(w.t, err)
	must(w.t, h.AddrAdd(l, a))
}

// farMAC is the address of the far end of a veth.
func (w *world) farMAC(name string) [6]byte {
	w.t.Helper()
	l, err := w.far.LinkByName("far-" + name)
	must(w.t, err)
	return [6]byte(l.Attrs().HardwareAddr)
}

func (w *world) route(r netlink.Route) {
	w.t.Helper()
	must(w.t, w.near.RouteAdd(&r))
}

func (w *world) neigh(name, ip string, mac [6]byte) {
	w.t.Helper()
	must(w.t, w.near.NeighSet(&netlink.Neigh{
		LinkIndex: w.index[name], IP: net.ParseIP(ip), HardwareAddr: mac[:], State: netlink.NUD_PERMANENT,
	}))
}

// start runs a mirror; all of its ends with the test.
func (w *world) start() *fib.Mirror {
	w.t.Helper()
	m, err := fib.New(w.ports)
	must(w.t, err)
	must(w.t, m.Sync(w.t.Context()))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
		if err := m.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	})
	w.mirror = m
	return m
}

// eventually waits for the table to say so, far longer than it should take.
func (w *world) eventually(what string, ok func(*fib.Table) bool) {
	w.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok(w.mirror.Table()) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) eventuallyKind(addr string, want fib.Kind) {
	w.t.Helper()
	w.eventually(addr+" is "+want.String(), func(t *fib.Table) bool {
		a := t.Lookup(netip.MustParseAddr(addr))
		return a != nil && a.Kind == want
	})
}

func cidr(s string) *net.IPNet {
	p := netip.MustParsePrefix(s)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEachKind(t *testing.T) {
	w := newWorld(t)
	for _, a := range [][2]string{{"p0", "192.0.2.6/24"}, {"p0", "2001:db8:0:1::6/64"}, {"p1", "10.6.6.1/24"}, {"x0", "172.16.0.1/24"}} {
		w.addr(w.near, a[0], a[1])
	}
	gateway, host := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	w.neigh("p0", "192.0.2.1", gateway)
	w.neigh("p0", "2001:db8:0:1::1", gateway)
	w.neigh("p1", "10.6.6.6", host)
	w.neigh("x0", "172.16.0.9", host)
	w.neigh("p0", "10.6.6.77", gateway) // not where its route leads
	p0, p1 := w.index["p0"], w.index["p1"]
	w.route(netlink.Route{Dst: cidr("0.0.0.0/0"), Gw: net.ParseIP("192.0.2.1"), MTU: 1400})
	w.route(netlink.Route{Dst: cidr("::/0"), Gw: net.ParseIP("2001:db8:0:1::1")})
	w.route(netlink.Route{Dst: cidr("10.50.0.0/16"), Gw: net.ParseIP("192.0.2.77")}) // nobody answers
	w.route(netlink.Route{Dst: cidr("10.51.0.0/16"), Gw: net.ParseIP("172.16.0.9")})
	w.route(netlink.Route{Dst: cidr("10.60.0.0/16"), Type: unix.RTN_BLACKHOLE})
	w.route(netlink.Route{Dst: cidr("10.61.0.0/16"), Type: unix.RTN_UNREACHABLE})
	w.route(netlink.Route{Dst: cidr("10.62.0.0/16"), Type: unix.RTN_PROHIBIT})
	w.route(netlink.Route{Dst: cidr("10.62.1.0/24"), Type: unix.RTN_THROW})
	w.route(netlink.Route{Dst: cidr("10.63.0.0/16"), LinkIndex: p0, Table: 220})
	w.route(netlink.Route{Dst: cidr("10.64.0.0/16"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: w.index["x0"], Gw: net.ParseIP("172.16.0.9")}, {LinkIndex: p1, Gw: net.ParseIP("10.6.6.6")}}})
	w.route(netlink.Route{Dst: cidr("10.65.0.0/16"), Gw: net.ParseIP("192.0.2.1"), Tos: 16})
	w.route(netlink.Route{Dst: cidr("10.66.0.0/16"), Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("2001:db8:0:1::1")}, LinkIndex: p0})
	m := w.start()
	w.eventuallyKind("2001:db8:0:1::6", fib.Local) // the kernel takes a moment

	out := fib.Adjacency{Kind: fib.Direct, SrcMAC: w.mac["p0"], DstMAC: gateway, Port: 0, Ifindex: p0, MTU: 1500}
	out1400 := out
	out1400.MTU = 1400
	in := fib.Adjacency{Kind: fib.Direct, SrcMAC: w.mac["p1"], DstMAC: host, Port: 1, Ifindex: p1, MTU: 1500}
	drop := func(k fib.Kind) fib.Adjacency { return fib.Adjacency{Kind: k, Port: fib.NoPort} }
	waiting := fib.Adjacency{Kind: fib.Kernel, Port: 0, Ifindex: p0, MTU: 1500}
	noPort := fib.Adjacency{Kind: fib.Kernel, Port: fib.NoPort, Ifindex: w.index["x0"], MTU: 1500}
	for _, c := range []struct {
		name, addr string
		want       fib.Adjacency
	}{
		{"gateway route with an MTU", "198.51.100.1", out1400},
		{"IPv6 gateway route", "2001:db8:ffff::1", out},
		{"the gateway itself", "192.0.2.1", out},
		{"on-link neighbour", "10.6.6.6", in},
		{"on-link, unresolved", "192.0.2.200", waiting},
		{"neighbour on another interface than its route", "10.6.6.77", fib.Adjacency{Kind: fib.Kernel, Port: 1, Ifindex: p1, MTU: 1500}},
		{"gateway unresolved", "10.50.1.1", waiting},
		{"gateway on an interface that is no port", "10.51.1.1", noPort},
		{"neighbour on an interface that is no port", "172.16.0.9", noPort},
		{"own address", "10.6.6.1", drop(fib.Local)},
		{"own IPv6 address", "2001:db8:0:1::6", drop(fib.Local)},
		{"loopback", "127.1.2.3", drop(fib.Local)},
		{"subnet broadcast", "10.6.6.255", drop(fib.Kernel)},
		{"limited broadcast", "255.255.255.255", drop(fib.Kernel)},
		{"multicast", "224.0.0.18", drop(fib.Kernel)},
		{"IPv6 multicast", "ff02::1", drop(fib.Kernel)},
		{"IPv6 link-local", "fe80::1", drop(fib.Kernel)},
		{"blackhole", "10.60.0.1", drop(fib.Blackhole)},
		{"unreachable", "10.61.0.1", drop(fib.Unreachable)},
		{"prohibit", "10.62.0.1", drop(fib.Prohibit)},
		{"throw", "10.62.1.1", drop(fib.Kernel)},
		{"table 220 is not ours to follow", "10.63.0.1", out1400},
		{"first usable next hop", "10.64.0.1", in},
		{"a route for one TOS is the kernel's", "10.65.0.1", drop(fib.Kernel)},
		{"IPv4 by an IPv6 next hop (RFC 5549)", "10.66.0.1", out},
		{"IPv4-mapped is IPv6", "::ffff:10.6.6.6", out},
	} {
		got := m.Table().Lookup(netip.MustParseAddr(c.addr))
		if got == nil || *got != c.want {
			t.Errorf("%s: %s\n got %+v\nwant %+v", c.name, c.addr, got, c.want)
		}
	}
	if got, want := m.Table().Port(1), (fib.PortState{MAC: w.mac["p1"], MTU: 1500, Up: true}); got != want {
		t.Errorf("port 1: got %+v want %+v", got, want)
	}
}

func TestNoRouteIsNil(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	m := w.start()
	if got := m.Table().Lookup(netip.MustParseAddr("198.51.100.1")); got != nil {
		t.Errorf("got %+v", got)
	}
	if got := new(fib.Table).Lookup(netip.MustParseAddr("198.51.100.1")); got != nil {
		t.Errorf("zero table: got %+v", got)
	}
}

func TestLocalRouteBeatsLongerMainRoute(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	lo := w.link("lo").Attrs().Index
	w.route(netlink.Route{Dst: cidr("10.0.0.0/8"), LinkIndex: lo, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: unix.RT_SCOPE_HOST})
	w.route(netlink.Route{Dst: cidr("10.1.0.0/16"), Gw: net.ParseIP("192.0.2.1")})
	m := w.start()
	if got := m.Table().Lookup(netip.MustParseAddr("10.1.2.3")); got == nil || got.Kind != fib.Local {
		t.Errorf("got %+v, want local", got)
	}
}
