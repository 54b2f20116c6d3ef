package datapath_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"spindle/datapath"
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/datapath/tun"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

var netipEqual = gocmp.Options{
	gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func (g *gateway) sortedRoutes() []tun.Route {
	return slices.SortedFunc(slices.Values(g.host.routes), func(a, b tun.Route) int { return a.Prefix.Compare(b.Prefix) })
}

func TestPolicySteersAndRoutes(t *testing.T) {
	g := newGateway(t, options{})
	p := tunnelPolicy()
	must(t, g.PolicyAdd(p))
	q := p
	q.ID, q.Local = 2, selectors("10.7.0.0/16")
	q.Remote = selectors("10.8.8.8/32", "10.0.0.0/8")
	must(t, g.PolicyAdd(q))
	want := map[netip.Prefix]int{prefix("10.8.8.8/32"): 2, prefix("fd08::8/128"): 1, prefix("10.0.0.0/8"): 1}
	if diff := gocmp.Diff(want, g.steer.prefixes, netipEqual); diff != "" {
		t.Error(diff)
	}
	homes := map[netip.Prefix]int{prefix("10.6.0.0/16"): 1, prefix("fd06::/64"): 1, prefix("10.7.0.0/16"): 1}
	if diff := gocmp.Diff(homes, g.steer.homes, netipEqual); diff != "" {
		t.Error(diff)
	}
	routes := []tun.Route{
		{Prefix: prefix("10.0.0.0/8")},
		{Prefix: prefix("10.6.0.0/16"), Bypass: true}, // local, and inside 10.0.0.0/8
		{Prefix: prefix("10.7.0.0/16"), Bypass: true},
		{Prefix: prefix("10.8.8.8/32"), Src: addr("10.6.6.1")}, // the address that policy 1 allows
		{Prefix: prefix("fd08::8/128")},
	}
	if diff := gocmp.Diff(routes, g.sortedRoutes(), netipEqual); diff != "" {
		t.Error(diff)
	}

	q.Remote = selectors("10.9.0.0/16") // replaced: what it held goes
	must(t, g.PolicyAdd(q))
	must(t, g.PolicyDelete(p.ID))
	if diff := gocmp.Diff(map[netip.Prefix]int{prefix("10.9.0.0/16"): 1}, g.steer.prefixes, netipEqual); diff != "" {
		t.Error(diff)
	}
	if diff := gocmp.Diff([]tun.Route{{Prefix: prefix("10.9.0.0/16")}}, g.sortedRoutes(), netipEqual); diff != "" {
		t.Error(diff)
	}
	if got := g.Policies(); !slices.Equal(got, []sadb.PolicyID{2}) {
		t.Errorf("policies %v", got)
	}
	must(t, g.PolicyDelete(2))
	if len(g.steer.prefixes)+len(g.steer.homes)+len(g.host.routes) != 0 || g.PolicyDelete(2) == nil {
		t.Errorf("left: %v %v", g.steer.prefixes, g.host.routes)
	}
}

// What cannot be installed whole leaves everything as it was.
func TestPolicyIsRefusedWhole(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(g *gateway, p *sadb.Policy)
	}{
		{"no number", func(_ *gateway, p *sadb.Policy) { p.ID = 0 }},
		{"no selectors", func(_ *gateway, p *sadb.Policy) { p.Remote = nil }},
		{"selector upside down", func(_ *gateway, p *sadb.Policy) {
			p.Local[0].First, p.Local[0].Last = p.Local[0].Last, p.Local[0].First
		}},
		{"table full", func(g *gateway, p *sadb.Policy) { g.steer.full = 3; p.Remote = selectors("10.1.0.0/16", "10.2.0.0/16") }},
		{"host routes", func(g *gateway, p *sadb.Policy) { g.host.broken = true }},
	} {
		for _, id := range []sadb.PolicyID{tunnelID, 2} {
			t.Run(fmt.Sprintf("%s, policy %d", c.name, id), func(t *testing.T) {
				g := newGateway(t, options{})
				g.up(newTunnel(t, 0, 1, false, false, nil))
				p := tunnelPolicy()
				p.ID, p.Remote = id, selectors("10.9.0.0/16")
				c.change(g, &p)
				if g.PolicyAdd(p) == nil {
					t.Fatal("not refused")
				}
				g.host.broken, g.steer.full = false, 0
				want := map[netip.Prefix]int{prefix("10.8.8.8/32"): 1, prefix("fd08::8/128"): 1}
				if diff := gocmp.Diff(want, g.steer.prefixes, netipEqual); diff != "" {
					t.Error(diff)
				}
				must(t, g.Refresh())
				if len(g.host.routes) != 2 {
					t.Errorf("routes %v", g.host.routes)
				}
				g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, 10)))
				if len(g.sent(outside)) != 1 {
					t.Errorf("the tunnel does not carry: %v", g.verdicts())
				}
			})
		}
	}
}

