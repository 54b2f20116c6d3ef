package main_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// callers answers what comes to a port of a host, and remembers who called.
type callers struct {
	mu   sync.Mutex
	seen []netip.AddrPort
}

func (c *callers) note(a net.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, netip.MustParseAddrPort(a.String()))
}

func (c *callers) all() []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// answer serves UDP and TCP at a host until the test is over.
func answer(b *bed, ns *netlab.NS, end netip.AddrPort) (c *callers) {
	b.t.Helper()
	c = &callers{}
	check(b.t, ns.Do(func() error {
		datagrams, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(end))
		if err != nil {
			return err
		}
		streams, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(end))
		if err != nil {
			return errors.Join(err, datagrams.Close())
		}
		b.t.Cleanup(func() { datagrams.Close(); streams.Close() })
		go c.datagrams(datagrams)
		go c.streams(streams)
		return nil
	}))
	return c
}

func (c *callers) datagrams(conn *net.UDPConn) {
	for buf := make([]byte, 1<<16); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		c.note(from)
		_, _ = conn.WriteTo(buf[:n], from)
	}
}

func (c *callers) streams(l *net.TCPListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c.note(conn.RemoteAddr())
		buf := make([]byte, 64)
		n, _ := conn.Read(buf)
		_, _ = conn.Write(buf[:n])
		conn.Close()
	}
}

// call says something from a port of a host, and wants to hear it again.
func call(b *bed, ns *netlab.NS, network string, src netip.AddrPort, dst netip.AddrPort, size int) error {
	var conn net.Conn
	err := ns.Do(func() (err error) {
		d := net.Dialer{Timeout: patience, LocalAddr: net.UDPAddrFromAddrPort(src)}
		if network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(src)
		}
		conn, err = d.DialContext(b.t.Context(), network, dst.String())
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	said, heard := slices.Repeat([]byte(src.String()[:10]), size/10), make([]byte, 1<<16)
	if _, err := conn.Write(said); err != nil {
		return err
	}
	n, err := conn.Read(heard)
	if err == nil && string(heard[:n]) != string(said) {
		b.t.Errorf("%s from %v: said %d bytes, heard %d others", network, src, len(said), n)
	}
	return err
}

// behind has two hosts behind a gateway talk to the one behind its peer, who knows
// nobody but the assigned address. Both use the same port, which only the first one
// has outside: it returns what the second one has.
func behind(b *bed, assigned string) netip.AddrPort {
	t := b.t
	t.Helper()
	inside := netip.MustParseAddr(assigned)
	second := netip.MustParseAddr("10.6.6.7")
	_, err := b.A.Run(t.Context(), "ip", "addr", "add", "10.6.6.7/24", "dev", "eth0")
	check(t, err)
	port := netip.AddrPortFrom(b.B4, 7)
	c := answer(b, b.B, port)
	for _, host := range []netip.Addr{b.A4, second} {
		b.ping(b.A, host, b.B4, 3)
		for _, network := range []string{"udp", "tcp"} {
			check(t, call(b, b.A, network, netip.AddrPortFrom(host, 5000), port, 60))
		}
		check(t, call(b, b.A, "udp", netip.AddrPortFrom(host, 5001), port, 4000)) // in fragments, both ways
	}
	// An ICMP error finds who sent what it is about.
	if err := call(b, b.A, "udp", netip.AddrPortFrom(second, 5002), netip.AddrPortFrom(b.B4, 9), 60); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port without a listener: %v, want %v", err, syscall.ECONNREFUSED)
	}
	_, err = netlab.BulkTCP(t.Context(), b.A, b.B, b.A4, b.B4, 300*time.Millisecond)
	check(t, err)
	ports := map[netip.AddrPort]int{}
	seen := c.all()
	for _, from := range seen {
		if from.Addr() != inside {
			t.Errorf("the peer's host sees %v, not %v", from, inside)
		}
		ports[from]++
	}
	if len(seen) != 6 || ports[netip.AddrPortFrom(inside, 5000)] != 2 {
		t.Fatalf("called from %v", seen)
	}
	r, err := netlab.Ping(t.Context(), b.B, b.B4, inside, 3, 50*time.Millisecond, 300*time.Millisecond)
	if err != nil || r.Received != 0 {
		t.Errorf("%d answers to who asks the assigned address unasked (%v)", r.Received, err)
	}
	shown(b, assigned)
	return seen[3]
}

// shown checks what the operator sees of it.
func shown(b *bed, assigned string) {
	b.t.Helper()
	rows, err := testbed.Table[api.Translation](b.t.Context(), b.r6, api.Translations)
	check(b.t, err)
	if len(rows) != 1 {
		b.t.Fatalf("translations %+v", rows)
	}
	r := rows[0]
	if r.Conn != "r8" || r.Address != assigned || r.Bound != 16384 || r.UDP != 5 || r.TCP < 3 || r.ICMP < 2 || r.NoMapping < 3 || r.Full+r.Untranslatable != 0 || r.InUse != r.TCP+r.UDP+r.ICMP {
		b.t.Errorf("translations %+v", r)
	}
}

