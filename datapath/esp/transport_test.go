package esp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// headers are IP headers as far as transport mode leaves them in the clear, and
// what it encrypts of them.
var headers = []struct {
	name   string
	v6     bool
	clear  []byte // behind the fixed header
	hidden []byte
	first  uint8 // protocol of the first IPv6 extension header
}{
	{"IPv4", false, nil, nil, 0},
	{"IPv4 with options", false, []byte{0x94, 4, 0, 0, 0x83, 7, 4, 10, 9, 9, 9, 0}, nil, 0},
	{"IPv6", true, nil, nil, packet.UDP},
	{"IPv6 with hop-by-hop options", true, ext(packet.UDP, 0), nil, 0},
	{"IPv6 with all that stand before", true, join(ext(60, 0), ext(43, 1), ext(44, 2), frag(packet.UDP)), nil, 0},
	{"IPv6 with an atomic fragment header", true, frag(packet.UDP), nil, 44},
	{"IPv6 with destination options for the end", true, nil, ext(packet.UDP, 1), 60},
	{"IPv6 with both", true, join(ext(43, 0), ext(60, 2)), ext(packet.UDP, 0), 60},
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// ext is an extension header of 8*(1+more) bytes; a routing header with no
// segments left when more is 2, which any type may have.
func ext(next uint8, more int) []byte {
	b := make([]byte, 8+8*more)
	b[0], b[1] = next, byte(more)
	if more != 2 {
		b[2], b[3] = 1, byte(4+8*more) // PadN
	}
	return b
}

func frag(next uint8) []byte { return []byte{next, 0, 0, 0, 1, 2, 3, 4} }

// between is a packet of R6 to R8 itself with n bytes of UDP, under headers[i].
func between(i, n int) []byte {
	c := headers[i]
	from, to := endpoints(c.v6)
	plain := make([]byte, 100+n)
	plain = plain[:packet.PutUDP(plain, from, to, false, counting(0, n-8), 7)]
	fixed := packet.IPv4Len
	if c.v6 {
		fixed = packet.IPv6Len
	}
	b := join(plain[:fixed], c.clear, c.hidden, plain[fixed:])
	if !c.v6 {
		b[0] = 0x40 | byte(fixed+len(c.clear))/4
		packet.Restack(b, fixed+len(c.clear), packet.UDP)
		return b
	}
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-fixed))
	if len(c.clear)+len(c.hidden) > 0 {
		b[6] = c.first
	}
	return b
}

func transport(v6, encap bool) func(*sadb.SA) {
	return func(sa *sadb.SA) {
		sa.Mode, sa.Encap = sadb.Transport, encap
		sa.Local, sa.Remote = endpoints(v6)
	}
}

// openWhole opens a sealed packet with its own headers.
func (p *pair) openWhole(t testing.TB, sealed []byte) ([]byte, packet.Verdict) {
	t.Helper()
	body, h := espOf(t, sealed)
	dst := make([]byte, len(sealed))
	n, v := p.in.Open(dst, sealed, &h, body, 6)
	return dst[:n], v
}

func TestTransportModeKeepsEveryHeader(t *testing.T) {
	for _, s := range suites() {
		for i, c := range headers {
			for _, encap := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/encap=%v", s.Keyword, c.name, encap), func(t *testing.T) {
					p := newPair(t, s.Keyword, transport(c.v6, encap))
					for n := 8; n < 30; n++ {
						clear := between(i, n)
						sealed := p.seal(t, clear)
						if got := p.out.Sealed(clear); got != len(sealed) {
							t.Fatalf("Sealed says %d bytes, Seal made %d", got, len(sealed))
						}
						var h packet.Header
						if v := h.ParseIP(sealed); v != packet.Pass {
							t.Fatalf("outer header: %v %x", v, sealed)
						}
						head := len(clear) - n - len(c.hidden)
						if h.Payload != head || encap != (h.Protocol == packet.UDP) {
							t.Fatalf("ESP at %d, want %d; %+v", h.Payload, head, h)
						}
						got, v := p.openWhole(t, sealed)
						if v != packet.Pass || !bytes.Equal(got, clear) {
							t.Fatalf("%v %x, want %x", v, got, clear)
						}
					}
				})
			}
		}
	}
}

func TestTransportModeRefusesFragments(t *testing.T) {
	first, later := between(0, 40), between(0, 40)
	binary.BigEndian.PutUint16(first[6:], 0x2000)
	binary.BigEndian.PutUint16(later[6:], 5)
	packet.SetIPv4Checksum(first)
	packet.SetIPv4Checksum(later)
	six := between(5, 40)
	six[43] = 1 // more fragments
	for name, b := range map[string][]byte{"first": first, "later": later, "IPv6": six} {
		p := newPair(t, "aes128gcm16", transport(b[0]>>4 == 6, false))
		if _, v := p.out.Seal(make([]byte, 500), b, 0); v != packet.DropFragment {
			t.Errorf("%s: %v", name, v)
		}
		if p.out.Sealed(b) != 0 {
			t.Errorf("%s: has a sealed length", name)
		}
	}
}

