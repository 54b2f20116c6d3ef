package main_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// hybridThenClassical is how a connection begins that names no proposals.
const hybridThenClassical = "aes256gcm16-prfsha384-x25519-ke1_mlkem768, aes128gcm16-prfsha256-x25519"

// ikeSuite is what the only IKE SA of a gateway was agreed on.
func ikeSuite(t *testing.T, g *testbed.Gateway) string {
	t.Helper()
	rows, err := testbed.Table[api.IKESA](t.Context(), g, api.IKESAs)
	check(t, err)
	if len(rows) != 1 {
		t.Fatalf("%s shows %d IKE SAs: %+v", g.Name, len(rows), rows)
	}
	return rows[0].Suite
}

// TestHybridKeyExchange: two gateways of ours add ML-KEM; its public values do
// not fit in a packet of 1280 octets, and yet IP fragments nothing.
func TestHybridKeyExchange(t *testing.T) {
	const suite = "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"
	b := newBed(t, "hybrid", netlab.Options{MTU: 1280}).spindles(func(r6, r8 *testbed.Tunnel) { r6.IKE, r8.IKE = suite, suite })
	b.up()
	if got := ikeSuite(t, b.r6); got != suite {
		t.Errorf("agreed on %s, want %s", got, suite)
	}
	b.carry(4, netlab.BulkOptions{Packets: 500, Size: 600})
	b.clean()
	if log := b.r6.Log(); !strings.Contains(log, "IKE_INTERMEDIATE request 1") {
		t.Error("no IKE_INTERMEDIATE in the log")
	}
}

// TestHybridFallsBack: strongSwan 5.9 knows no additional key exchange.
func TestHybridFallsBack(t *testing.T) {
	for _, who := range []string{"initiator", "responder"} {
		t.Run("as "+who, func(t *testing.T) {
			b := newBed(t, "fallback-"+who, netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, _ *netlab.StrongSwanConfig) {
				r6.IKE = hybridThenClassical
			})
			if who == "responder" {
				_, err := b.swan.Initiate(t.Context())
				check(t, err)
			}
			b.up()
			if got := ikeSuite(t, b.r6); got != "aes128gcm16-prfsha256-x25519" {
				t.Errorf("agreed on %s", got)
			}
			b.carry(4, netlab.BulkOptions{Packets: 500})
			b.clean()
		})
	}
}

// manySuites make a proposal that needs several fragments.
const manySuites = "aes128gcm16, aes256gcm16, aes128gcm12, aes256gcm12, aes128gcm8, aes256gcm8, chacha20poly1305, " +
	"aes128-sha256, aes256-sha256, aes128-sha384, aes256-sha384, aes128-sha512, aes256-sha512"

// TestFragmentationWithStrongSwan: each end cuts what it sends, and takes what
// the other has cut.
func TestFragmentationWithStrongSwan(t *testing.T) {
	for _, who := range []string{"initiator", "responder"} {
		t.Run("as "+who, func(t *testing.T) {
			b := newBed(t, "cut-"+who, netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				r6.ESP = manySuites
				r6.Lines = append(r6.Lines, "fragment_size: 256")
				r8.ESP = strings.ReplaceAll(manySuites, ", ", ",")
				r8.ConnLines = append(r8.ConnLines, "fragmentation = yes")
				r8.ExtraLines = append(r8.ExtraLines, "fragment_size = 300")
				r8.LogLevel = 2
			})
			if who == "responder" {
				_, err := b.swan.Initiate(t.Context())
				check(t, err)
			}
			b.up()
			words := "received fragment" // of our request
			if who == "responder" {
				words = "splitting IKE message" // its request; ours is answered in one
			}
			if !strings.Contains(b.swan.Log(), words) {
				t.Errorf("strongSwan's log has no %q", words)
			}
			b.carry(4, netlab.BulkOptions{Packets: 500})
			b.clean()
		})
	}
}

// move gives a namespace another outside address and takes away the first.
func move(t *testing.T, ns *netlab.NS, from, to netip.Addr) {
	t.Helper()
	for _, words := range []string{"addr add " + to.String() + "/24 dev out0", "addr del " + from.String() + "/24 dev out0"} {
		_, err := ns.Run(t.Context(), append([]string{"ip"}, strings.Fields(words)...)...)
		check(t, err)
	}
}

// TestMobike: an end of a tunnel moves to another address under traffic
// (RFC 4555). What is under way at that moment may be lost, nothing after it.
func TestMobike(t *testing.T) {
	r6, r8 := netip.MustParseAddr("192.0.2.66"), netip.MustParseAddr("192.0.2.88")
	mobile := []string{"mobike: true"} // between static peers it is off by itself
	t.Run("ours moves, strongSwan stays", func(t *testing.T) {
		b := newBed(t, "mobike-ours", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, _ *netlab.StrongSwanConfig) { r6.Lines = mobile })
		b.up()
		b.moves(b.R6, b.R6Addr, r6)
	})
	t.Run("strongSwan moves, ours stays", func(t *testing.T) {
		b := newBed(t, "mobike-swan", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, _ *netlab.StrongSwanConfig) { r6.Lines = mobile })
		_, err := b.swan.Initiate(t.Context())
		check(t, err)
		b.up()
		b.moves(b.R8, b.R8Addr, r8)
	})
	t.Run("between ours", func(t *testing.T) {
		b := newBed(t, "mobike", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) { r6.Lines, r8.Lines = mobile, mobile })
		b.up()
		b.moves(b.R6, b.R6Addr, r6)
		b.moves(b.R6, r6, b.R6Addr)
	})
}