func TestSAIsRefused(t *testing.T) {
	for name, change := range map[string]func(in, out *sadb.SA){
		"worker in":  func(in, _ *sadb.SA) { in.SPI = sadb.NewSPI(1, 1, 0); in.Pair = in.SPI },
		"worker out": func(_, out *sadb.SA) { out.Pair = sadb.NewSPI(1, 1, 0) },
		"slot":       func(in, _ *sadb.SA) { in.SPI, in.Pair = 5, 5 },
		"pair":       func(in, _ *sadb.SA) { in.Pair++ },
		"suite":      func(in, out *sadb.SA) { in.Suite, out.Suite = "null", "null" },
		"key":        func(in, out *sadb.SA) { in.Key, out.Key = in.Key[1:], out.Key[1:] },
		"families":   func(_, out *sadb.SA) { out.Remote = netip.AddrPortFrom(r8v6, 4500) },
	} {
		g := newGateway(t, options{})
		tn := newTunnel(t, 0, 1, false, false, nil)
		change(&tn.in, &tn.out)
		errIn, errOut := g.Add(tn.in), g.Add(tn.out)
		if errIn == nil && errOut == nil {
			t.Errorf("%s: both SAs were taken", name)
		}
		if bytes.Contains(tn.in.Key, []byte{2}) || bytes.Contains(tn.out.Key, []byte{3}) {
			t.Errorf("%s: a key was left in memory", name)
		}
	}
}

func TestDumpUpdateDeleteFlush(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	ip := clearPacket(t, hostA4, hostB4, 72)
	g.through(0, inside, fromInside(ip))
	g.through(0, inside, fromInside(ip))
	g.through(0, outside, fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 72))))

	moved := netip.AddrPortFrom(addr("192.0.2.77"), 4501)
	local, _ := ends(false)
	must(t, g.Update(keysock.Update{Pair: tn.in.SPI, Local: local, Remote: moved, Encap: true}))
	if g.Update(keysock.Update{Pair: tn.in.SPI + 1, Local: local, Remote: moved}) == nil {
		t.Error("updated what is not there")
	}
	list := g.dump()
	slices.SortFunc(list, func(a, b keysock.Usage) int { return cmp.Compare(a.SA.Direction, b.SA.Direction) })
	if len(list) != 2 {
		t.Fatalf("%d SAs", len(list))
	}
	for i, want := range []struct{ sequence, packets uint64 }{{1, 1}, {2, 2}} {
		u := list[i]
		if u.SA.Sequence != want.sequence || u.Packets != want.packets || u.Bytes != want.packets*100 || u.LastUsed.IsZero() ||
			u.SA.Key != nil || u.SA.Remote != moved || !u.SA.Encap {
			t.Errorf("%v SA: %+v", u.SA.Direction, u)
		}
	}
	if list[0].KeyFingerprint != tn.in.Key.Fingerprint() {
		t.Error("the fingerprint is another key's")
	}
	g.sent(outside)
	g.through(0, inside, fromInside(ip))
	_, _, _, dst := addresses(t, dissect(t, g.sent(outside)[0]))
	if dst != moved.Addr() {
		t.Errorf("sent to %v after it moved", dst)
	}

	must(t, g.Delete(keysock.Delete{Direction: sadb.Inbound, Pair: tn.in.SPI}))
	if g.Delete(keysock.Delete{Direction: sadb.Inbound, Pair: tn.in.SPI}) == nil {
		t.Error("deleted twice")
	}
	if g.steer.spis[uint32(tn.in.SPI)] || len(g.dump()) != 1 {
		t.Error("the inbound SA is still there")
	}
	must(t, g.Flush())
	if len(g.dump())+len(g.steer.spis)+len(g.steer.prefixes)+len(g.host.routes) != 0 {
		t.Errorf("left: %v %v %v %v", g.dump(), g.steer.spis, g.steer.prefixes, g.host.routes)
	}
}

