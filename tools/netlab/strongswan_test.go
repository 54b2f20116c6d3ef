package netlab_test

import (
	"net/netip"
	"testing"
	"time"

	"spindle/tools/netlab"
)

// Two strongSwans across the topology: the counter tells ESP and IKE from clear
// packets, and nothing goes in the clear although the routes would let it.
func TestStrongSwanTunnel(t *testing.T) {
	for _, c := range []struct {
		name    string
		version int
		v6      bool
	}{{"ikev2", 2, false}, {"ikev1", 1, false}, {"outer6", 2, true}} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateways(t, "swan", netlab.Options{ClearRoutes: true, IPv6Outer: c.v6})
			testTunnel(t, g, c.version)
		})
	}
}

func testTunnel(t *testing.T, g *netlab.Gateways, version int) {
	ctx := within(t, time.Minute)
	wire, err := g.CountWire()
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	src, dst := g.A4, g.B4
	a, b := []netip.Prefix{netip.PrefixFrom(src, src.BitLen())}, []netip.Prefix{netip.PrefixFrom(dst, dst.BitLen())}
	r6, err := netlab.StartStrongSwan(ctx, g.R6, netlab.StrongSwanConfig{
		Local: g.R6Addr, Remote: g.R8Addr, PSK: "a shared secret", Version: version, LocalTS: a, RemoteTS: b})
	if err != nil {
		t.Fatal(err)
	}
	r8, err := netlab.StartStrongSwan(ctx, g.R8, netlab.StrongSwanConfig{
		Local: g.R8Addr, Remote: g.R6Addr, PSK: "a shared secret", Version: version, LocalTS: b, RemoteTS: a})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := r6.Initiate(ctx); err != nil {
		t.Fatalf("initiate: %v\n%s\n%s", err, out, r8.Log())
	}
	ping, err := netlab.Ping(ctx, g.A, src, dst, 10, 10*time.Millisecond, 2*time.Second)
	if err != nil || ping.Received != 10 {
		t.Errorf("ping: %+v, %v", ping, err)
	}
	counts, err := wire.Read()
	if err != nil {
		t.Fatal(err)
	}
	if counts.ESPinUDP.Frames != 20 || counts.IKE.Frames < 4 || counts.Clear.Frames != 0 {
		t.Errorf("on the wire: %s\n% x", counts, wire.Samples())
	}
	bulk, err := netlab.Bulk(ctx, g.A, g.B, netlab.BulkOptions{Src: src, Dst: dst, Packets: 2000, Window: 16})
	if err != nil || bulk.Lost != 0 {
		t.Errorf("bulk: %+v, %v", bulk, err)
	}
	sas, err := r8.ListSAs(ctx)
	if err != nil || len(sas) != 1 || len(sas[0].Children) != 1 {
		t.Fatalf("list: %+v, %v", sas, err)
	}
	child := sas[0].Children[0]
	if sas[0].State != "ESTABLISHED" || sas[0].Version != version || child.State != "INSTALLED" || !child.Encap ||
		child.SPIIn == 0 || child.SPIOut == 0 || child.PacketsIn != 10+2000 {
		t.Errorf("list: %+v", sas)
	}
	if err := r6.RekeyChild(ctx); err != nil {
		t.Error(err)
	}
	if err := r6.Terminate(ctx); err != nil {
		t.Error(err)
	}
	if sas, err = r6.ListSAs(ctx); err != nil || len(sas) != 0 {
		t.Errorf("after terminate: %+v, %v", sas, err)
	}
	r6.Close()
	r8.Close()
}
