package netlab_test

import (
	"context"
	"os"
	"testing"
	"time"

	"spindle/tools/netlab"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
}

func newGateways(t *testing.T, name string, o netlab.Options) *netlab.Gateways {
	t.Helper()
	needRoot(t)
	g, err := netlab.NewGateways(name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if left := g.Leftovers(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return g
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Without IPsec the gateways are plain routers: everything arrives, and the
// counter on the wire sees every packet, in the clear.
func TestPlainForwarding(t *testing.T) {
	g := newGateways(t, "plain", netlab.Options{ClearRoutes: true, Queues: 2})
	ctx := within(t, time.Minute)
	wire, err := g.CountWire()
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()

	for _, ends := range [][2]int{{4, 4}, {6, 6}} {
		src, dst := g.A4, g.B4
		if ends[0] == 6 {
			src, dst = g.A6, g.B6
		}
		before, err := wire.Read()
		if err != nil {
			t.Fatal(err)
		}
		ping, err := netlab.Ping(ctx, g.A, src, dst, 5, 10*time.Millisecond, 2*time.Second)
		if err != nil || ping.Received != 5 || ping.Duplicates != 0 || len(ping.RTTs) != 5 {
			t.Errorf("ping %s: %+v, %v", dst, ping, err)
		}
		after, err := wire.Read()
		if err != nil {
			t.Fatal(err)
		}
		if got := after.Clear.Frames - before.Clear.Frames; got != 10 {
			t.Errorf("5 echo requests and replies: %d clear frames on the wire", got)
		}
		for _, o := range []netlab.BulkOptions{
			{Packets: 10000, Size: 1400},
			{Packets: 3000, Size: 65, Window: 16},
			{Packets: 2000, Size: 500, Rate: 10000},
		} {
			o.Src, o.Dst = src, dst
			r, err := netlab.Bulk(ctx, g.A, g.B, o)
			if err != nil || r.Lost != 0 || r.Sent != uint64(o.Packets) || r.Duplicated+r.Corrupted+r.Reordered != 0 {
				t.Errorf("bulk %s %+v: %+v, %v", dst, o, r, err)
			}
			t.Logf("%d bytes: %.0f packets/s %.0f Mbit/s", o.Size, r.PacketsPerS, r.MbitPerS)
		}
	}
	counts, err := wire.Read()
	if err != nil {
		t.Fatal(err)
	}
	if counts.ESP.Frames+counts.ESPinUDP.Frames+counts.IKE.Frames+counts.Short != 0 || counts.Clear.Frames < 30000 {
		t.Errorf("on the wire: %s", counts)
	}
	if len(wire.Samples()) == 0 {
		t.Error("no sample of a clear frame")
	}
	t.Logf("on the wire: %s", counts)
}

func TestTCP(t *testing.T) {
	g := newGateways(t, "tcp", netlab.Options{ClearRoutes: true})
	r, err := netlab.BulkTCP(within(t, 30*time.Second), g.A, g.B, g.A4, g.B4, 300*time.Millisecond)
	if err != nil || r.Bytes == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	t.Logf("%+v", r)
}

// No route, nobody there: loss is a result, not an error, and takes bounded time.
func TestLossIsReported(t *testing.T) {
	g := newGateways(t, "loss", netlab.Options{})
	ctx := within(t, 30*time.Second)
	ping, err := netlab.Ping(ctx, g.A, g.A4, g.B4, 2, 10*time.Millisecond, 100*time.Millisecond)
	if err != nil || ping.Sent != 2 || ping.Received != 0 {
		t.Errorf("ping: %+v, %v", ping, err)
	}
	r, err := netlab.Bulk(ctx, g.A, g.B, netlab.BulkOptions{Src: g.A4, Dst: g.B4, Packets: 100, Rate: 1000})
	if err != nil || r.Sent != 100 || r.Lost != 100 {
		t.Errorf("bulk: %+v, %v", r, err)
	}
}
