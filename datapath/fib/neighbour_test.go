package fib_test

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"spindle/datapath/fib"
)

// impatient lets neighbours of p0 age within a second instead of a minute.
func (w *world) impatient() {
	w.t.Helper()
	for _, s := range [][2]string{
		{"neigh/p0/base_reachable_time_ms", "200"}, {"neigh/p0/delay_first_probe_time", "1"},
		{"neigh/p0/retrans_time_ms", "50"}, {"neigh/p0/interval_probe_time_ms", "200"},
	} {
		must(w.t, os.WriteFile("/proc/sys/net/ipv4/"+s[0], []byte(s[1]), 0))
	}
}

// A host that the slow path once resolved stays resolved although the kernel
// sends nothing more to it, and is dropped when it no longer answers.
func TestAdoptedNeighbour(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.addr(w.far, "far-p0", "192.0.2.9/24")
	w.impatient()
	w.start()
	conn, err := net.Dial("udp", "192.0.2.9:9") // this thread is in the near namespace
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("resolve"))
	must(t, err)
	w.eventuallyKind("192.0.2.9", fib.Direct)
	w.eventually("the kernel keeps it resolved", func(*fib.Table) bool {
		n := w.neighbour("192.0.2.9")
		return n != nil && n.FlagsExt&netlink.NTF_EXT_MANAGED != 0
	})
	aged := false
	w.eventually("it ages and is confirmed again", func(*fib.Table) bool {
		n := w.neighbour("192.0.2.9")
		aged = aged || n != nil && n.State&(netlink.NUD_STALE|netlink.NUD_DELAY) != 0
		return aged && n.State == netlink.NUD_REACHABLE
	})

	far, err := w.far.LinkByName("far-p0")
	must(t, err)
	gone, err := netlink.ParseAddr("192.0.2.9/24")
	must(t, err)
	must(t, w.far.AddrDel(far, gone))
	w.eventuallyKind("192.0.2.9", fib.Kernel)
	w.eventually("nobody asks for it any more", func(*fib.Table) bool { return w.neighbour("192.0.2.9") == nil })
}

func TestMultipathTakesTheResolvedHop(t *testing.T) {
	w := newWorld(t)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.addr(w.near, "p1", "198.51.100.6/24")
	first, second := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	w.neigh("p1", "198.51.100.1", second)
	w.route(netlink.Route{Dst: cidr("10.8.8.0/24"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: w.index["p0"], Gw: net.ParseIP("192.0.2.1")}, {LinkIndex: w.index["p1"], Gw: net.ParseIP("198.51.100.1")}}})
	w.start()
	via := func(mac [6]byte) func(*fib.Table) bool {
		return func(t *fib.Table) bool {
			a := t.Lookup(netip.MustParseAddr("10.8.8.8"))
			return a != nil && a.Kind == fib.Direct && a.DstMAC == mac
		}
	}
	w.eventually("the second, for the first is not resolved", via(second))
	w.neigh("p0", "192.0.2.1", first)
	w.eventually("the first", via(first))
	must(t, w.near.LinkSetDown(w.link("p0")))
	w.eventually("the second, for the first is down", via(second))
}
