package esp_test

import (
	"math"
	"net/netip"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
)

func TestInnerMTUIsExact(t *testing.T) {
	everyShape(t, func(t *testing.T, p *pair, v6 bool) {
		dst := make([]byte, 2048)
		for mtu := 200; mtu < 240; mtu++ {
			n := p.out.InnerMTU(mtu)
			if got, v := p.out.Seal(dst, inner(v6, n, 0), 0); v != packet.Pass || got > mtu {
				t.Fatalf("mtu %d: %d inner bytes become %d (%v)", mtu, n, got, v)
			}
			if got, v := p.out.Seal(dst, inner(v6, n+1, 0), 0); v != packet.Pass || got <= mtu {
				t.Fatalf("mtu %d: %d inner bytes fit as well (%d, %v)", mtu, n+1, got, v)
			}
		}
		if got := p.out.InnerMTU(40); got != 0 {
			t.Fatalf("mtu 40 leaves %d", got)
		}
	})
}

func TestLongestPackets(t *testing.T) {
	everyShape(t, func(t *testing.T, p *pair, v6 bool) {
		n := p.out.InnerMTU(math.MaxInt32)
		if !v6 {
			n = min(n, 0xffff)
		}
		dst := make([]byte, 1<<17)
		got, v := p.out.Seal(dst, inner(v6, n, 0), 0)
		if v != packet.Pass {
			t.Fatalf("%d bytes: %v", n, v)
		}
		espOf(t, dst[:got])
	})
}

func TestN3DF(t *testing.T) {
	for _, c := range []struct {
		policy     sadb.DFPolicy
		v6, df     bool
		wantOuter  bool
		sequenceID uint16
	}{
		{sadb.DFCopy, false, false, false, 1},
		{sadb.DFCopy, false, true, true, 1},
		{sadb.DFCopy, true, false, true, 1}, // IPv6 never fragments on its way
		{sadb.DFSet, false, false, true, 1},
		{sadb.DFClear, false, true, false, 1},
		{sadb.DFClear, true, false, false, 1},
	} {
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.DF = c.policy })
		clear := inner(c.v6, 60, 0)
		if c.df {
			clear[6] |= 0x40
			packet.SetIPv4Checksum(clear)
		}
		_, h := espOf(t, p.seal(t, clear))
		if h.DF != c.wantOuter || uint16(h.ID) != c.sequenceID {
			t.Errorf("policy %d inner v6 %v df %v: outer df %v id %d", c.policy, c.v6, c.df, h.DF, h.ID)
		}
	}
}

func TestECNOfRFC6040(t *testing.T) {
	const drop = 0xff
	want := [4][4]uint8{ // [inner][outer]
		packet.NotECT: {packet.NotECT, packet.NotECT, packet.NotECT, drop},
		packet.ECT1:   {packet.ECT1, packet.ECT1, packet.ECT1, packet.CE},
		packet.ECT0:   {packet.ECT0, packet.ECT1, packet.ECT0, packet.CE},
		packet.CE:     {packet.CE, packet.CE, packet.CE, packet.CE},
	}
	for in := range uint8(4) {
		for out := range uint8(4) {
			for _, v6 := range []bool{false, true} {
				p := newPair(t, "aes128gcm16")
				body, h := espOf(t, p.seal(t, inner(v6, 60, 0x28|in)))
				if h.TOS != 0x28|in {
					t.Fatalf("outer traffic class %#x, inner %#x", h.TOS, 0x28|in)
				}
				got, v := p.open(body, 0xfc|out) // the outer DSCP must not leak in
				if want[in][out] == drop {
					if v != packet.DropECN {
						t.Errorf("inner %d outer %d: %v", in, out, v)
					}
					continue
				}
				var ih packet.Header
				if v != packet.Pass || ih.ParseIP(got) != packet.Pass || ih.TOS != 0x28|want[in][out] {
					t.Errorf("inner %d outer %d: %v, traffic class %#x", in, out, v, ih.TOS)
				}
			}
		}
	}
}

func TestRebind(t *testing.T) {
	p := newPair(t, "aes128gcm16")
	done := make(chan error)
	local, remote := endpoints(true)
	go func() { done <- p.out.Rebind(local, remote, true) }()
	p.seal(t, inner(false, 60, 0)) // either header, but a whole one
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_, h := espOf(t, p.seal(t, inner(false, 60, 0)))
	if h.Dst != remote.Addr() || h.DstPort != remote.Port() || h.Protocol != packet.UDP {
		t.Errorf("after Rebind: %+v", h)
	}
	v4, _ := endpoints(false)
	for name, err := range map[string]error{
		"two families": p.out.Rebind(v4, remote, false),
		"no port":      p.out.Rebind(v4, netip.AddrPortFrom(v4.Addr(), 0), true),
		"no address":   p.out.Rebind(netip.AddrPort{}, netip.AddrPort{}, false),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, h := espOf(t, p.seal(t, inner(false, 60, 0))); h.Dst != remote.Addr() {
		t.Error("a refused Rebind changed the header")
	}
}
