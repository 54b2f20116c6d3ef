package datapath_test

import (
	"net/netip"
	"testing"

	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// What a worker remembers of a flow and of the way to a peer must not outlive a
// change of either: each step sends the same packet again.
func TestRememberedFlowsFollowEveryChange(t *testing.T) {
	g := newGateway(t, options{})
	frame := func() []byte { return fromInside(clearPacket(t, hostA4, hostB4, 100)) }
	step := func(name string, want packet.Verdict) {
		t.Helper()
		for range 2 {
			before := g.verdicts()[want]
			g.through(0, inside, frame())
			if got := g.verdicts()[want] - before; got != 1 {
				t.Fatalf("%s: verdicts %v, want one more %v", name, g.verdicts(), want)
			}
		}
	}
	step("without a policy", packet.DropPolicy)
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	step("with policy and SA", packet.Forwarded)
	discard := tunnelPolicy()
	discard.ID, discard.Priority, discard.Action = tunnelID+1, 1, sadb.Discard
	must(t, g.PolicyAdd(discard))
	step("discarded by an earlier entry", packet.DropPolicy)
	must(t, g.PolicyDelete(discard.ID))
	step("without that entry", packet.Forwarded)
	routes := g.table.table.Load()
	g.table.table.Store(fib.NewTable(nil))
	step("without routes", packet.DropNoRoute)
	g.table.table.Store(routes)
	step("with routes", packet.Forwarded)
	must(t, g.Update(keysock.Update{Pair: tn.in.SPI, Local: tn.out.Local, Remote: netip.MustParseAddrPort("192.0.2.3:0")}))
	step("with a peer that moved to where the way is prohibited", packet.DropNoRoute)
	must(t, g.Update(keysock.Update{Pair: tn.in.SPI, Local: tn.out.Local, Remote: tn.out.Remote}))
	step("with the peer back", packet.Forwarded)
	must(t, g.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: tn.in.SPI}))
	before := g.verdicts()[packet.Forwarded]
	g.through(0, inside, frame())
	if g.verdicts()[packet.Forwarded] != before {
		t.Fatal("sealed by an SA that was deleted")
	}
}

// Nor must what it remembers of the way to an inside host.
func TestRememberedWaysFollowTheRoutes(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	known := g.table.table.Load()
	away := r6Routes()
	away[prefix("10.6.0.0/16")] = fib.Adjacency{Kind: fib.Blackhole, Port: fib.NoPort}
	away[netip.PrefixFrom(hostA4, 32)] = fib.Adjacency{Kind: fib.Blackhole, Port: fib.NoPort}
	for _, step := range []struct {
		name  string
		table *fib.Table
		want  packet.Verdict
	}{
		{"known", known, packet.Forwarded},
		{"blackhole", newTable(away), packet.DropNoRoute},
		{"none", fib.NewTable(nil), packet.ToKernel},
		{"known again", known, packet.Forwarded},
	} {
		g.table.table.Store(step.table)
		for range 2 {
			before := g.verdicts()[step.want]
			g.through(0, outside, fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 100))))
			if got := g.verdicts()[step.want] - before; got != 1 {
				t.Fatalf("%s: verdicts %v, want one more %v", step.name, g.verdicts(), step.want)
			}
		}
	}
}
