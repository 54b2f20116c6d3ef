package main_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// TestAccessLists: what R6 lets in from its tunnel and out into it besides the
// selectors (N4). Its peer knows nothing of it.
func TestAccessLists(t *testing.T) {
	const udpIn = "permit any and 10.8.8.8/32[udp]"
	b := newBed(t, "access", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) {
		r6.ChildLines = []string{"access:",
			`  in: [{action: permit, remote: ["10.8.8.8/32[udp]"]}, {action: permit, remote: ["10.8.8.8/32[icmp/0]"]}]`,
			`  out: [{action: deny, local: ["10.6.6.6/32[icmp/13]"]}, {action: permit, local: [10.6.6.6/32]}]`}
	})
	b.up() // an echo request out and its answer in: both permitted
	b.carry(4, netlab.BulkOptions{Packets: 500})

	// No line lets an echo request in, IPv6 neither in nor out.
	refused := func(from *netlab.NS, src, dst netip.Addr, verdict string) {
		t.Helper()
		before := b.verdict(verdict)
		r, err := netlab.Ping(t.Context(), from, src, dst, 3, 20*time.Millisecond, 300*time.Millisecond)
		check(t, err)
		if r.Received != 0 {
			t.Errorf("ping %v to %v: %d answers came through the access list", src, dst, r.Received)
		}
		check(t, b.r6.Await(t.Context(), patience, "count "+verdict, func() bool { return b.verdict(verdict) == before+3 }))
	}
	refused(b.B, b.B4, b.A4, "drop_access_in")
	refused(b.B, b.B6, b.A6, "drop_access_in")
	refused(b.A, b.A6, b.B6, "drop_access_out")
	b.secret() // denied is not sent in the clear

	child := b.child(b.r6)
	if child.DropsIn != 6 || len(child.AccessIn) != 2 || child.AccessIn[0] != udpIn {
		t.Errorf("the child SA shows %d drops and %q", child.DropsIn, child.AccessIn)
	}
	rows, err := testbed.Table[api.Policy](t.Context(), b.r6, api.Policies)
	check(t, err)
	if len(rows) != 1 || !slices.Contains(rows[0].Access, "deny 10.6.6.6/32[icmp/13] and any") {
		t.Errorf("policies %+v", rows)
	}
	b.says(b.r6, "show crypto ipsec sa", "access list in: "+udpIn, fmt.Sprintf("ip mtu %d", child.MTU))
}
