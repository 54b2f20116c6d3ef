package esp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

const spi = sadb.SPI(0x04000142)

// pair is an SA as its two ends hold it.
type pair struct {
	out *esp.Outbound
	in  *esp.Inbound
	sa  sadb.SA
}

// endpoints are R6 and R8.
func endpoints(v6 bool) (local, remote netip.AddrPort) {
	if v6 {
		return netip.MustParseAddrPort("[2001:db8::6]:4500"), netip.MustParseAddrPort("[2001:db8::8]:4501")
	}
	return netip.MustParseAddrPort("192.0.2.6:4500"), netip.MustParseAddrPort("192.0.2.8:4501")
}

func newSA(suite string, change ...func(*sadb.SA)) sadb.SA {
	suite = strings.TrimSuffix(suite, std)
	s, _ := esp.Find(suite)
	sa := sadb.SA{SPI: spi, Direction: sadb.Outbound, Suite: suite, Key: make(sadb.Key, s.KeyLen), ReplayWindow: 4096}
	for i := range sa.Key {
		sa.Key[i] = byte(i*7 + 1)
	}
	sa.Local, sa.Remote = endpoints(false)
	for _, f := range change {
		f(&sa)
	}
	return sa
}

func newPair(t testing.TB, suite string, change ...func(*sadb.SA)) *pair {
	t.Helper()
	suite, crypto := implementation(t, suite)
	p := &pair{sa: newSA(suite, change...)}
	var err error
	if p.out, err = crypto.NewOutbound(&p.sa); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.out.Wipe)
	back := p.sa
	back.Direction = sadb.Inbound
	back.Local, back.Remote = p.sa.Remote, p.sa.Local
	if p.in, err = crypto.NewInbound(&back); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.in.Wipe)
	return p
}

// inner is a UDP packet of exactly n bytes.
func inner(v6 bool, n int, tos uint8) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	from, to := netip.MustParseAddrPort("10.6.6.6:1000"), netip.MustParseAddrPort("10.8.8.8:2000")
	header := packet.IPv4Len
	if v6 {
		from, to = netip.MustParseAddrPort("[fd00::6]:1000"), netip.MustParseAddrPort("[fd00::8]:2000")
		header = packet.IPv6Len
	}
	data := bytes.Clone(b[header+packet.UDPLen:])
	if packet.PutUDP(b, from, to, false, data, 7) != n {
		panic("inner packet does not fit")
	}
	packet.SetTOS(b, tos)
	return b
}

// espOf parses a sealed packet as the receiver's worker does.
func espOf(t testing.TB, sealed []byte) (body []byte, h packet.Header) {
	t.Helper()
	if v := h.ParseIP(sealed); v != packet.Pass || h.Length != len(sealed) {
		t.Fatalf("outer header: %v, length %d of %d", v, h.Length, len(sealed))
	}
	if h.Protocol == packet.ESP {
		return sealed[h.Payload:], h
	}
	if !packet.ChecksumOK(sealed, &h) {
		t.Fatal("outer UDP checksum is wrong")
	}
	payload, v := packet.UDPPayload(sealed, &h)
	if v != packet.Pass {
		t.Fatalf("outer UDP: %v", v)
	}
	kind, body := packet.Classify(payload)
	if kind != packet.EncapESP {
		t.Fatalf("payload of kind %d", kind)
	}
	return body, h
}

func (p *pair) seal(t testing.TB, clear []byte) []byte {
	t.Helper()
	dst := make([]byte, len(clear)+p.out.Overhead())
	n, v := p.out.Seal(dst, clear, 5)
	if v != packet.Pass {
		t.Fatalf("seal: %v", v)
	}
	return dst[:n]
}

func (p *pair) open(esp []byte, tos uint8) ([]byte, packet.Verdict) {
	dst := make([]byte, len(esp))
	n, v := p.openInto(dst, esp, tos, 6)
	return dst[:n], v
}

// openInto opens a tunnel packet, of whose outer header only the traffic class
// counts.
func (p *pair) openInto(dst, esp []byte, tos uint8, now int64) (int, packet.Verdict) {
	return p.in.Open(dst, nil, &packet.Header{TOS: tos, Protocol: packet.ESP}, esp, now)
}

// everyShape runs f for all suites, families inside and outside, encapsulation and ESN.
func everyShape(t *testing.T, f func(t *testing.T, p *pair, v6 bool)) {
	for _, s := range suites() {
		for shape := range 16 {
			v6in, v6out, encap, esn := shape&1 != 0, shape&2 != 0, shape&4 != 0, shape&8 != 0
			t.Run(fmt.Sprintf("%s/in6=%v,out6=%v,encap=%v,esn=%v", s.Keyword, v6in, v6out, encap, esn), func(t *testing.T) {
				f(t, newPair(t, s.Keyword, func(sa *sadb.SA) {
					sa.ESN, sa.Encap = esn, encap
					sa.Local, sa.Remote = endpoints(v6out)
				}), v6in)
			})
		}
	}
}