func TestTransportModeCarriesAnyProtocol(t *testing.T) {
	for _, next := range []uint8{1, 4, packet.TCP, packet.IPv6, 47, 50, 89, 255} {
		p := newPair(t, "aes128gcm16", transport(false, false))
		clear := between(0, 60)
		packet.Restack(clear, packet.IPv4Len, next)
		if got, v := p.openWhole(t, p.seal(t, clear)); v != packet.Pass || !bytes.Equal(got, clear) {
			t.Errorf("protocol %d: %v %x", next, v, got)
		}
	}
}

// RFC 3948 §3.1.2: a NAT has changed the addresses that the checksum covers.
func TestTransportModeThroughNAT(t *testing.T) {
	translated := netip.MustParseAddr("198.51.100.77").As4()
	for _, c := range []struct {
		name   string
		change func(ip []byte, h *packet.Header)
		zero   bool
	}{
		{"UDP", func([]byte, *packet.Header) {}, false},
		{"UDP without a checksum", func(ip []byte, h *packet.Header) { clear(ip[h.Payload+6 : h.Payload+8]) }, true},
		{"TCP", func(ip []byte, h *packet.Header) {
			packet.Restack(ip, h.Payload, packet.TCP)
			h.Protocol = packet.TCP
			packet.SetChecksum(ip, h)
		}, false},
	} {
		p := newPair(t, "aes256gcm16", transport(false, true))
		sent := between(1, 60)
		var h packet.Header
		h.ParseIP(sent)
		c.change(sent, &h)
		if !packet.ChecksumOK(sent, &h) {
			t.Fatalf("%s: wrong before it was sent", c.name)
		}
		sealed := p.seal(t, sent)
		copy(sealed[12:16], translated[:])
		packet.SetIPv4Checksum(sealed)
		got, v := p.openWhole(t, sealed)
		var inner packet.Header
		if v != packet.Pass || inner.ParseIP(got) != packet.Pass || inner.Src != netip.AddrFrom4(translated) {
			t.Errorf("%s: %v %+v", c.name, v, inner)
			continue
		}
		if !packet.ChecksumOK(got, &inner) || !bytes.Equal(got[h.Payload+18:], sent[h.Payload+18:]) {
			t.Errorf("%s: %x", c.name, got)
		}
		if c.zero && binary.BigEndian.Uint16(got[h.Payload+6:]) != 0 {
			t.Errorf("%s: now has one", c.name)
		}
	}
}

func TestTransportModeTakesUDPPaddingOff(t *testing.T) {
	p := newPair(t, "aes128gcm16", transport(false, false))
	clear := between(0, 30)
	plain := append(bytes.Clone(clear[20:]), make([]byte, 200)...) // RFC 4303 §2.7
	plain = append(plain, 0, packet.UDP)
	body := craft(t, &p.sa, 1, plain)
	ip := append(bytes.Clone(clear[:20]), body...)
	packet.Restack(ip, 20, packet.ESP)
	if got, v := p.openWhole(t, ip); v != packet.Pass || !bytes.Equal(got, clear) {
		t.Errorf("%v %x, want %x", v, got, clear)
	}
	if _, v := p.openWhole(t, withBody(ip, craft(t, &p.sa, 2, []byte{1, 2, 2, packet.NoNext}))); v != packet.DropDummy {
		t.Errorf("dummy: %v", v)
	}
	if _, v := p.openWhole(t, withBody(ip, craft(t, &p.sa, 3, []byte{1, 2, 3, packet.UDP}))); v != packet.DropPadding {
		t.Errorf("bad padding: %v", v)
	}
}

func withBody(ip, body []byte) []byte {
	b := append(bytes.Clone(ip[:20]), body...)
	packet.Restack(b, 20, packet.ESP)
	return b
}

func TestInnerMTUIsExactInTransportMode(t *testing.T) {
	for _, s := range suites() {
		for shape := range 4 {
			v6 := shape&1 != 0
			p := newPair(t, s.Keyword, transport(v6, shape&2 != 0))
			for mtu := 200; mtu < 240; mtu++ {
				n := p.out.InnerMTU(mtu)
				fixed := map[bool]int{false: 20, true: 40}[v6]
				plain := map[bool]int{false: 0, true: 2}[v6]
				if got := p.out.Sealed(between(plain, n-fixed)); got == 0 || got > mtu {
					t.Fatalf("%s mtu %d: %d bytes become %d", s.Keyword, mtu, n, got)
				}
				if got := p.out.Sealed(between(plain, n-fixed+1)); got <= mtu {
					t.Fatalf("%s mtu %d: %d bytes fit as well", s.Keyword, mtu, n+1)
				}
			}
		}
	}
}

func TestTransportModeAllocatesNothing(t *testing.T) {
	for _, s := range suites() {
		for i, c := range headers {
			p := newPair(t, s.Keyword, transport(c.v6, true))
			clear, sealed, dst := between(i, 300), make([]byte, 600), make([]byte, 600)
			var h packet.Header
			allocs := testing.AllocsPerRun(20, func() {
				n, v := p.out.Seal(sealed, clear, 1)
				if v != packet.Pass || h.ParseIP(sealed[:n]) != packet.Pass {
					t.Fatal(v)
				}
				if _, v := p.in.Open(dst, sealed[:n], &h, sealed[h.Payload+packet.UDPLen:n], 1); v != packet.Pass {
					t.Fatal(v)
				}
			})
			if allocs != 0 {
				t.Errorf("%s %s: %v allocations per packet", s.Keyword, c.name, allocs)
			}
		}
	}
}