// TestEasyVPNClientMode: E: the hosts behind an Easy VPN client in client mode are
// one address to a strongSwan server with pool and split-include; mappings outlive
// a rekey.
func TestEasyVPNClientMode(t *testing.T) {
	t.Parallel()
	b := newBed(t, "easyclient", netlab.Options{})
	b.swan = easyServer(b, b.R8, "192.0.2.8")
	r6 := remote(b, "client", "auto", "192.0.2.8")
	r6.LocalTS = []netip.Prefix{netip.MustParsePrefix("10.6.6.0/24")}
	b.r6 = b.start(b.R6, r6.YAML())
	b.links()
	child, err := b.r6.AwaitChild(t.Context(), patience)
	check(t, err)
	ours := b.lease(b.r6, true)
	if !slices.Equal(child.LocalTS, []string{ours.Address + "/32"}) || !slices.Equal(child.RemoteTS, []string{"10.8.8.8/32"}) {
		t.Errorf("selectors %v to %v", child.LocalTS, child.RemoteTS)
	}
	if hosts(t, b.R6, ours.Address) {
		t.Errorf("%s is on the gateway, and its hosts hide behind it", ours.Address)
	}
	second := behind(b, ours.Address)
	check(t, b.swan.RekeyChild(t.Context()))
	again(b, child, second)
	b.secret()
}

// TestTranslateIKEv2: the same behind an address that strongSwan gives over IKEv2, and
// with two workers, one of which owns the mappings; the first packet of a host brings
// it up, and is not lost (P3).
func TestTranslateIKEv2(t *testing.T) {
	t.Parallel()
	b := newBed(t, "translate2", netlab.Options{Queues: 2}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		r6.Lines = append(r6.Lines, "virtual_ip: translate")
		r6.LocalTS, r6.RemoteTS = []netip.Prefix{netip.MustParsePrefix("10.6.6.0/24")}, r6.RemoteTS[:1]
		r8.RemoteTS = nil
		r8.ConnLines = []string{"pools = inside"}
		r8.Sections = []string{"pools {", "inside {", "addrs = 10.9.0.0/29", "}", "}"}
	})
	b.ping(b.A, b.A4, b.B4, 1)
	child, ours := b.child(b.r6), b.lease(b.r6, true)
	second := behind(b, ours.Address)
	handedOver(b)
	check(t, b.swan.RekeyIKE(t.Context()))
	check(t, b.swan.RekeyChild(t.Context()))
	again(b, child, second)
	b.ping(b.R6, netip.MustParseAddr("10.6.6.1"), b.B4, 1) // the gateway itself
	b.secret()
	check(t, b.r6.KillProcess("datapath")) // in whose absence the kernel forwards
	check(t, b.r6.Await(t.Context(), patience, "translate again in a new data path", func() bool {
		r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 1, 100*time.Millisecond, 100*time.Millisecond)
		rows, _ := testbed.Table[api.Translation](t.Context(), b.r6, api.Translations)
		return err == nil && r.Received == 1 && len(rows) == 1 && rows[0].ICMP > 0
	}))
}

// handedOver lets hosts talk until packets came to the worker that does not own the
// mappings: the queue follows from the ports of a flow.
func handedOver(b *bed) {
	b.t.Helper()
	for port := uint16(6000); ; port++ {
		v, err := b.r6.Verdicts(b.t.Context())
		check(b.t, err)
		if v["handed_off"] > 0 {
			return
		}
		if port == 6040 {
			b.t.Fatal("no packet changed its worker in 40 flows")
		}
		check(b.t, call(b, b.A, "udp", netip.AddrPortFrom(b.A4, port), netip.AddrPortFrom(b.B4, 7), 60))
	}
}

// again waits for the successor of a child SA, over which the second host still is
// who it was outside.
func again(b *bed, old api.ChildSA, second netip.AddrPort) {
	b.t.Helper()
	check(b.t, b.r6.Await(b.t.Context(), patience, "use a new child SA", func() bool {
		list := children(b.t, b.r6, "installed")
		return len(list) == 1 && list[0].SPIIn != old.SPIIn
	}))
	port := netip.AddrPortFrom(b.B4, 8)
	c := answer(b, b.B, port)
	check(b.t, call(b, b.A, "udp", netip.MustParseAddrPort("10.6.6.7:5000"), port, 60))
	if now := c.all(); !slices.Equal(now, []netip.AddrPort{second}) {
		b.t.Errorf("the second host was %v outside, and is %v after a rekey", second, now)
	}
}