func TestSealedPacketsOpen(t *testing.T) {
	everyShape(t, func(t *testing.T, p *pair, v6 bool) {
		for n := 48; n < 48+40; n++ {
			clear := inner(v6, n, 0xb8)
			sealed := p.seal(t, clear)
			body, h := espOf(t, sealed)
			if h.Src != p.sa.Local.Addr() || h.Dst != p.sa.Remote.Addr() || h.TTL != 64 || h.TOS != 0xb8 {
				t.Fatalf("outer header %+v", h)
			}
			if p.sa.Encap && (h.SrcPort != 4500 || h.DstPort != 4501) {
				t.Fatalf("outer ports %d %d", h.SrcPort, h.DstPort)
			}
			got, v := p.open(body, h.TOS)
			if v != packet.Pass || !bytes.Equal(got, clear) {
				t.Fatalf("%d bytes: %v, got %x, want %x", n, v, got, clear)
			}
			if _, v := p.open(body, h.TOS); v != packet.DropReplay {
				t.Fatalf("seen twice: %v", v)
			}
		}
		if p.out.Packets != 40 || p.in.Packets != 40 || p.in.Drops != 40 || p.in.Bytes != p.out.Bytes {
			t.Fatalf("counters out %+v in %+v", p.out.Packets, p.in.Packets)
		}
	})
}

// The sender's whole window can be lost or reordered without harm.
func TestESNCrossesTheLowHalf(t *testing.T) {
	for _, s := range []string{"aes128gcm16", "aes128-sha256"} {
		p := newPair(t, s, func(sa *sadb.SA) { sa.ESN, sa.ReplayWindow = true, 64 })
		p.out.SetSequence(math.MaxUint32 - 20)
		p.in.SetTop(math.MaxUint32 - 20)
		var late []byte
		for i := range 40 {
			body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
			if i == 3 {
				late = body
				continue
			}
			if _, v := p.open(body, 0); v != packet.Pass {
				t.Fatalf("%s packet %d: %v", s, i, v)
			}
		}
		if _, v := p.open(late, 0); v != packet.Pass {
			t.Fatalf("%s: packet from before the wrap: %v", s, v)
		}
		if p.in.Publish(); p.in.Usage().Sequence != math.MaxUint32+20 {
			t.Fatalf("sequence %d", p.in.Usage().Sequence)
		}
	}
}

func TestSpoiledPacketsLeaveNeitherPlaintextNorTrace(t *testing.T) {
	for _, s := range suites() {
		p := newPair(t, s.Keyword)
		body, _ := espOf(t, p.seal(t, inner(false, 100, 0)))
		for i := 4; i < len(body); i++ { // the SPI's own four bytes chose this SA
			body[i] ^= 1
			dst := bytes.Repeat([]byte{0xee}, len(body))
			n, v := p.openInto(dst, body, 0, 9)
			body[i] ^= 1
			if n != 0 || v != packet.DropAuth && v != packet.DropReplay {
				t.Fatalf("%s byte %d: %d %v", s.Keyword, i, n, v)
			}
			plain := len(body) - 8 - s.IVLen - s.ICVLen
			if v == packet.DropAuth && !bytes.Equal(dst[:plain], make([]byte, plain)) {
				t.Fatalf("%s byte %d: dst holds %x", s.Keyword, i, dst)
			}
		}
		if p.in.Publish(); p.in.Usage().Sequence != 0 || p.in.LastUsed != 0 || p.in.Packets != 0 {
			t.Fatalf("%s: forged packets moved the SA: %+v", s.Keyword, p.in.Usage())
		}
		if _, v := p.open(body, 0); v != packet.Pass {
			t.Fatalf("%s: the true packet after the forged ones: %v", s.Keyword, v)
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, s := range suites() {
		p := newPair(t, s.Keyword)
		body, _ := espOf(t, p.seal(t, inner(false, 100, 0)))
		for n := range len(body) {
			switch _, v := p.open(body[:n], 0); v {
			case packet.DropTruncated, packet.DropMalformed, packet.DropAuth:
			default:
				t.Fatalf("%s cut to %d: %v", s.Keyword, n, v)
			}
		}
		if _, v := p.openInto(make([]byte, 20), body, 0, 0); v != packet.DropTooBig {
			t.Fatalf("short dst: %v", v)
		}
		clear := inner(false, 100, 0)
		for n := range len(clear) {
			if _, v := p.out.Seal(make([]byte, 300), clear[:n], 0); v != packet.DropTruncated {
				t.Fatalf("seal of %d bytes: %v", n, v)
			}
			if _, v := p.out.Seal(make([]byte, n), clear, 0); v != packet.DropTooBig {
				t.Fatalf("seal into %d bytes: %v", n, v)
			}
		}
		if next, _ := espOf(t, p.seal(t, clear)); binary.BigEndian.Uint32(next[4:]) != 2 {
			t.Fatal("refused packets took sequence numbers")
		}
	}
}

func TestSequenceNumbersEndAndDoNotComeAgain(t *testing.T) {
	for _, esn := range []bool{false, true} {
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ESN = esn })
		last := uint64(math.MaxUint32)
		if esn {
			last = math.MaxUint64
		}
		p.out.SetSequence(last - 1)
		p.seal(t, inner(false, 60, 0))
		for range 3 {
			if _, v := p.out.Seal(make([]byte, 200), inner(false, 60, 0), 0); v != packet.DropSequence {
				t.Fatalf("esn %v: after the last number: %v", esn, v)
			}
		}
	}
}

