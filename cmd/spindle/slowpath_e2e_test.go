package main_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// TestHostTraffic: a gateway protects addresses of its own. Its packets enter by
// spindle0 and leave through it.
func TestHostTraffic(t *testing.T) {
	b := newBed(t, "host", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		r8.LocalTS = prefixes("10.8.8.0/24", "2001:db8:8::/64")
		r6.RemoteTS = r8.LocalTS
		r6.LocalTS = prefixes("10.6.6.0/24", "2001:db8:6::/64")
		r8.RemoteTS = r6.LocalTS
	})
	r6, r8 := netip.MustParseAddr("10.6.6.1"), netip.MustParseAddr("10.8.8.1")
	b.ping(b.R8, r8, b.A4, 3) // the first packet is the gateway's own
	b.ping(b.A, b.A4, r8, 3)
	b.ping(b.R6, r6, r8, 3) // both ends are gateways
	b.ping(b.R6, netip.MustParseAddr("2001:db8:6::1"), netip.MustParseAddr("2001:db8:8::1"), 3)
	o := netlab.BulkOptions{Packets: 2000, Window: 16}
	for _, ways := range [][]stream{
		{{b.R8, b.A, r8, b.A4}, {b.A, b.R8, b.A4, r8}},
		{{b.R6, b.R8, r6, r8}, {b.R8, b.R6, r8, r6}},
	} {
		results, err := flow(t.Context(), o, ways)
		check(t, err)
		arrived(t, results)
	}
	unchosen, err := b.R8.Run(t.Context(), "ip", "-o", "route", "get", b.A4.String())
	check(t, err)
	if !strings.Contains(unchosen, "dev spindle0") || !strings.Contains(unchosen, "src 10.8.8.1") {
		t.Errorf("a packet of R8 itself to A would not be protected: %s", unchosen)
	}
	b.clean()
}

// TestOnePort: R8 has one port, in both roles. Host C is on the same wire.
func TestOnePort(t *testing.T) {
	b := newBed(t, "oneport", netlab.Options{})
	hostC, err := b.Namespace("c")
	check(t, err)
	c4 := netip.MustParseAddr("10.8.9.9")
	check(t, b.Link(netlab.End{NS: hostC, Name: "eth0", Addr: prefixes("10.8.9.9/24")}, netlab.End{NS: b.Wire, Name: "wc"}))
	for _, cmd := range []struct {
		ns   *netlab.NS
		argv string
	}{
		{b.Wire, "ip link set wc master br0"},
		{b.R8, "ip address add 10.8.9.1/24 dev out0"},
		{hostC, "ip route add default via 10.8.9.1"},
	} {
		_, err := cmd.ns.Run(t.Context(), strings.Fields(cmd.argv)...)
		check(t, err)
	}
	b.spindles(func(r6, r8 *testbed.Tunnel) {
		r6.RemoteTS = prefixes("10.8.9.9/32")
		r8.LocalTS, r8.Inside = r6.RemoteTS, "out0"
		r6.LocalTS = prefixes("10.6.6.6/32")
		r8.RemoteTS = r6.LocalTS
	})
	check(t, hostC.AwaitLink(t.Context(), "eth0"))
	b.ping(b.A, b.A4, c4, 3)
	b.ping(hostC, c4, b.A4, 3)
	results, err := flow(t.Context(), netlab.BulkOptions{Packets: 5000}, []stream{{b.A, hostC, b.A4, c4}, {hostC, b.A, c4, b.A4}})
	check(t, err)
	arrived(t, results)
	b.fast()
	b.noDrops()
}

// TestUnresolvedNeighbours: what leads to a next hop that is not resolved goes by
// the kernel, which resolves it, and no packet is lost (P3).
func TestUnresolvedNeighbours(t *testing.T) {
	b := newBed(t, "neigh", netlab.Options{}).spindles(nil)
	b.up()
	for _, flush := range []struct {
		ns   *netlab.NS
		port string
	}{{b.R8, "in0"}, {b.R6, "out0"}, {b.R6, "in0"}, {b.R8, "out0"}} {
		_, err := flush.ns.Run(t.Context(), "ip", "neigh", "flush", "dev", flush.port)
		check(t, err)
		b.ping(b.A, b.A4, b.B4, 5)
	}
	b.carry(4, netlab.BulkOptions{Packets: 1000})
	b.clean()
}

