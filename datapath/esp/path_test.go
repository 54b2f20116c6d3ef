package esp_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// quote is an ICMP error about a packet that p's sender sent, as its host's
// kernel would hand it over.
func (p *pair) quote(t testing.TB, sealed []byte, mtu int) packet.Quote {
	t.Helper()
	var h, eh packet.Header
	if v := h.ParseIP(sealed); v != packet.Pass {
		t.Fatal(v)
	}
	b := make([]byte, packet.MaxICMPError)
	n := packet.PutTooBig(b, sealed, &h, h.Dst, mtu)
	if v := eh.ParseIP(b[:n]); v != packet.Pass {
		t.Fatal(v)
	}
	q, ok := packet.ParseQuote(b[:n], &eh, 4500)
	if !ok {
		t.Fatalf("no quote in %x", b[:n])
	}
	return q
}

func TestPathMTUIsLearnedOnlyFromWhoSawAPacket(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, encap := range []bool{false, true} {
			p := newPair(t, "aes128gcm16", func(sa *sadb.SA) {
				sa.Encap = encap
				sa.Local, sa.Remote = endpoints(v6)
			})
			p.out.SetSequence(1 << 21)
			sealed := p.seal(t, inner(false, 1450, 0))
			p.out.Publish()
			q := p.quote(t, sealed, 1380)
			for name, spoil := range map[string]func(*packet.Quote){
				"another SPI":           func(q *packet.Quote) { q.SPI++ },
				"SPI not quoted":        func(q *packet.Quote) { q.Identified = false },
				"to another host":       func(q *packet.Quote) { q.Dst = q.Src },
				"from another host":     func(q *packet.Quote) { q.Src = q.Dst },
				"encapsulation differs": func(q *packet.Quote) { q.Encap = !q.Encap },
				"long ago":              func(q *packet.Quote) { q.Sequence -= 1<<20 + 1 },
				"in the far future":     func(q *packet.Quote) { q.Sequence += 1<<20 + 1 },
				"sequence number 0":     func(q *packet.Quote) { q.Sequence = 0 },
				"not about size":        func(q *packet.Quote) { q.TooBig = false },
				"longer than it was":    func(q *packet.Quote) { q.MTU = q.Length },
			} {
				bad := q
				spoil(&bad)
				if p.out.Learn(&bad) || p.out.PathMTU() != 0 {
					t.Errorf("%s: believed", name)
				}
			}
			before := p.out.InnerMTU(1500)
			if !p.out.Learn(&q) || p.out.PathMTU() != 1380 {
				t.Fatalf("not learned: %d", p.out.PathMTU())
			}
			n := p.out.InnerMTU(1500)
			if n >= before || len(p.seal(t, inner(false, n, 0))) > 1380 || n != p.out.InnerMTU(1380) {
				t.Errorf("inner MTU %d after, %d before", n, before)
			}
			if p.out.Learn(&q) {
				t.Error("learned twice")
			}
			q.MTU = 68 // a forger on the path cannot starve the tunnel
			if least := map[bool]int{false: 552, true: 1280}[v6]; !p.out.Learn(&q) || p.out.PathMTU() != least {
				t.Errorf("least MTU %d, want %d", p.out.PathMTU(), least)
			}
			p.out.SetPathMTU(0)
			if p.out.InnerMTU(1500) != before {
				t.Error("the path is not forgotten")
			}
		}
	}
}

func TestPathMTUOfRoutersThatDoNotSayIt(t *testing.T) {
	p := newPair(t, "aes128gcm16")
	sealed := p.seal(t, inner(false, 1450, 0))
	p.out.Publish()
	q := p.quote(t, sealed, 0)
	for _, want := range []int{1492, 1492} {
		if p.out.Learn(&q); p.out.PathMTU() != want {
			t.Errorf("path MTU %d, want %d", p.out.PathMTU(), want)
		}
	}
	q = p.quote(t, sealed[:len(sealed):len(sealed)], 0)
	q.Length = 1492
	if p.out.Learn(&q); p.out.PathMTU() != 1006 {
		t.Errorf("path MTU %d, want 1006", p.out.PathMTU())
	}
}

func TestPathMTUOfTheSA(t *testing.T) {
	p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.PathMTU = 1300 })
	if got := p.out.InnerMTU(1500); got != p.out.InnerMTU(1300) || got == 0 {
		t.Errorf("inner MTU %d", got)
	}
}

// defragmented lets gopacket put IPv4 fragments together.
func defragmented(t *testing.T, fragments [][]byte) []byte {
	t.Helper()
	d := ip4defrag.NewIPv4Defragmenter()
	for i, b := range fragments {
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.DecodeOptions{NoCopy: false})
		whole, err := d.DefragIPv4(p.Layer(layers.LayerTypeIPv4).(*layers.IPv4))
		if err != nil {
			t.Fatal(err)
		}
		if whole != nil {
			if i != len(fragments)-1 && len(fragments) > 1 {
				t.Fatalf("whole after %d of %d", i+1, len(fragments))
			}
			buf := gopacket.NewSerializeBuffer()
			opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
			if err := gopacket.SerializeLayers(buf, opts, whole, gopacket.Payload(whole.Payload)); err != nil {
				t.Fatal(err)
			}
			return buf.Bytes()
		}
	}
	t.Fatal("fragments are missing")
	return nil
}

