package fib_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"spindle/datapath/fib"
)

// BenchmarkSync10k is one dump and one new table at 10,000 routes.
func BenchmarkSync10k(b *testing.B) {
	withRoutes(b, func(m *fib.Mirror) { b.ReportAllocs(); syncLoop(b, m) })
}

// BenchmarkLookup10k is one lookup at 10,000 routes.
func BenchmarkLookup10k(b *testing.B) {
	withRoutes(b, func(m *fib.Mirror) {
		table, dst := m.Table(), netip.MustParseAddr("172.20.33.1")
		b.ReportAllocs()
		for b.Loop() {
			table.Lookup(dst)
		}
	})
}

func syncLoop(b *testing.B, m *fib.Mirror) {
	for b.Loop() {
		if err := m.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func withRoutes(b *testing.B, run func(*fib.Mirror)) {
	w := newWorld(b)
	w.addr(w.near, "p0", "192.0.2.6/24")
	w.neigh("p0", "192.0.2.1", [6]byte{2, 0, 0, 0, 0, 1})
	for i := range 10000 {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(16 + i>>8), byte(i), 0}), 24)
		w.route(netlink.Route{Dst: cidr(dst.String()), Gw: net.ParseIP("192.0.2.1")})
	}
	m, err := fib.New(w.ports)
	must(b, err)
	defer m.Close()
	must(b, m.Sync(b.Context()))
	run(m)
}
