package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
	"spindle/tools/pki"
)

// why asks the gateway as its operator does.
func (b *bed) why(g *testbed.Gateway, name string) (y api.Why) {
	b.t.Helper()
	out, err := exec.CommandContext(b.t.Context(), b.exe, "why", name, "-o", "json", "--runtime-dir", g.Runtime).Output()
	check(b.t, err)
	check(b.t, json.Unmarshal(out, &y))
	return y
}

// names waits until why has the cause, and wants these words in what it says.
func (b *bed) names(g *testbed.Gateway, name, verdict string, words ...string) {
	b.t.Helper()
	var y api.Why
	err := g.Await(b.t.Context(), 2*patience, "know why", func() bool {
		y = b.why(g, name)
		return y.Verdict == verdict
	})
	if err != nil {
		b.t.Fatalf("why %s on %s: %s, want %s\n%s\n%s\n%v", name, g.Name, y.Verdict, verdict, y.Cause, y.Action, y.Evidence)
	}
	b.t.Logf("%s\n%s", y.Cause, y.Action)
	for _, w := range words {
		if !strings.Contains(y.Cause+" "+y.Action, w) {
			b.t.Errorf("why %s on %s lacks %q: %s %s", name, g.Name, w, y.Cause, y.Action)
		}
	}
	if len(y.Evidence) < 5 || y.Cause == "" || y.Action == "" {
		b.t.Errorf("why %s on %s: %+v", name, g.Name, y)
	}
}

// configured gives both gateways a configuration, and forgets what was before it.
func (b *bed) configured(r6, r8 string) {
	b.t.Helper()
	for g, text := range map[*testbed.Gateway]string{b.r6: r6, b.r8: r8} {
		check(b.t, g.Configure(text))
		check(b.t, g.Reload(b.t.Context()))
	}
}

// lose makes the wire drop what an nftables match of the bridge names, until the
// answer is called.
func (b *bed) lose(match string) (heal func()) {
	b.t.Helper()
	b.nft("add table bridge why; add chain bridge why pass { type filter hook forward priority 0 ; }; add rule bridge why pass " + match + " drop")
	return func() { b.nft("delete table bridge why") }
}

func (b *bed) nft(rules string) {
	b.t.Helper()
	_, err := b.Wire.Run(b.t.Context(), "nft", rules)
	check(b.t, err)
}

func (b *bed) ip(ns *netlab.NS, words string) {
	b.t.Helper()
	_, err := ns.Run(b.t.Context(), append([]string{"ip"}, strings.Fields(words)...)...)
	check(b.t, err)
}

// pinging sends from A, or B, until the answer is called.
func (b *bed) pinging(from *netlab.NS) (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	src, dst := b.A4, b.B4
	if from == b.B {
		src, dst = dst, src
	}
	go func() {
		defer close(done)
		_, _ = netlab.Ping(ctx, from, src, dst, 600, 100*time.Millisecond, 0) // ended by the context
	}()
	return func() { cancel(); <-done }
}

// TestWhy breaks a tunnel in the ways of proof 7; the cause must be named.
func TestWhy(t *testing.T) { with(t, ours, whys) }

func whys(t *testing.T, p party) {
	b := p.bed(t, "why", nil, nil)
	good6, good8 := testbed.R6(b.Gateways), testbed.R8(b.Gateways)
	p.speak(&good6)
	p.speak(&good8)
	refused := map[int]string{1: "INVALID-ID-INFORMATION", 2: "TS_UNACCEPTABLE"}[p.version]
	steps := []struct {
		name string
		run  func(b *bed)
	}{
		{"waits for traffic", func(b *bed) { b.names(b.r6, "r8", "waits-for-traffic", "spindle up r8") }},
		{"nothing is wrong", func(b *bed) { b.carries(); b.names(b.r6, "192.0.2.8", "up"); b.names(b.r8, "r6", "up") }},
		{"wrong PSK", func(b *bed) {
			bad := good8
			bad.PSK = "another secret of twenty-nine"
			b.configured(good6.YAML(), bad.YAML())
			b.attempt()
			b.names(b.r6, "r8", "authentication", "psk")
			b.names(b.r8, "r6", "authentication", "pre-shared keys differ")
		}},
		{"selectors wrong", func(b *bed) {
			bad := good8
			bad.LocalTS = prefixes("10.7.7.7/32")
			b.configured(good6.YAML(), bad.YAML())
			b.attempt()
			b.names(b.r6, "r8", "selectors", refused, "10.8.8.8")
			b.names(b.r8, "r6", "selectors", "10.7.7.7")
		}},
		{"policy shadowed", func(b *bed) {
			second, wide := good6, good6
			wide.LocalTS = append(prefixes("10.6.6.0/24"), good6.LocalTS[1:]...)
			second.Conn, second.Remote = "late", b.R8Addr.Next()
			second.LocalTS, second.RemoteTS = good6.LocalTS[:1], good6.RemoteTS[:1]
			b.configured(wide.YAML()+second.Connection(), good8.YAML())
			b.names(b.r6, "late", "policy-shadowed", "late/lan is shadowed", "r8/lan")
			b.configured(good6.YAML(), good8.YAML())
		}},
		{"no route", func(b *bed) {
			b.ip(b.R6, "route del 192.0.2.0/24 dev out0")
			b.names(b.r6, "r8", "no-route", "192.0.2.8", "ip route add")
			b.ip(b.R6, "route add 192.0.2.0/24 dev out0 src 192.0.2.6")
			b.ip(b.R6, "route replace 10.8.8.0/24 via 192.0.2.8")
		}},
		{"IKE blocked", func(b *bed) {
			heal := b.lose("udp dport { 500, 4500 }")
			b.attempt()
			b.names(b.r6, "r8", "ike-blocked", "UDP 500 and 4500")
			heal()
			b.carries()
		}},
		{"ESP blocked one way", func(b *bed) {
			heal := b.lose("ip saddr 192.0.2.8 ip protocol esp")
			stop := b.pinging(b.A)
			b.names(b.r6, "r8", "esp-blocked", "IP protocol 50", "IKE still works")
			stop()
			heal()
			b.carries()
		}},
		{"MTU black hole", func(b *bed) {
			heal := b.lose("ip length > 1350")
			b.names(b.r6, "r8", "mtu-black-hole", "1500 bytes vanish", "those of 1280 arrive", "out0")
			heal()
			b.names(b.r6, "r8", "up")
		}},
		{"peer down", func(b *bed) {
			b.ip(b.Wire, "link set w8 down")
			b.ip(b.R6, "neigh flush dev out0")
			stop := b.pinging(b.A)
			b.names(b.r6, "r8", "peer-down", "192.0.2.8")
			stop()
			b.ip(b.Wire, "link set w8 up")
		}},
	}
	for _, s := range steps {
		if !t.Run(s.name, func(t *testing.T) { here := *b; here.t = t; s.run(&here) }) {
			return // the next one would stand on what this one left
		}
	}
}