// N2: fragments made before encryption are packets of their own to the receiver,
// whose gateway reassembles nothing.
func TestN2FragmentsBeforeEncryption(t *testing.T) {
	for _, s := range suites() {
		for _, mtu := range []int{576, 1280, 1400, 1500} {
			p := newPair(t, s.Keyword)
			clear := inner(false, 3000, 0)
			var h packet.Header
			h.ParseIP(clear)
			var opened [][]byte
			for at := 0; ; {
				piece := make([]byte, 2000)
				n, next := packet.Fragment(piece, clear, &h, p.out.InnerMTU(mtu), at)
				if n == 0 {
					t.Fatalf("%s: no fragment at %d", s.Keyword, at)
				}
				sealed := p.seal(t, piece[:n])
				if len(sealed) > mtu {
					t.Fatalf("%s: %d bytes with an MTU of %d", s.Keyword, len(sealed), mtu)
				}
				body, oh := espOf(t, sealed)
				got, v := p.open(body, oh.TOS)
				if v != packet.Pass || oh.Fragment {
					t.Fatalf("%s: %v", s.Keyword, v)
				}
				opened = append(opened, got)
				if at = next; at == 0 {
					break
				}
			}
			if got := defragmented(t, opened); !bytes.Equal(got, clear) {
				t.Errorf("%s: %x, want %x", s.Keyword, got, clear)
			}
		}
	}
}

// N2 off: what comes out of Seal is fragmented, and is itself again when the
// peer's kernel has put it together.
func TestN2FragmentsAfterEncryption(t *testing.T) {
	for shape := range 4 {
		v6, encap := shape&1 != 0, shape&2 != 0
		p := newPair(t, "aes256gcm16", func(sa *sadb.SA) {
			sa.Encap, sa.DF = encap, sadb.DFClear
			sa.Local, sa.Remote = endpoints(v6)
		})
		for n := 1500; n < 1520; n++ {
			clear := inner(false, n, 0)
			sealed := p.seal(t, clear)
			var pieces [][]byte
			for at := 0; ; {
				dst := make([]byte, 1400)
				n, next := p.out.Fragment(dst, sealed, 1300, at)
				if n == 0 || n > 1300 {
					t.Fatalf("%d bytes at %d", n, at)
				}
				pieces = append(pieces, dst[:n])
				if at = next; at == 0 {
					break
				}
			}
			if len(pieces) != 2 {
				t.Fatalf("%d fragments", len(pieces))
			}
			whole := reassembled6(pieces)
			if !v6 {
				whole = defragmented(t, pieces)
			}
			if !bytes.Equal(whole, sealed) {
				t.Fatalf("v6 %v: %x, want %x", v6, whole, sealed)
			}
		}
	}
	p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.DF = sadb.DFSet })
	if n, _ := p.out.Fragment(make([]byte, 2000), p.seal(t, inner(false, 1500, 0)), 1300, 0); n != 0 {
		t.Error("fragmented despite DF")
	}
	if n, _ := p.out.Fragment(make([]byte, 2000), []byte("no packet"), 1300, 0); n != 0 {
		t.Error("fragmented what is no packet")
	}
}

// reassembled6 joins fragments of a packet without other extension headers;
// packet's own tests compare them with gopacket.
func reassembled6(pieces [][]byte) []byte {
	whole := bytes.Clone(pieces[0][:40])
	for _, b := range pieces {
		whole = append(whole, b[48:]...)
	}
	packet.Restack(whole, 40, pieces[0][40])
	return whole
}

func TestOuterHeaderFields(t *testing.T) {
	label := func(b []byte) uint32 { return uint32(b[1]&15)<<16 | uint32(b[2])<<8 | uint32(b[3]) }
	labelled := inner(true, 80, 0xb9)
	labelled[1], labelled[2], labelled[3] = labelled[1]|0x0a, 0xbc, 0xde
	for _, v6 := range []bool{false, true} {
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) {
			sa.Local, sa.Remote = endpoints(v6)
			sa.FixDSCP, sa.DSCP, sa.TTL, sa.FlowLabel = true, 46, 255, 0x12345
		})
		sealed := p.seal(t, labelled)
		_, h := espOf(t, sealed)
		if h.TOS != 46<<2|1 || h.TTL != 255 || v6 && label(sealed) != 0x12345 {
			t.Errorf("fixed: %+v label %#x", h, label(sealed))
		}
		p = newPair(t, "aes128gcm16", func(sa *sadb.SA) {
			sa.Local, sa.Remote = endpoints(v6)
			sa.CopyFlowLabel, sa.FlowLabel = true, 0x54321
		})
		sealed = p.seal(t, labelled)
		if _, h := espOf(t, sealed); h.TOS != 0xb9 || h.TTL != 64 || v6 && label(sealed) != 0xabcde {
			t.Errorf("copied: %+v label %#x", h, label(sealed))
		}
		if sealed := p.seal(t, inner(false, 80, 0)); v6 && label(sealed) != 0x54321 {
			t.Errorf("from IPv4: label %#x", label(sealed))
		}
	}
	for name, change := range map[string]func(*sadb.SA){
		"DSCP of 7 bits":        func(sa *sadb.SA) { sa.DSCP = 64 },
		"flow label of 21 bits": func(sa *sadb.SA) { sa.FlowLabel = 1 << 20 },
	} {
		sa := newSA("aes128gcm16", change)
		if _, err := esp.NewOutbound(&sa); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSequenceOfErrorsWraps(t *testing.T) {
	p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ESN = true })
	p.out.SetSequence(math.MaxUint32 - 1)
	sealed := p.seal(t, inner(false, 1000, 0))
	for range 10 {
		p.seal(t, inner(false, 100, 0))
	}
	p.out.Publish()
	q := p.quote(t, sealed, 900)
	if !p.out.Sent(&q) {
		t.Error("a packet from before the low half began again is not known")
	}
}