// A new SA in the slot takes it over whole: nothing of the old one is listed.
func TestSlotIsTakenOver(t *testing.T) {
	g := newGateway(t, options{})
	old := g.up(newTunnel(t, 0, 1, false, false, nil))
	next := newTunnel(t, 0, 1, false, false, func(in, out *sadb.SA) {
		in.SPI++
		in.Pair, out.Pair = in.SPI, in.SPI
		in.Key, out.Key = key(9), key(8)
	})
	g.add(next)
	if n := len(g.dump()); n != 3 { // the old outbound SA is of another pair, and stays
		t.Errorf("%d SAs", n)
	}
	g.through(0, outside, fromOutside(old.sealed(t, clearPacket(t, hostB4, hostA4, 1))))
	g.through(0, outside, fromOutside(next.sealed(t, clearPacket(t, hostB4, hostA4, 1))))
	want := map[packet.Verdict]uint64{packet.Forwarded: 1, packet.DropUnknownSPI: 1}
	if diff := gocmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
}

// The tunnel device is as wide as the narrowest tunnel.
func TestHostMTU(t *testing.T) {
	g := newGateway(t, options{})
	expect := func(what string, mtu int) {
		t.Helper()
		if g.host.mtu != mtu {
			t.Errorf("%s: MTU %d, want %d", what, g.host.mtu, mtu)
		}
	}
	wide := g.up(newTunnel(t, 0, 1, false, false, nil))
	expect("native", 1446)
	narrow := newTunnel(t, 0, 2, true, true, nil)
	g.add(narrow)
	expect("IPv6 and UDP", 1418)
	must(t, g.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: narrow.in.SPI}))
	expect("one left", 1446)
	local, remote := ends(false)
	must(t, g.Update(keysock.Update{Pair: wide.in.SPI, Local: local, Remote: remote, Encap: true}))
	expect("moved behind a NAT", 1438)
	must(t, g.Update(keysock.Update{Pair: wide.in.SPI, Local: local, Remote: remote}))

	r := r6Routes()
	peer := r[prefix("192.0.2.2/32")]
	peer.MTU = 1400
	r[prefix("192.0.2.2/32")] = peer
	g.table.table.Store(fib.NewTable(r))
	must(t, g.Refresh())
	expect("route changed", 1346)
	peer.MTU = 900
	r[prefix("192.0.2.2/32")] = peer
	g.table.table.Store(fib.NewTable(r))
	must(t, g.Refresh())
	expect("narrower than IPv6 allows", 1280)
	must(t, g.Flush())
	expect("no tunnel", datapath.DefaultMTU)
}

func TestStats(t *testing.T) {
	g := newGateway(t, options{workers: 2})
	g.up(newTunnel(t, 0, 1, false, false, nil))
	g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, 10)))
	g.dump()
	got := map[string]uint64{}
	must(t, g.Stats(func(c keysock.Counters) error {
		for i, name := range c.Names {
			got[c.Source+"/"+name] += c.Values[i]
		}
		return nil
	}))
	if got["worker 0/forwarded"] != 1 || got["worker 1/forwarded"] != 0 {
		t.Errorf("%v", got)
	}
}
