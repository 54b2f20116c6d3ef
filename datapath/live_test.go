package datapath_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bench of two network namespaces: near is the test's own, far is its peer's. Both
// vanish with the test.
type netbed struct {
	t         testing.TB
	near, far netns.NsHandle
}

// newNetbed moves the test into a fresh namespace and connects it to another by a
// veth pair, near0 and far0, with addresses of both families and that many queues.
func newNetbed(t testing.TB, queues int) *netbed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, raw sockets and XDP")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	far, err := netns.New()
	must(t, err)
	near, err := netns.New()
	must(t, err)
	b := &netbed{t, near, far}
	t.Cleanup(func() { near.Close(); far.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues = "near0", queues, queues
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: "far0", PeerNamespace: netlink.NsFd(far),
		PeerNumRxQueues: uint32(queues), PeerNumTxQueues: uint32(queues),
	}))
	b.configure("near0", "192.0.2.1/24", "198.51.100.1/32", "2001:db8::1/64", "2001:db8:1::1/128")
	b.inFar(func() { b.configure("far0", "192.0.2.2/24", "2001:db8::2/64") })
	return b
}

// configure brings a link up with addresses that are usable at once.
func (b *netbed) configure(name string, addresses ...string) {
	b.t.Helper()
	l, err := netlink.LinkByName(name)
	must(b.t, err)
	lo, err := netlink.LinkByName("lo")
	must(b.t, err)
	must(b.t, netlink.LinkSetUp(lo))
	must(b.t, netlink.LinkSetUp(l))
	for _, a := range addresses {
		address, err := netlink.ParseAddr(a)
		must(b.t, err)
		address.Flags = unix.IFA_F_NODAD
		must(b.t, netlink.AddrAdd(l, address))
	}
}

// inFar does something in the other namespace.
func (b *netbed) inFar(do func()) {
	b.t.Helper()
	must(b.t, netns.Set(b.far))
	defer func() { must(b.t, netns.Set(b.near)) }()
	do()
}

// swallowUnmarked has the near kernel drop what is sent of a protocol without the
// gateway's mark, as the routes into the tunnel device would lead it astray.
func (b *netbed) swallowUnmarked(protocol int) {
	b.t.Helper()
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		r := netlink.NewRule()
		r.Family, r.Mark, r.Invert, r.Table, r.Priority = family, 0x5350, true, 220, 220
		r.IPProto = protocol
		must(b.t, netlink.RuleAdd(r))
		all := "0.0.0.0/0"
		if family == unix.AF_INET6 {
			all = "::/0"
		}
		dst, err := netlink.ParseIPNet(all)
		must(b.t, err)
		must(b.t, netlink.RouteAdd(&netlink.Route{Dst: dst, Table: 220, Type: unix.RTN_BLACKHOLE, Family: family}))
	}
}

// descriptors counts what this process holds of a kind, by the targets of its descriptors.
func descriptors(t testing.TB, kind string) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range list {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, kind) {
			n++
		}
	}
	return n
}

// within waits a bounded time for something.
func within[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(3 * time.Second):
		t.Fatal(fmt.Sprintf("nothing came: %s", what))
	}
	return v
}

func setSysctl(key, value string) error {
	return os.WriteFile("/proc/sys/"+key, []byte(value), 0o644)
}
