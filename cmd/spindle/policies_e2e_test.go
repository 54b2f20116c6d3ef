package main_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// TestConfiguredPolicies: `policies` let some traffic pass in the clear and keep some
// from passing at all, ahead of what the connection protects; a reload takes them
// away again.
func TestConfiguredPolicies(t *testing.T) {
	b := newBed(t, "spd", netlab.Options{})
	var plain string
	spd := func(local, remote string) []string {
		return []string{"policies:",
			fmt.Sprintf(`  - {action: bypass, local: ["%s[udp]"], remote: ["%s[udp]"]}`, local, remote),
			fmt.Sprintf(`  - {action: discard, local: ["%s[icmpv6]"], remote: ["%s[icmpv6]"]}`, local, remote)}
	}
	b.spindles(func(r6, r8 *testbed.Tunnel) {
		plain = r6.YAML()
		r6.Gateway, r8.Gateway = spd(b.A6.String(), b.B6.String()), spd(b.B6.String(), b.A6.String())
	})
	b.up()
	results, err := flow(t.Context(), netlab.BulkOptions{Packets: 500}, b.ways(6))
	check(t, err)
	arrived(t, results)
	counts, err := b.wire.Read()
	check(t, err)
	if counts.Clear.Frames < 1000 {
		t.Errorf("%d frames passed in the clear", counts.Clear.Frames)
	}
	if out, _ := b.A.Run(t.Context(), "ping", "-c", "3", "-i", "0.02", "-W", "1", b.B6.String()); !strings.Contains(out, " 0 received") {
		t.Errorf("discarded packets came through: %s", out)
	}
	check(t, b.r6.Await(t.Context(), patience, "count what it discards", func() bool {
		v, err := b.r6.Verdicts(t.Context())
		return err == nil && v["drop_policy"] == 3
	}))
	b.carry4(t)

	check(t, b.r6.Configure(plain))
	check(t, b.r6.Signal(syscall.SIGHUP))
	check(t, b.r6.Await(t.Context(), patience, "forget its policies", func() bool {
		rows, err := testbed.Table[api.Policy](t.Context(), b.r6, api.Policies)
		return err == nil && len(rows) == 1
	}))
}

// carry4 sends what no policy names: it is protected.
func (b *bed) carry4(t *testing.T) {
	t.Helper()
	before, err := b.wire.Read()
	check(t, err)
	results, err := flow(t.Context(), netlab.BulkOptions{Packets: 500}, b.ways(4))
	check(t, err)
	arrived(t, results)
	after, err := b.wire.Read()
	check(t, err)
	if n := after.Clear.Frames - before.Clear.Frames; n != 0 {
		t.Errorf("%d frames of protected traffic in the clear", n)
	}
}