// TestFirstPacketsWait: what arrives while the SA is negotiated is kept, up to the
// bound of its queue, and sent then (P3).
func TestFirstPacketsWait(t *testing.T) {
	b := newBed(t, "first", netlab.Options{}).spindles(nil)
	results, err := flow(t.Context(), netlab.BulkOptions{Packets: 8, Window: 8}, b.ways(4)[:1])
	check(t, err)
	arrived(t, results)
	v, err := b.r6.Verdicts(t.Context())
	check(t, err)
	if v["queued"] == 0 {
		t.Errorf("no packet waited for the SA: %v", v)
	}
	b.clean()
}

// TestPacketsThatDoNotFit: with DF the source is told the exact MTU of the tunnel,
// and a packet of that size passes; without DF it is fragmented and arrives.
// ESP with AES-GCM takes 8+8+16 bytes and fills up to 4 with a trailer of 2.
func TestPacketsThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		name    string
		options netlab.Options
		encap   bool
		mtu     int
	}{
		{"IPv4", netlab.Options{}, false, (1500-20-32)/4*4 - 2},
		{"IPv6", netlab.Options{IPv6Outer: true}, false, (1500-40-32)/4*4 - 2},
		{"IPv4 in UDP", netlab.Options{}, true, (1500-28-32)/4*4 - 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "mtu", c.options).spindles(func(r6, _ *testbed.Tunnel) {
				if c.encap {
					r6.Lines = []string{"encap: force"}
				}
			})
			b.up()
			// First without DF: host A does not know the MTU yet, so R6 has to fragment.
			for _, size := range []int{1400, 1472, 4000} {
				out, err := b.A.Run(t.Context(), "ping", "-M", "dont", "-c", "3", "-i", "0.02", "-w", "5", "-s", fmt.Sprint(size), b.B4.String())
				if err != nil || !strings.Contains(out, " 0% packet loss") {
					t.Errorf("without DF: %s: %v", out, err)
				}
			}
			b.probe(b.B4, 28, c.mtu)
			b.probe(b.B6, 48, c.mtu)
			if child := b.child(b.r6); child.MTU != c.mtu {
				t.Errorf("the tunnel's MTU is shown as %d, want %d", child.MTU, c.mtu)
			}
			b.noDrops("drop_too_big") // what was answered
		})
	}
}

// probe pings host B from A with DF: a full-sized packet is answered with the MTU,
// which fits, and one byte more does not.
func (b *bed) probe(dst netip.Addr, headers, mtu int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	ping := func(size int) string {
		out, _ := b.A.Run(ctx, "ping", "-M", "do", "-c", "1", "-W", "5", "-s", fmt.Sprint(size-headers), dst.String())
		return strings.ToLower(out)
	}
	said := ping(1500)
	if !strings.Contains(said, fmt.Sprintf("mtu = %d", mtu)) && !strings.Contains(said, fmt.Sprintf("mtu=%d", mtu)) {
		b.t.Errorf("1500 bytes to %v: want MTU %d, got: %s", dst, mtu, said)
	}
	if out := ping(mtu); !strings.Contains(out, " 0% packet loss") {
		b.t.Errorf("%d bytes to %v: %s", mtu, dst, out)
	}
	if out := ping(mtu + 1); strings.Contains(out, " 0% packet loss") {
		b.t.Errorf("%d bytes to %v passed", mtu+1, dst)
	}
}

// TestMulticastOfTheHost: what the kernel of a router says into any device of its
// own accord is not counted as lost traffic.
func TestMulticastOfTheHost(t *testing.T) {
	b := newBed(t, "mld", netlab.Options{}).spindles(nil)
	check(t, b.r6.Await(t.Context(), patience, "see its kernel's MLD report", func() bool {
		v, err := b.r6.Verdicts(t.Context())
		return err == nil && v["ignored"] > 0
	}))
	b.noDrops()
}
