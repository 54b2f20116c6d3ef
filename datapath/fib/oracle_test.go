package fib_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spindle/datapath/fib"
)

// The oracle is the kernel: after random changes of routes, Lookup must agree
// with what the kernel itself answers for random destinations.
func TestAgreesWithKernel(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(7, 11))
	for i, name := range []string{"p0", "p1", "x0"} {
		w.addr(w.near, name, fmt.Sprintf("10.%d.0.1/24", i))
		w.addr(w.near, name, fmt.Sprintf("2001:db8:%d::1/64", i))
		for host := 2; host < 6; host++ { // 2..4 resolved, 5 never
			if host < 5 {
				w.neigh(name, fmt.Sprintf("10.%d.0.%d", i, host), [6]byte{2, 4, 0, 0, byte(i), byte(host)})
				w.neigh(name, fmt.Sprintf("2001:db8:%d::%d", i, host), [6]byte{2, 6, 0, 0, byte(i), byte(host)})
			}
		}
	}
	m, err := fib.New(w.ports)
	must(t, err)
	defer m.Close()
	for round := range 12 {
		for range 15 {
			w.randomRoute(rnd)
		}
		must(t, m.Sync(t.Context()))
		for range 60 {
			dst := randomAddr(rnd)
			if w.agree(m.Table(), dst) == nil {
				continue
			}
			// An IPv6 address becomes local a moment after it was added.
			must(t, m.Sync(t.Context()))
			if err := w.agree(m.Table(), dst); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
}

func randomAddr(rnd *rand.Rand) netip.Addr {
	if rnd.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(rnd.IntN(4)), byte(rnd.IntN(3)), byte(rnd.IntN(8))})
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::%x", rnd.IntN(4), rnd.IntN(3), rnd.IntN(8)))
}

// randomRoute adds, replaces or deletes one; what the kernel refuses is no matter.
func (w *world) randomRoute(rnd *rand.Rand) {
	dst := randomAddr(rnd)
	bits := []int{0, 8, 14, 16, 22, 24, 30, 32}[rnd.IntN(8)]
	if dst.Is6() {
		bits = []int{0, 32, 47, 48, 63, 64, 125, 128}[rnd.IntN(8)]
	}
	r := netlink.Route{Dst: cidr(netip.PrefixFrom(dst, bits).Masked().String()), Priority: 10 + rnd.IntN(3)}
	port := rnd.IntN(3)
	gateway := net.ParseIP(fmt.Sprintf("10.%d.0.%d", port, 2+rnd.IntN(4)))
	if dst.Is6() {
		gateway = net.ParseIP(fmt.Sprintf("2001:db8:%d::%d", port, 2+rnd.IntN(4)))
	}
	switch rnd.IntN(8) {
	case 0:
		r.Type = unix.RTN_BLACKHOLE
	case 1:
		r.Type = unix.RTN_UNREACHABLE
	case 2:
		r.Type = unix.RTN_PROHIBIT
	case 3:
		r.LinkIndex = w.index[[]string{"p0", "p1", "x0"}[port]]
		r.Scope = netlink.SCOPE_LINK
	default:
		r.Gw = gateway
		if rnd.IntN(3) == 0 {
			r.MTU = 1300 + rnd.IntN(100)
		}
	}
	switch rnd.IntN(4) {
	case 0:
		_ = w.near.RouteDel(&r)
	case 1:
		_ = w.near.RouteReplace(&r)
	default:
		_ = w.near.RouteAdd(&r)
	}
}

// agree compares one lookup with the kernel's answer.
func (w *world) agree(table *fib.Table, dst netip.Addr) error {
	got := table.Lookup(dst)
	routes, err := w.near.RouteGet(dst.AsSlice())
	refusals := map[error]fib.Kind{unix.EHOSTUNREACH: fib.Unreachable, unix.EACCES: fib.Prohibit, unix.EINVAL: fib.Blackhole}
	for errno, kind := range refusals {
		if errors.Is(err, errno) {
			if got == nil || got.Kind != kind {
				return fmt.Errorf("%s: got %+v, kernel refuses: %w", dst, got, err)
			}
			return nil
		}
	}
	if errors.Is(err, unix.ENETUNREACH) {
		if got != nil {
			return fmt.Errorf("%s: got %+v, kernel has no route", dst, got)
		}
		return nil
	}
	if err != nil || len(routes) != 1 || got == nil {
		return fmt.Errorf("%s: got %+v, kernel %v: %w", dst, got, routes, err)
	}
	return w.sameRoute(got, dst, routes[0])
}

func (w *world) sameRoute(got *fib.Adjacency, dst netip.Addr, r netlink.Route) error {
	fail := fmt.Errorf("%s: got %+v, kernel %v", dst, got, r)
	switch r.Type {
	case unix.RTN_LOCAL:
		if got.Kind != fib.Local {
			return fail
		}
		return nil
	case unix.RTN_UNICAST:
	default: // broadcast, anycast
		if got.Kind != fib.Kernel {
			return fail
		}
		return nil
	}
	if got.Ifindex != r.LinkIndex || (r.MTU != 0 && got.MTU != r.MTU) {
		return fail
	}
	next := dst
	if r.Gw != nil {
		next, _ = netip.AddrFromSlice(r.Gw)
		next = next.Unmap()
	}
	resolved, mac := w.resolves(next, r.LinkIndex)
	if !resolved && got.Kind != fib.Kernel || resolved && (got.Kind != fib.Direct || got.DstMAC != mac) {
		return fail
	}
	return nil
}

// resolves knows the neighbours that the test has made.
func (w *world) resolves(next netip.Addr, ifindex int) (bool, [6]byte) {
	for i, name := range []string{"p0", "p1"} {
		if w.index[name] != ifindex {
			continue
		}
		for host := 2; host < 5; host++ {
			if next == netip.MustParseAddr(fmt.Sprintf("10.%d.0.%d", i, host)) {
				return true, [6]byte{2, 4, 0, 0, byte(i), byte(host)}
			}
			if next == netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::%d", i, host)) {
				return true, [6]byte{2, 6, 0, 0, byte(i), byte(host)}
			}
		}
	}
	return false, [6]byte{}
}