// moves changes the address of one end under traffic, waits until ours knows,
// and then wants every packet.
func (b *bed) moves(ns *netlab.NS, from, to netip.Addr) {
	b.t.Helper()
	check(b.t, ns.Sysctl("net/ipv4/conf/out0/promote_secondaries", "1"))
	before := children(b.t, b.r6, "installed")
	moved := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { defer close(moved); move(b.t, ns, from, to) })
	during, err := flow(b.t.Context(), netlab.BulkOptions{Duration: 2 * time.Second, Rate: 500}, b.ways(4))
	check(b.t, err)
	<-moved
	for _, r := range during {
		if r.Received*10 < r.Sent*7 {
			b.t.Errorf("too much lost while the address changed: %+v", r)
		}
	}
	err = b.r6.Await(b.t.Context(), patience, "move its child SA", func() bool {
		now := children(b.t, b.r6, "installed")
		// strongSwan's userland ESP cannot be moved: it is rekeyed instead.
		same := b.swan != nil || len(now) == 1 && now[0].SPIIn == before[0].SPIIn
		return len(now) == 1 && same && !at(now[0], from)
	})
	check(b.t, err)
	if now := children(b.t, b.r6, "installed"); b.swan == nil && !at(now[0], to) {
		b.t.Errorf("child SA is neither at %v nor at %v: %+v", from, to, now[0])
	}
	after, err := flow(b.t.Context(), netlab.BulkOptions{Packets: 1000}, b.ways(4))
	check(b.t, err)
	arrived(b.t, after)
}

// at reports whether an end of a child SA has that address. Which of its others
// strongSwan takes, IPv6 ones as well, is its own choice.
func at(c api.ChildSA, addr netip.Addr) bool {
	for _, end := range []string{c.Local, c.Remote} {
		if p, err := netip.ParseAddrPort(end); err == nil && p.Addr() == addr {
			return true
		}
	}
	return false
}

// TestNATMappingChanges: the NAT forgets R6 and gives it another port. R8
// follows as soon as R6 says anything (N5, RFC 7296 §2.23).
func TestNATMappingChanges(t *testing.T) {
	b := newBed(t, "remap", netlab.Options{NAT: true}).spindles(func(r6, r8 *testbed.Tunnel) {
		r8.Remote, r8.RemoteID = netlab.NATAddr, r8.Remote
		r6.Lines, r8.Lines = []string{"mobike: false"}, []string{"mobike: false"}
		r6.ChildLines = short
	})
	b.up()
	remap(t, b.Wire)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := b.r8.Await(ctx, patience, "follow its peer", func() bool {
		return strings.Contains(b.r8.Log(), "peer moved behind its NAT")
	})
	check(t, err)
	b.ping(b.B, b.B4, b.A4, 5)
	after, err := flow(t.Context(), netlab.BulkOptions{Packets: 1000}, b.ways(4))
	check(t, err)
	arrived(t, after)
}

// TestNATKeepalive: the gateway behind a NAT keeps its mapping alive while it is
// silent, and only then (T3, RFC 3948 §4).
func TestNATKeepalive(t *testing.T) {
	b := newBed(t, "keepalive", netlab.Options{NAT: true}).spindles(func(r6, r8 *testbed.Tunnel) {
		r8.Remote, r8.RemoteID = netlab.NATAddr, r8.Remote
		r6.Lines = []string{"nat_keepalive: 1s"}
	})
	b.up()
	keepalives := func() uint64 {
		counts, err := b.wire.Read()
		check(t, err)
		return counts.Keepalive.Frames
	}
	b.carry(4, netlab.BulkOptions{Duration: 2500 * time.Millisecond, Rate: 200})
	if n := keepalives(); n != 0 {
		t.Errorf("%d keepalives under traffic", n)
	}
	err := b.r6.Await(t.Context(), patience, "send keepalives", func() bool { return keepalives() >= 2 })
	check(t, err)
}

// remap makes a router translate to other ports from now on, and forget what it
// knew: in another zone of connection tracking nothing is known.
func remap(t *testing.T, router *netlab.NS) {
	t.Helper()
	const rules = "flush chain ip nat out; add rule ip nat out oifname w8 meta l4proto udp masquerade to :30000-30100; " +
		"add chain ip nat forget { type filter hook prerouting priority raw; }; add rule ip nat forget ct zone set 7"
	_, err := router.Run(t.Context(), "nft", rules)
	check(t, err)
}
