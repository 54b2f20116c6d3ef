package esp_test

import (
	"net/netip"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// arrive opens a UDP-encapsulated packet as it came from somewhere.
func (p *pair) arrive(body []byte, from netip.AddrPort) packet.Verdict {
	h := packet.Header{Version: 4, Protocol: packet.UDP, Src: from.Addr(), SrcPort: from.Port()}
	_, v := p.in.Open(make([]byte, len(body)), nil, &h, body, 1)
	return v
}

func TestN5OnlyTheNewestAuthenticPacketMovesThePeer(t *testing.T) {
	home := netip.MustParseAddrPort("192.0.2.6:4500") // R6 as R8 was told
	away := netip.MustParseAddrPort("198.51.100.9:23456")
	evil := netip.MustParseAddrPort("203.0.113.66:666")
	for _, window := range []uint32{0, 64} {
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.Encap, sa.ReplayWindow = true, window })
		next := func() []byte {
			body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
			return body
		}
		expect := func(what string, v, want packet.Verdict, peer netip.AddrPort, moved bool) {
			t.Helper()
			if at, now := p.in.Moved(); v != want || at != peer || now != moved {
				t.Errorf("window %d, %s: %v, peer %v moved %v; want %v, %v %v", window, what, v, at, now, want, peer, moved)
			}
			if _, again := p.in.Moved(); again {
				t.Errorf("%s: reported twice", what)
			}
		}
		one, two, three := next(), next(), next()
		expect("first packet", p.arrive(one, home), packet.Pass, home, false)
		forged := append([]byte(nil), three...)
		forged[20] ^= 1
		expect("forgery", p.arrive(forged, evil), packet.DropAuth, home, false)
		expect("newest from elsewhere", p.arrive(three, away), packet.Pass, away, true)
		expect("late one from where it was", p.arrive(two, home), packet.Pass, away, false)
		repeated := packet.Pass
		if window > 0 {
			repeated = packet.DropReplay
		}
		expect("replay", p.arrive(three, evil), repeated, away, false)
		dst := make([]byte, 200)
		n, _ := p.out.SealDummy(dst, 10)
		dummy, _ := espOf(t, dst[:n])
		expect("dummy from home", p.arrive(dummy, home), packet.DropDummy, home, true)
	}
}

func TestN5WithoutEncapsulationNothingMoves(t *testing.T) {
	p := newPair(t, "aes128gcm16")
	body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
	if v := p.arrive(body, netip.MustParseAddrPort("203.0.113.66:666")); v != packet.Pass {
		t.Fatal(v)
	}
	if _, moved := p.in.Moved(); moved {
		t.Error("moved")
	}
}

// RFC 4303 appendix A3: more than 2^32 packets were lost in a row.
func TestESNRecoversFromTheLossOfAWholeTurn(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128gcm8", "chacha20poly1305", "aes128gmac", "aes128-sha256", "aes256ctr-sha512"} {
		for _, turns := range []uint64{1, 4} {
			p := newPair(t, suite, func(sa *sadb.SA) { sa.ESN = true })
			p.in.SetTop(1000)
			start := 1005 + turns<<32
			p.out.SetSequence(start)
			lost, opened := 0, false
			for range 200 {
				body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
				if _, v := p.open(body, 0); v == packet.Pass {
					opened = true
					break
				} else if v != packet.DropAuth && v != packet.DropReplay {
					t.Fatal(v)
				}
				lost++
			}
			if !opened || lost > 64 {
				t.Errorf("%s, %d turns: recovered %v after %d packets", suite, turns, opened, lost)
			}
			if p.in.Publish(); opened && p.in.Usage().Sequence != start+uint64(lost)+1 {
				t.Errorf("%s: at %d", suite, p.in.Usage().Sequence)
			}
		}
	}
}

func TestResynchronizationAcceptsNoForgeryAndNoOldPacket(t *testing.T) {
	p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ESN, sa.ReplayWindow = true, 64 })
	old, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
	p.in.SetTop(9<<32 + 1000)
	forged := append([]byte(nil), old...)
	forged[len(forged)-1] ^= 1
	for i := range 1000 {
		b := old
		if i%2 == 0 {
			b = forged
		}
		if _, v := p.open(b, 0); v == packet.Pass {
			t.Fatalf("packet %d passed", i)
		}
	}
	if p.in.Publish(); p.in.Usage().Sequence != 9<<32+1000 {
		t.Error("the window moved")
	}
}
