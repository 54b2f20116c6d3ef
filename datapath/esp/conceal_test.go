package esp_test

import (
	"bytes"
	"testing"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

func TestTFCPaddingHidesLengths(t *testing.T) {
	for _, s := range suites() {
		p := newPair(t, s.Keyword, func(sa *sadb.SA) { sa.TFC = 600 })
		lengths := map[int]bool{}
		for _, n := range []int{48, 61, 300, 599, 600} {
			for _, v6 := range []bool{false, true} {
				clear := inner(v6, max(n, 50), 0)
				dst := bytes.Repeat([]byte{0xee}, 900)
				n, v := p.out.Seal(dst, clear, 5)
				if v != packet.Pass {
					t.Fatal(v)
				}
				lengths[n] = true
				body, h := espOf(t, dst[:n])
				if got, v := p.open(body, h.TOS); v != packet.Pass || !bytes.Equal(got, clear) {
					t.Fatalf("%s: %v %x, want %x", s.Keyword, v, got, clear)
				}
			}
		}
		if len(lengths) != 1 {
			t.Errorf("%s: lengths on the wire %v", s.Keyword, lengths)
		}
		if longer := p.seal(t, inner(false, 800, 0)); lengths[len(longer)] {
			t.Errorf("%s: a longer packet was cut", s.Keyword)
		}
	}
}

func TestTFCPaddingStaysWithinRoomAndPath(t *testing.T) {
	for _, s := range suites() {
		p := newPair(t, s.Keyword, func(sa *sadb.SA) { sa.TFC = 60000 })
		clear := inner(false, 100, 0)
		for room := p.out.Sealed(clear); room < 400; room++ {
			n, v := p.out.Seal(make([]byte, room), clear, 0)
			if v != packet.Pass || n > room || room-n >= s.Align {
				t.Fatalf("%s: room %d: %d %v", s.Keyword, room, n, v)
			}
		}
		p.out.SetPathMTU(500)
		if n, v := p.out.Seal(make([]byte, 2000), clear, 0); v != packet.Pass || n > 500 || 500-n >= s.Align {
			t.Fatalf("%s: path of 500: %d %v", s.Keyword, n, v)
		}
	}
	sa := newSA("aes128gcm16", func(sa *sadb.SA) { sa.Mode, sa.TFC = sadb.Transport, 100 })
	if _, err := esp.NewOutbound(&sa); err == nil {
		t.Error("TFC padding in transport mode: accepted")
	}
}

func TestDummyPackets(t *testing.T) {
	everyShape(t, func(t *testing.T, p *pair, v6 bool) {
		for _, size := range []int{0, 1, 2, 3, 200} {
			dst := bytes.Repeat([]byte{0xee}, 600)
			n, v := p.out.SealDummy(dst, size)
			if v != packet.Pass || n < size {
				t.Fatalf("%d bytes: %d %v", size, n, v)
			}
			body, h := espOf(t, dst[:n])
			if h.Dst != p.sa.Remote.Addr() {
				t.Fatalf("to %v", h.Dst)
			}
			if _, v := p.open(body, h.TOS); v != packet.DropDummy {
				t.Fatalf("opened: %v", v)
			}
			if _, v := p.open(body, h.TOS); v != packet.DropReplay {
				t.Fatalf("opened again: %v", v)
			}
		}
		if p.out.Packets != 0 || p.out.LastUsed != 0 {
			t.Errorf("dummies count as traffic: %+v", p.out.Packets)
		}
		if n, v := p.out.SealDummy(make([]byte, 50), 100); n != 0 || v != packet.DropTooBig {
			t.Errorf("into 50 bytes: %d %v", n, v)
		}
		dst := make([]byte, 300)
		if testing.AllocsPerRun(10, func() { p.out.SealDummy(dst, 100) }) > 0 {
			t.Error("dummies allocate")
		}
	})
}

func TestDummyPacketsInTransportMode(t *testing.T) {
	p := newPair(t, "aes128gcm16", transport(true, true))
	dst := make([]byte, 300)
	n, v := p.out.SealDummy(dst, 77)
	if v != packet.Pass {
		t.Fatal(v)
	}
	if _, v := p.openWhole(t, dst[:n]); v != packet.DropDummy {
		t.Error(v)
	}
}

func TestDummiesEndWithTheSequenceNumbers(t *testing.T) {
	p := newPair(t, "aes128gcm16")
	p.out.SetSequence(1<<32 - 1)
	if _, v := p.out.SealDummy(make([]byte, 300), 10); v != packet.DropSequence {
		t.Error(v)
	}
	p.out.Wipe()
	if _, v := p.out.SealDummy(make([]byte, 300), 10); v != packet.DropNoSA {
		t.Error(v)
	}
}