// attempt begins a negotiation that is to fail.
func (b *bed) attempt() {
	b.t.Helper()
	check(b.t, b.r6.Down(b.t.Context(), api.Target{Conn: "r8"}))
	check(b.t, b.r6.Await(b.t.Context(), patience, "be down", func() bool { return len(children(b.t, b.r6, "installed")) == 0 }))
	check(b.t, b.r6.Up(b.t.Context(), api.Target{Conn: "r8"}))
}

// TestWhyNAT: the NAT in front of R6 forgets. Only R8 sends, so that nothing of R6
// makes a new mapping.
func TestWhyNAT(t *testing.T) {
	b := newBed(t, "whynat", netlab.Options{NAT: true}).spindles(func(r6, r8 *testbed.Tunnel) {
		r8.Remote, r8.RemoteID = netlab.NATAddr, r8.Remote
		r6.Lines = append(r6.Lines, "nat_keepalive: 0s", "dpd: {mode: off}")
	})
	b.carries()
	b.nft(fmt.Sprintf("add table ip forget; add chain ip forget in { type filter hook prerouting priority raw ; }; add rule ip forget in ip daddr %v udp dport 1-65535 udp sport { 500, 4500 } notrack", netlab.NATAddr))
	stop := b.pinging(b.B)
	b.names(b.r8, "r6", "nat-mapping-lost", "nat_keepalive")
	stop()
}

// TestWhyCertificate: strongSwan as R8 shows a certificate that has expired.
func TestWhyCertificate(t *testing.T) {
	yesterday := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
	p := newPaper(t, pki.P256, func(l *pki.Leaf) { l.NotBefore, l.NotAfter = yesterday.Add(-time.Hour), yesterday })
	b := newBed(t, "whycert", netlab.Options{})
	b.strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		p.theirs(r8, "r8.example.net")
		r6.Auth = p.ours("r8.example.net")
	})
	check(t, b.r6.Up(t.Context(), api.Target{Conn: "r8"}))
	b.names(b.r6, "r8", "certificate", "CN=r8 expired since "+yesterday.Format(time.RFC3339), "Renew")
}

// TestWhyStrongSwan: the causes that its own words and silence lead to.
func TestWhyStrongSwan(t *testing.T) {
	b := newBed(t, "whyswan", netlab.Options{}).strongSwan(nil)
	good := testbed.R6(b.Gateways)
	bad := func(change func(r6 *testbed.Tunnel)) {
		t.Helper()
		r6 := good
		change(&r6)
		check(t, b.r6.Configure(r6.YAML()))
		check(t, b.r6.Reload(t.Context()))
		check(t, b.r6.Up(t.Context(), api.Target{Conn: "r8"}))
	}
	bad(func(r6 *testbed.Tunnel) { r6.PSK = "another secret of twenty-nine" })
	b.names(b.r6, "r8", "authentication", "AUTHENTICATION_FAILED")
	bad(func(r6 *testbed.Tunnel) { r6.RemoteTS = prefixes("10.7.7.7/32") })
	b.names(b.r6, "r8", "selectors", "TS_UNACCEPTABLE", "10.7.7.7")
	bad(func(r6 *testbed.Tunnel) { r6.IKE = "aes256gcm16-prfsha384-ecp384" })
	b.names(b.r6, "r8", "proposals", "NO_PROPOSAL_CHOSEN")
	bad(func(*testbed.Tunnel) {})
	b.carries()
	b.names(b.r6, "r8", "up")
	heal := b.lose("ip saddr 192.0.2.8 udp sport 4500 ip length > 110 ip length < 200")
	stop := b.pinging(b.A)
	b.names(b.r6, "r8", "esp-blocked", "UDP 4500 with ESP in it")
	stop()
	heal()
}
