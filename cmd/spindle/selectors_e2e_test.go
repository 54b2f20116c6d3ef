package main_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// quoted writes selectors as the configuration has them.
func quoted(words ...string) string { return `["` + strings.Join(words, `", "`) + `"]` }

// TestChildrenByProtocol: one child for UDP, one for echo requests, both over one
// IKE SA. Each packet takes the one that its protocol asks for.
func TestChildrenByProtocol(t *testing.T) {
	b := newBed(t, "protocols", netlab.Options{})
	yaml := func(tunnel testbed.Tunnel, local, remote netip.Addr) string {
		tunnel.LocalTS, tunnel.RemoteTS = nil, nil
		tunnel.ChildLines = []string{"local: " + quoted(local.String()+"[udp]"), "remote: " + quoted(remote.String()+"[udp/1-65535]")}
		return tunnel.YAML() + fmt.Sprintf("      - {name: echo, local: %s, remote: %s, esp: [aes128gcm16]}\n",
			quoted(local.String()+"/32[icmp]"), quoted(remote.String()+"-"+remote.String()+"[icmp]"))
	}
	b.r8 = b.start(b.R8, yaml(testbed.R8(b.Gateways), b.B4, b.A4))
	b.r6 = b.start(b.R6, yaml(testbed.R6(b.Gateways), b.A4, b.B4))
	b.links()
	b.ping(b.A, b.A4, b.B4, 5)
	if rows := children(t, b.r6, "installed"); len(rows) != 1 || rows[0].Child != "echo" {
		t.Errorf("after pings: %+v", rows)
	}
	check(t, b.r6.Up(t.Context(), api.Target{Conn: "r8", Child: "lan"}))
	check(t, b.r6.Await(t.Context(), patience, "install both children", func() bool {
		return len(children(t, b.r6, "installed")) == 2 && len(children(t, b.r8, "installed")) == 2
	}))
	o := paced
	o.Duration = time.Second
	b.carry(4, o)
	if rows := children(t, b.r6, "installed"); len(rows) != 2 || rows[1].Child != "lan" || rows[1].PacketsIn < 1000 {
		t.Errorf("after datagrams: %+v", rows)
	}
	b.clean()
}

// TestTransportMode: the two gateways protect what they say to each other, also when
// the link has to find its neighbours again.
func TestTransportMode(t *testing.T) {
	for _, outer := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", outer), func(t *testing.T) {
			b := newBed(t, fmt.Sprintf("transport%d", outer), netlab.Options{IPv6Outer: outer == 6}).spindles(func(r6, r8 *testbed.Tunnel) {
				one := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())} }
				r6.LocalTS, r6.RemoteTS = one(r6.Local), one(r6.Remote)
				r8.LocalTS, r8.RemoteTS = r6.RemoteTS, r6.LocalTS
				r6.ChildLines, r8.ChildLines = []string{"mode: transport"}, []string{"mode: transport"}
			})
			b.ping(b.R6, b.R6Addr, b.R8Addr, 10)
			_, err := b.R6.Run(t.Context(), "ip", "neigh", "flush", "dev", "out0")
			check(t, err)
			b.ping(b.R6, b.R6Addr, b.R8Addr, 10)
			rows := children(t, b.r6, "installed")
			if len(rows) != 1 || rows[0].Mode != "transport" || rows[0].PacketsOut < 20 || rows[0].PacketsIn < 20 {
				t.Errorf("child SAs %+v", rows)
			}
			b.secret()
		})
	}
}

// TestByteLifetime: an SA is replaced before it has carried what it may, and no
// packet is lost over it (T2).
func TestByteLifetime(t *testing.T) {
	b := newBed(t, "bytes", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) {
		r6.ChildLines = []string{"lifetime: {bytes: 1MiB, packets: 100000}"}
	})
	first := b.up()
	o := paced
	o.Duration = 2 * time.Second
	b.carry(4, o)
	b.replaced(first)
	b.clean()
}
