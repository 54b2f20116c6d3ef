package fib_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spindle/datapath/fib"
)

func TestFollowsChanges(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.eventually("the address is known", func(t *fib.Table) bool {
		return slices.Contains(t.LocalAddrs(), netip.MustParseAddr("192.0.2.6"))
	})
	select {
	case <-m.Changes():
	case <-time.After(5 * time.Second):
		t.Error("no change was announced")
	}
	w.eventuallyKind("192.0.2.6", fib.Local)
	w.eventuallyKind("192.0.2.9", fib.Kernel)

	w.neigh("p0", "192.0.2.9", [6]byte{2, 0, 0, 0, 0, 9})
	w.eventuallyKind("192.0.2.9", fib.Direct)
	w.route(netlink.Route{Dst: cidr("10.8.8.0/24"), Gw: net.ParseIP("192.0.2.9")})
	w.eventuallyKind("10.8.8.8", fib.Direct)

	w.neigh("p0", "192.0.2.9", [6]byte{2, 0, 0, 0, 0, 10})
	w.eventually("the gateway's new MAC", func(t *fib.Table) bool {
		return t.Lookup(netip.MustParseAddr("10.8.8.8")).DstMAC[5] == 10
	})
	must(t, w.near.LinkSetMTU(w.link("p0"), 1450))
	w.eventually("the new MTU", func(t *fib.Table) bool {
		return t.Lookup(netip.MustParseAddr("10.8.8.8")).MTU == 1450 && t.Port(0).MTU == 1450
	})
	mac := [6]byte{2, 0, 0, 0, 0, 66}
	must(t, w.near.LinkSetHardwareAddr(w.link("p0"), mac[:]))
	w.neigh("p0", "192.0.2.9", [6]byte{2, 0, 0, 0, 0, 10}) // the kernel forgot them all
	w.eventually("the port's new MAC", func(t *fib.Table) bool {
		a := t.Lookup(netip.MustParseAddr("10.8.8.8"))
		return a != nil && a.SrcMAC == mac && t.Port(0).MAC == mac
	})

	must(t, w.near.LinkSetDown(w.link("p0")))
	w.eventually("nothing is left of the port that is down", func(t *fib.Table) bool {
		return t.Lookup(netip.MustParseAddr("10.8.8.8")) == nil && !t.Port(0).Up
	})
}

func TestLostCarrierIsNotSentTo(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.neigh("p0", "192.0.2.9", [6]byte{2, 0, 0, 0, 0, 9})
	w.start()
	w.eventuallyKind("192.0.2.9", fib.Direct)
	peer, err := w.far.LinkByName("far-p0")
	must(t, err)
	must(t, w.far.LinkSetDown(peer))
	w.eventuallyKind("192.0.2.9", fib.Kernel)
}

func TestDeletedPort(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.neigh("p0", "192.0.2.9", [6]byte{2, 0, 0, 0, 0, 9})
	w.start()
	must(t, w.near.LinkDel(w.link("p0")))
	w.eventually("the port is gone", func(t *fib.Table) bool {
		return t.Lookup(netip.MustParseAddr("192.0.2.9")) == nil && t.Port(0) == fib.PortState{} && len(t.LocalAddrs()) > 0
	})
}

func (w *world) neighbour(ip string) *netlink.Neigh {
	w.t.Helper()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := w.near.NeighList(w.index["p0"], family)
		must(w.t, err)
		for i := range list {
			if list[i].IP.Equal(net.ParseIP(ip)) {
				return &list[i]
			}
		}
	}
	return nil
}

