package main_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/datapath/esp"
	"spindle/tools/netlab"
)

// child is the one child SA that a gateway has installed.
func (b *bed) child(g *testbed.Gateway) api.ChildSA {
	b.t.Helper()
	list := children(b.t, g, "installed")
	if len(list) != 1 {
		b.t.Fatalf("%s has installed %+v", g.Name, list)
	}
	return list[0]
}

// behindNAT is R6 behind a router that translates, at R8.
func behindNAT(lines ...string) func(r6, r8 *testbed.Tunnel) {
	return func(r6, r8 *testbed.Tunnel) {
		r8.Remote, r8.RemoteID = netlab.NATAddr, r8.Remote
		r6.Lines, r8.Lines = lines, lines
	}
}

// TestESPMovesAlone: the NAT forgets R6, of whom R8 hears nothing but ESP from then
// on. R8 follows that (N5, RFC 7296 §2.23), also with MOBIKE (RFC 4555 §3.8).
func TestESPMovesAlone(t *testing.T) {
	for _, mobike := range []bool{false, true} {
		t.Run(fmt.Sprintf("mobike %v", mobike), func(t *testing.T) {
			b := newBed(t, fmt.Sprintf("esp%v", mobike), netlab.Options{NAT: true}).spindles(behindNAT(fmt.Sprintf("mobike: %v", mobike), "nat_keepalive: 0s"))
			b.up()
			remap(t, b.Wire)
			check(t, b.r8.Await(t.Context(), patience, "follow its peer's ESP", func() bool {
				_, _ = b.A.Run(t.Context(), "ping", "-c", "1", "-W", "1", b.B4.String()) // the answer to the first one is lost
				return strings.Contains(b.r8.Log(), "moved behind its NAT")
			}))
			b.ping(b.B, b.B4, b.A4, 5)
			after, err := flow(t.Context(), netlab.BulkOptions{Packets: 1000}, b.ways(4))
			check(t, err)
			arrived(t, after)
		})
	}
}

// TestPathNarrowerThanTheLink: a router on the way says what it takes. The tunnel
// becomes as narrow, and the source of what does not fit learns its exact MTU (N3).
func TestPathNarrowerThanTheLink(t *testing.T) {
	b := newBed(t, "path", netlab.Options{NAT: true}).spindles(behindNAT())
	b.up()
	_, err := b.Wire.Run(t.Context(), "ip", "link", "set", "w8", "mtu", "1400")
	check(t, err)
	const mtu = (1400-28-32)/4*4 - 2 // ESP in UDP, AES-GCM
	check(t, b.r6.Await(t.Context(), patience, "learn the path's MTU", func() bool {
		_, _ = b.A.Run(t.Context(), "ping", "-M", "do", "-c", "1", "-W", "1", "-s", "1380", b.B4.String())
		return b.child(b.r6).PathMTU == 1400
	}))
	if child := b.child(b.r6); child.MTU != mtu {
		t.Errorf("the tunnel's MTU is shown as %d, want %d", child.MTU, mtu)
	}
	b.probe(b.B4, 28, mtu)
	b.noDrops("drop_too_big")
}

// TestClearPacketsDoNotEnter: R8 is a mere router now and sends in the clear what
// should be protected: R6 drops and counts all of it (N4), and leaves other traffic
// alone.
func TestClearPacketsDoNotEnter(t *testing.T) {
	b := newBed(t, "clear", netlab.Options{}).spindles(nil)
	b.up()
	b.r8.Stop()
	dropped := func() uint64 {
		v, err := b.r6.Verdicts(t.Context())
		check(t, err)
		return v["drop_clear"]
	}
	var sent uint64
	for _, way := range [][2]string{{b.B4.String(), b.A4.String()}, {b.B6.String(), b.A6.String()}} {
		out, _ := b.B.Run(t.Context(), "ping", "-c", "5", "-i", "0.02", "-W", "1", "-I", way[0], way[1])
		if !strings.Contains(out, " 0 received") {
			t.Errorf("clear packets came through: %s", out)
		}
		sent += 5
		check(t, b.r6.Await(t.Context(), patience, "count clear packets", func() bool { return dropped() == sent }))
	}
	b.ping(b.R8, b.R8Addr, b.R6Addr, 3)
	// R8's address on the inside is in no policy.
	if out, err := b.R8.Run(t.Context(), "ping", "-c", "3", "-i", "0.02", "-w", "5", "-I", "10.8.8.1", b.A4.String()); err != nil || !strings.Contains(out, " 0% packet loss") {
		t.Errorf("unprotected traffic: %s: %v", out, err)
	}
	if n := dropped(); n != sent {
		t.Errorf("%d clear packets dropped, %d were sent", n, sent)
	}
}

