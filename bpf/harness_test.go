package bpf_test

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/asavie/xdp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spindle/bpf"
)

const (
	loopback = 1 // ifindex, in every network namespace
	portRow  = 2
)

// isolate moves the test to a network namespace of its own that vanishes with
// the test's thread, and to one CPU, so that one token bucket is in play.
func isolate(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads an XDP program")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	var one unix.CPUSet
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByIndex(loopback)
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func load(t testing.TB, opts bpf.Options) *bpf.Steer {
	t.Helper()
	s, err := bpf.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gateway is a program with the running example's tables whose only port is the
// loopback interface, with both roles.
func gateway(t testing.TB, opts bpf.Options) *bpf.Steer {
	t.Helper()
	s := load(t, opts)
	fill(t, s)
	check(t, s.Configure(loopback, bpf.PortConfig{Index: portRow, Role: bpf.Outside | bpf.Inside, MAC: ourMAC}))
	return s
}

func fill(t testing.TB, s *bpf.Steer) {
	t.Helper()
	check(t, s.SetLocalAddrs([]netip.Addr{local4, local6, host4, host6}))
	check(t, s.AddSPI(knownSPI))
	check(t, s.AddPrefix(prefix4))
	check(t, s.AddPrefix(prefix6))
	for _, p := range []netip.Prefix{home4, home6, ownHome} {
		check(t, s.AddHome(p))
	}
}

// generous budgets never run dry within a test.
var generous = bpf.Options{
	IKE:        bpf.Budget{Rate: 1e9, Burst: 1e9},
	UnknownSPI: bpf.Budget{Rate: 1e9, Burst: 1e9},
}

// bind opens a real AF_XDP socket; test runs find it but send it nothing.
func bind(t testing.TB, s *bpf.Steer, ifindex, row, queue int) *xdp.Socket {
	t.Helper()
	xsk, err := xdp.NewSocket(ifindex, queue, &xdp.SocketOptions{
		NumFrames: 64, FrameSize: 2048, FillRingNumDescs: 64, CompletionRingNumDescs: 64,
		RxRingNumDescs: 64, TxRingNumDescs: 64})
	check(t, err)
	t.Cleanup(func() { xsk.Close() })
	check(t, s.RegisterSocket(row, queue, xsk.FD()))
	return xsk
}

// steer runs one frame and returns the action and the reason that was counted.
func steer(t testing.TB, s *bpf.Steer, frame []byte) (uint32, bpf.Reason) {
	t.Helper()
	return steerFrom(t, s, frame, 0, 0)
}

func steerFrom(t testing.TB, s *bpf.Steer, frame []byte, ifindex, queue int) (uint32, bpf.Reason) {
	t.Helper()
	before := totals(t, s)
	action, err := s.Run(frame, ifindex, queue)
	check(t, err)
	after := totals(t, s)
	var counted []bpf.Reason
	for r := range after {
		if after[r] != before[r] {
			counted = append(counted, bpf.Reason(r))
		}
	}
	if len(counted) != 1 || after[counted[0]] != before[counted[0]]+1 {
		t.Fatalf("one frame must count once, counted %v", counted)
	}
	return action, counted[0]
}

func totals(t testing.TB, s *bpf.Steer) (sum [bpf.Reasons]uint64) {
	t.Helper()
	all, err := s.Counters()
	check(t, err)
	for _, c := range all {
		for r, n := range c.Frames {
			sum[r] += n
		}
	}
	return sum
}

// action is what a reason must come with.
func action(r bpf.Reason) uint32 {
	const drop, pass, redirect = 1, 2, 4
	switch {
	case r.Dropped():
		return drop
	case r.Redirected():
		return redirect
	}
	return pass
}