// Nobody sends to the gateways: the mirror alone has them resolved, kept so,
// and given back at the end.
func TestGatewaysAreResolvedAndReleased(t *testing.T) {
	w := newWorld(t)
	gateways := map[string]string{"192.0.2.1": "198.51.100.1", "2001:db8:0:1::1": "2001:db8:ffff::1"}
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.addr(w.near, "p0", "2001:db8:0:1::6/64")
	w.addr(w.far, "far-p0", "192.0.2.1/24")
	w.addr(w.far, "far-p0", "2001:db8:0:1::1/64")
	w.route(netlink.Route{Dst: cidr("0.0.0.0/0"), Gw: net.ParseIP("192.0.2.1")})
	w.route(netlink.Route{Dst: cidr("::/0"), Gw: net.ParseIP("2001:db8:0:1::1")})
	w.route(netlink.Route{Dst: cidr("10.50.0.0/16"), Gw: net.ParseIP("192.0.2.77")})

	m, err := fib.New(w.ports)
	must(t, err)
	must(t, m.Sync(t.Context()))
	w.mirror = m
	for gateway, beyond := range gateways {
		w.eventually(gateway+" is resolved", func(*fib.Table) bool {
			must(t, m.Sync(t.Context()))
			a := m.Table().Lookup(netip.MustParseAddr(beyond))
			return a.Kind == fib.Direct && a.DstMAC == w.farMAC("p0")
		})
		if n := w.neighbour(gateway); n == nil || n.FlagsExt&netlink.NTF_EXT_MANAGED == 0 {
			t.Errorf("%s is not kept resolved: %+v", gateway, n)
		}
	}
	must(t, m.Close())
	must(t, m.Close())
	for gateway := range gateways {
		if n := w.neighbour(gateway); n == nil || n.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
			t.Errorf("%s is still managed after Close: %+v", gateway, n)
		}
	}
	if n := w.neighbour("192.0.2.77"); n != nil && n.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
		t.Errorf("unresolved gateway is still managed after Close: %+v", n)
	}
}

// A flush of the neighbours, as `ip neigh flush` does, heals by itself.
func TestFlushedGatewayComesBack(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.addr(w.far, "far-p0", "192.0.2.1/24")
	w.route(netlink.Route{Dst: cidr("0.0.0.0/0"), Gw: net.ParseIP("192.0.2.1")})
	w.start()
	w.eventuallyKind("198.51.100.1", fib.Direct)
	must(t, w.near.NeighDel(&netlink.Neigh{LinkIndex: w.index["p0"], IP: net.ParseIP("192.0.2.1")}))
	w.eventuallyKind("198.51.100.1", fib.Direct)
	w.eventually("managed again", func(*fib.Table) bool {
		n := w.neighbour("192.0.2.1")
		return n != nil && n.FlagsExt&netlink.NTF_EXT_MANAGED != 0
	})
}

func TestPermanentNeighbourStaysPermanent(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.neigh("p0", "192.0.2.1", [6]byte{2, 0, 0, 0, 0, 1})
	w.route(netlink.Route{Dst: cidr("0.0.0.0/0"), Gw: net.ParseIP("192.0.2.1")})
	w.start()
	w.eventuallyKind("198.51.100.1", fib.Direct)
	if n := w.neighbour("192.0.2.1"); n == nil || n.State != netlink.NUD_PERMANENT {
		t.Errorf("got %+v", n)
	}
}

// More events than the socket buffer holds: the kernel answers ENOBUFS, and a
// dump makes good for what was lost.
func TestLostEvents(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	m, err := fib.New(w.ports)
	must(t, err)
	w.mirror = m
	must(t, m.Shrink()) // see export_test.go
	for i := range 400 {
		w.neigh("p0", netip.AddrFrom4([4]byte{192, 0, 2, byte(i%200 + 10)}).String(), [6]byte{2, 0, 0, 0, byte(i / 200), byte(i)})
	}
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context()) }()
	w.eventually("all neighbours are known", func(t *fib.Table) bool {
		for i := range 200 {
			if a := t.Lookup(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 10)})); a == nil || a.Kind != fib.Direct || a.DstMAC[4] != 1 {
				return false
			}
		}
		return true
	})
	w.eventually("the loss was noticed", func(*fib.Table) bool { return m.Lost() > 0 })
}

func TestLookupDoesNotAllocate(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.addr(w.near, "p0", "2001:db8:0:1::6/64")
	table := w.start().Table()
	v4, v6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8:0:1::9")
	if n := testing.AllocsPerRun(100, func() { table.Lookup(v4); table.Lookup(v6) }); n != 0 {
		t.Errorf("%v allocations per lookup", n)
	}
}