// TestTwoQueues: two workers on ports with two queues. What arrives at the wrong one
// is handed over, and nothing is lost.
func TestTwoQueues(t *testing.T) {
	b := newBed(t, "queues", netlab.Options{Queues: 2}).spindles(nil)
	b.up()
	hand := func() (n uint64) {
		for _, g := range b.gateways() {
			v, err := g.Verdicts(t.Context())
			check(t, err)
			n += v["handed_off"]
		}
		return n
	}
	// The queue follows from the ports of a flow: some flows take the way round.
	for i := 0; i < 8 || hand() == 0; i++ {
		if i == 40 {
			t.Fatal("no packet changed its worker in 40 flows")
		}
		b.carry(4, netlab.BulkOptions{Packets: 1000})
	}
	b.carry(6, tenThousand)
	b.clean()
	rows, err := testbed.Table[api.Worker](t.Context(), b.r6, api.Workers)
	check(t, err)
	crypto, err := esp.NewCrypto(os.Getenv("SPINDLE_CRYPTO"))
	check(t, err)
	for _, row := range rows {
		if row.Crypto != crypto.String() {
			t.Errorf("worker %d: AES-GCM by %q, want %v", row.Worker, row.Crypto, crypto)
		}
	}
}

// TestQueuesChange: `ethtool -L` under a running gateway. It opens its ports anew
// with as many workers, and its SAs carry on.
func TestQueuesChange(t *testing.T) {
	b := newBed(t, "ethtool", netlab.Options{Queues: 2})
	channels := func(ns *netlab.NS, name string, n int) {
		t.Helper()
		_, err := ns.Run(t.Context(), "ethtool", "-L", name, "rx", fmt.Sprint(n), "tx", fmt.Sprint(n))
		check(t, err)
	}
	// XDP on a veth wants no more queues at its peer.
	for _, p := range []struct {
		ns   *netlab.NS
		name string
	}{{b.A, "eth0"}, {b.Wire, "w6"}, {b.R6, "in0"}, {b.R6, "out0"}} {
		channels(p.ns, p.name, 1)
	}
	b.spindles(nil)
	b.up()
	before := b.child(b.r6)
	workers := func() int {
		rows, err := testbed.Table[api.Worker](t.Context(), b.r6, api.Workers)
		if err != nil {
			return 0
		}
		return len(rows)
	}
	if n := workers(); n != 1 {
		t.Fatalf("%d workers on ports with one queue", n)
	}
	channels(b.R6, "in0", 2)
	channels(b.R6, "out0", 2)
	check(t, b.r6.Await(t.Context(), patience, "open its ports anew", func() bool { return workers() == 2 }))
	b.links()
	check(t, b.r6.Await(t.Context(), patience, "replace the SA whose replay window is lost", func() bool {
		now := children(t, b.r6, "installed")
		return len(now) == 1 && now[0].SPIIn != before.SPIIn
	}))
	channels(b.A, "eth0", 2)
	channels(b.Wire, "w6", 2)
	results, err := flow(t.Context(), netlab.BulkOptions{Packets: 3000}, append(b.ways(4), b.ways(6)...))
	check(t, err)
	arrived(t, results)
	rows, err := testbed.Table[api.IKESA](t.Context(), b.r6, api.IKESAs)
	check(t, err)
	if len(rows) != 1 {
		t.Errorf("IKE SAs: %+v", rows)
	}
	b.secret()
}