func TestSequenceZeroIsNeverAccepted(t *testing.T) {
	for _, window := range []uint32{0, 64} {
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ReplayWindow = window })
		body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
		clear(body[4:8]) // refused before its ICV is looked at
		if _, v := p.open(body, 0); v != packet.DropReplay {
			t.Errorf("window %d: %v", window, v)
		}
	}
}

func TestN1WithoutAWindowRepeatsPass(t *testing.T) {
	p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ReplayWindow = 0 })
	body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
	for range 2 {
		if _, v := p.open(body, 0); v != packet.Pass {
			t.Fatal(v)
		}
	}
}

func TestSequenceStartsAfterTheSA(t *testing.T) {
	p := newPair(t, "aes256gcm16", func(sa *sadb.SA) { sa.Sequence = 1 << 20 })
	body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
	if got := binary.BigEndian.Uint32(body[4:]); got != 1<<20+1 {
		t.Errorf("first sequence number %d", got)
	}
	if got := binary.BigEndian.Uint64(body[8:]); got != 1<<20+1 {
		t.Errorf("first IV %d", got)
	}
}

func TestRefusedSAs(t *testing.T) {
	for name, change := range map[string]func(*sadb.SA){
		"unknown suite":  func(sa *sadb.SA) { sa.Suite = "rot13" },
		"short key":      func(sa *sadb.SA) { sa.Key = sa.Key[1:] },
		"reserved SPI":   func(sa *sadb.SA) { sa.SPI = 255 },
		"unknown mode":   func(sa *sadb.SA) { sa.Mode = 2 },
		"NULL alone":     func(sa *sadb.SA) { sa.Suite, sa.Key = "null", nil },
		"direction":      func(sa *sadb.SA) { sa.Direction ^= 1 },
		"past sequence":  func(sa *sadb.SA) { sa.Sequence, sa.ReplayWindow = 1<<32, 1<<17 },
		"no destination": func(sa *sadb.SA) { sa.Remote, sa.ReplayWindow = netip.AddrPort{}, 1<<17 },
	} {
		sa := newSA("aes128gcm16", change)
		if _, err := esp.NewOutbound(&sa); err == nil {
			t.Errorf("outbound, %s: accepted", name)
		}
		sa.Direction ^= 1
		if _, err := esp.NewInbound(&sa); err == nil {
			t.Errorf("inbound, %s: accepted", name)
		}
	}
}

func TestUsageAndWipe(t *testing.T) {
	p := newPair(t, "aes128gcm16")
	body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
	if p.out.Usage() != (esp.Usage{}) {
		t.Error("usage before Publish")
	}
	p.open(body, 0)
	p.out.Publish()
	p.in.Publish()
	if got, want := p.out.Usage(), (esp.Usage{Packets: 1, Bytes: 60, Sequence: 1, LastUsed: 5}); got != want {
		t.Errorf("outbound %+v, want %+v", got, want)
	}
	if got, want := p.in.Usage(), (esp.Usage{Packets: 1, Bytes: 60, Sequence: 1, LastUsed: 6}); got != want {
		t.Errorf("inbound %+v, want %+v", got, want)
	}
	p.out.Wipe()
	p.in.Wipe()
	p.in.Wipe()
	if _, v := p.out.Seal(make([]byte, 200), inner(false, 60, 0), 0); v != packet.DropNoSA {
		t.Errorf("seal after Wipe: %v", v)
	}
	if _, v := p.open(body, 0); v != packet.DropUnknownSPI {
		t.Errorf("open after Wipe: %v", v)
	}
}

func TestZeroAllocationsPerPacket(t *testing.T) {
	everyShape(t, func(t *testing.T, p *pair, v6 bool) {
		clear := inner(v6, 1000, 0)
		sealed, dst := make([]byte, 2000), make([]byte, 2000)
		allocs := testing.AllocsPerRun(10, func() {
			n, v := p.out.Seal(sealed, clear, 1)
			var h packet.Header
			if v != packet.Pass || h.ParseIP(sealed[:n]) != packet.Pass {
				t.Fatal(v)
			}
			body := sealed[h.Payload:n]
			if p.sa.Encap {
				body = body[packet.UDPLen:]
			}
			if _, v := p.in.Open(dst, sealed[:n], &h, body, 1); v != packet.Pass {
				t.Fatal(v)
			}
			p.in.Open(dst, sealed[:n], &h, body, 1) // a replay
			body[4] ^= 0x10
			p.in.Open(dst, sealed[:n], &h, body, 1) // a forgery
		})
		if allocs != 0 {
			t.Errorf("%v allocations per packet", allocs)
		}
	})
}
