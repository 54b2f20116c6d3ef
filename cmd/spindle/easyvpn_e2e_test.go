package main_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// easyServer makes strongSwan an Easy VPN server at addr for the group of R6.
func easyServer(b *bed, ns *netlab.NS, addr string, behind ...netip.Prefix) *netlab.StrongSwan {
	b.t.Helper()
	r8 := testbed.StrongSwan(b.Gateways)
	old(v1IKE, v1ESP)(&testbed.Tunnel{LocalTS: r8.LocalTS, RemoteTS: r8.RemoteTS}, &r8)
	xauthServer(&r8, []string{"auth = psk", "id = " + group})
	r8.Local, r8.Aggressive, r8.RemoteTS = netip.MustParseAddr(addr), true, behind
	r8.ExtraLines = append(r8.ExtraLines, "i_dont_care_about_security_and_use_aggressive_mode_psk = yes",
		"plugins {\n attr {\n 28672 = Welcome to the head office\n }\n }")
	swan, err := netlab.StartStrongSwan(b.t.Context(), ns, r8)
	check(b.t, err)
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("log of strongSwan in %s:\n%s", ns.Name, swan.Log())
		}
	})
	return swan
}

// another adds a second gateway R9 to the wire, with a host like B behind it.
func (b *bed) another() *netlab.NS {
	b.t.Helper()
	r9, err := b.Namespace("r9")
	check(b.t, err)
	b9, err := b.Namespace("b9")
	check(b.t, err)
	check(b.t, r9.Forward())
	end := func(ns *netlab.NS, name string, addrs ...string) netlab.End {
		e := netlab.End{NS: ns, Name: name}
		for _, a := range addrs {
			e.Addr = append(e.Addr, netip.MustParsePrefix(a))
		}
		return e
	}
	check(b.t, b.Link(end(r9, "out0", "192.0.2.9/24"), end(b.Wire, "w9")))
	check(b.t, b.Link(end(b9, "eth0", "10.8.8.8/24"), end(r9, "in0", "10.8.8.1/24")))
	check(b.t, b9.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.8.8.1")))
	_, err = b.Wire.Run(b.t.Context(), "ip", "link", "set", "w9", "master", "br0")
	check(b.t, err)
	return r9
}

// remote is R6 as an Easy VPN client.
func remote(b *bed, mode, connect string, servers ...string) testbed.Tunnel {
	r6 := testbed.R6(b.Gateways)
	old(v1IKE, v1ESP, "dpd: {tries: 2}", "allow_weak: [aggressive-psk]")(&r6, &netlab.StrongSwanConfig{})
	r6.RemoteTS = nil
	r6.Auth = []string{
		fmt.Sprintf("easyvpn: {connect: %s, group: road, key: {value: %q}, user: carol, password: {value: tiramisu}, mode: %s}", connect, testbed.PSK, mode),
		fmt.Sprintf("remote: {addresses: [%s]}", strings.Join(servers, ", ")),
	}
	return r6
}

// TestEasyVPN: E, P1: the user's few keys dial a server, which names what is behind
// it; when it is killed dead peer detection moves the tunnel to the second one.
func TestEasyVPN(t *testing.T) {
	t.Parallel()
	b := newBed(t, "easy", netlab.Options{})
	r9 := b.another()
	inside := netip.PrefixFrom(b.A4, 32)
	first := easyServer(b, b.R8, "192.0.2.8", inside)
	easyServer(b, r9, "192.0.2.9", inside)
	b.r6 = b.start(b.R6, remote(b, "network-extension", "auto", "192.0.2.8", "192.0.2.9").YAML())
	b.links()
	child, err := b.r6.AwaitChild(t.Context(), patience)
	check(t, err)
	if !slices.Equal(child.LocalTS, []string{"10.6.6.6/32"}) || !slices.Equal(child.RemoteTS, []string{"10.8.8.8/32"}) {
		t.Errorf("selectors %v to %v, want what is behind each", child.LocalTS, child.RemoteTS)
	}
	b.awaitLog(b.r6, patience, `banner="Welcome to the head office"`)
	b.ping(b.A, b.A4, b.B4, 5)
	sas, err := testbed.Table[api.IKESA](t.Context(), b.r6, api.IKESAs)
	check(t, err)
	if len(sas) != 1 || sas[0].Version != 1 || sas[0].Exchange != "aggressive" || sas[0].LocalID != group {
		t.Errorf("IKE SAs %+v", sas)
	}
	check(t, syscall.Kill(first.PID(), syscall.SIGKILL))
	began := time.Now()
	check(t, b.r6.Await(t.Context(), 3*patience, "go to the second server", func() bool {
		// Traffic that is not answered makes it ask (D3).
		_, _ = netlab.Ping(t.Context(), b.A, b.A4, b.B4, 1, 100*time.Millisecond, 100*time.Millisecond)
		list := children(t, b.r6, "installed")
		return len(list) == 1 && strings.HasPrefix(list[0].Remote, "192.0.2.9:")
	}))
	t.Logf("at the second server after %v", time.Since(began))
	b.ping(b.A, b.A4, b.B4, 5)
}

// TestEasyVPNByHand: connect: manual waits for spindle up, and spindle down ends it
// for good.
func TestEasyVPNByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t, "easyhand", netlab.Options{})
	easyServer(b, b.R8, "192.0.2.8", netip.PrefixFrom(b.A4, 32))
	b.r6 = b.start(b.R6, remote(b, "network-extension", "manual", "192.0.2.8").YAML())
	b.links()
	_, _ = netlab.Ping(t.Context(), b.A, b.A4, b.B4, 3, 100*time.Millisecond, time.Second)
	if c := connection(t, b.r6, "r8"); c.State != "down" || c.Reason != "waits for spindle up" {
		t.Errorf("before up: %+v", c)
	}
	check(t, b.r6.Up(t.Context(), api.Target{Conn: "r8"}))
	_, err := b.r6.AwaitChild(t.Context(), patience)
	check(t, err)
	b.ping(b.A, b.A4, b.B4, 5)
	check(t, b.r6.Down(t.Context(), api.Target{Conn: "r8"}))
	b.down()
	_, _ = netlab.Ping(t.Context(), b.A, b.A4, b.B4, 3, 100*time.Millisecond, time.Second)
	if c := connection(t, b.r6, "r8"); c.State != "down" {
		t.Errorf("after down: %+v", c)
	}
}
