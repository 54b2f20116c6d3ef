package main_test

import (
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// TestPeerList: P1, P2: R8 answers at three addresses, which are cut off one after
// the other under traffic; the next one takes over, after detection and one
// negotiation. When the first is back, the tunnel returns to it after the hold time.
func TestPeerList(t *testing.T) {
	with(t, all, func(t *testing.T, p party) {
		b := newBed(t, p.label("peers"), netlab.Options{})
		for _, addr := range []string{"192.0.2.18/24", "192.0.2.28/24"} {
			b.ip(b.R8, "addr add "+addr+" dev out0")
		}
		p.start(b, func(r6, r8 *testbed.Tunnel) {
			r6.RemoteHosts = []string{"192.0.2.8", "192.0.2.18", "192.0.2.28"}
			r6.Lines = []string{"dpd: {interval: 10s, retry: 2s, tries: 1}", "preferred: {fail_back: 8s}"}
			r8.AnyLocal = true
		}, func(r8 *netlab.StrongSwanConfig) {
			r8.ConnLines = append(r8.ConnLines, "local_addrs = 192.0.2.8,192.0.2.18,192.0.2.28")
		})
		b.up()
		b.cutOff("192.0.2.18", "ip saddr 192.0.2.8")
		b.unblock()
		b.cutOff("192.0.2.28", "ip saddr {192.0.2.8, 192.0.2.18}")
		b.unblock()
		check(t, b.r6.Await(t.Context(), 4*patience, "return to the preferred peer", func() bool {
			list := children(t, b.r6, "installed")
			return len(list) == 1 && strings.HasPrefix(list[0].Remote, "192.0.2.8:")
		}))
		b.block("ip saddr {192.0.2.18, 192.0.2.28}", "ip daddr {192.0.2.18, 192.0.2.28}") // nothing goes there any more
		b.ping(b.A, b.A4, b.B4, 5)
		b.agree()
	})
}

// cutOff blocks R8's addresses in use and wants the next one to take over: the
// interval of 10 s, one query of 2 s, and a negotiation.
func (b *bed) cutOff(next, match string) {
	b.t.Helper()
	b.block(match)
	began := time.Now()
	check(b.t, b.r6.Await(b.t.Context(), 2*patience, "go to "+next, func() bool {
		r, err := netlab.Ping(b.t.Context(), b.A, b.A4, b.B4, 1, 100*time.Millisecond, 100*time.Millisecond)
		return err == nil && r.Received == 1
	}))
	outage := time.Since(began)
	b.t.Logf("to %s after %v", next, outage)
	if outage > 15*time.Second {
		b.t.Errorf("P1: the outage was %v, want 12 s of detection and one negotiation", outage)
	}
	if list := children(b.t, b.r6, "installed"); len(list) != 1 || !strings.HasPrefix(list[0].Remote, next+":") {
		b.t.Fatalf("P1: %+v, want the child SA at %s", list, next)
	}
}
