package esp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// headerCase is an inner packet whose headers are out of the ordinary. Tunnel mode
// must not care: it comes out as it went in.
type headerCase struct {
	name  string
	clear []byte
}

// v4Case changes an IPv4 packet of 100 bytes; its checksum is made right after.
func v4Case(name string, change func(ip []byte) []byte) headerCase {
	ip := change(inner(false, 100, 0))
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	packet.SetIPv4Checksum(ip)
	return headerCase{"IPv4 " + name, ip}
}

// v6Case puts extension headers behind the fixed one.
func v6Case(name string, first uint8, chain ...[]byte) headerCase {
	plain := inner(true, 120, 0)
	ip := join(append([][]byte{plain[:packet.IPv6Len]}, append(chain, plain[packet.IPv6Len:])...)...)
	ip[6] = first
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-packet.IPv6Len))
	return headerCase{"IPv6 " + name, ip}
}

func withOptions(options ...byte) func([]byte) []byte {
	return func(ip []byte) []byte {
		ip[0] = 0x45 + byte(len(options)/4)
		return join(ip[:packet.IPv4Len], options, ip[packet.IPv4Len:])
	}
}

func set(at int, values ...byte) func([]byte) []byte {
	return func(ip []byte) []byte { copy(ip[at:], values); return ip }
}

func headerCases() []headerCase {
	return []headerCase{
		v4Case("options", withOptions(1, 1, 1, 0)),
		v4Case("record route", withOptions(7, 7, 4, 0, 0, 0, 0, 0)),
		v4Case("forty bytes of options", withOptions(bytes.Repeat([]byte{1}, 40)...)),
		v4Case("router alert", withOptions(0x94, 4, 0, 0)),
		v4Case("first fragment", set(6, 0x20, 0)),
		v4Case("later fragment", set(6, 0x20, 9)),
		v4Case("last fragment", set(6, 0, 9)),
		v4Case("DF", set(6, 0x40, 0)),
		v4Case("expedited forwarding", set(1, 46<<2)),
		v4Case("capable of ECN", set(1, 10<<2|packet.ECT0)),
		v4Case("congestion experienced", set(1, packet.CE)),
		v4Case("last hop", set(8, 1)),
		v4Case("TCP", set(9, packet.TCP)),
		v4Case("GRE", set(9, 47)),
		v4Case("AH", set(9, 51)),
		v4Case("IPv4 in it", set(9, packet.IPv4)),
		v4Case("nothing but a header", func(ip []byte) []byte { return set(9, 47)(ip)[:packet.IPv4Len] }),
		v6Case("no extension", packet.UDP),
		v6Case("hop-by-hop options", 0, ext(packet.UDP, 0)),
		v6Case("destination options", 60, ext(packet.UDP, 1)),
		v6Case("routing", 43, ext(packet.UDP, 2)),
		v6Case("first fragment", 44, []byte{packet.UDP, 0, 0, 1, 1, 2, 3, 4}),
		v6Case("later fragment", 44, []byte{packet.UDP, 0, 0, 9, 1, 2, 3, 4}),
		v6Case("every one of them", 0, ext(60, 0), ext(43, 1), ext(44, 2), []byte{60, 0, 0, 1, 1, 2, 3, 4}, ext(packet.UDP, 0)),
		v6Case("no next header", packet.NoNext),
		{"IPv6 expedited forwarding", inner(true, 100, 46<<2|packet.ECT1)},
	}
}

// TestHeaderCasesAgainstScapy: scapy opens what we sealed to the very packet that
// went in, and we open what scapy sealed; what gopacket reads of the outer header is
// what RFC 4301 §5.1.2 wants of it.
func TestHeaderCasesAgainstScapy(t *testing.T) {
	python := scapyPython(t)
	var cases []scapyCase
	var checks []func(answer string)
	for i, c := range headerCases() {
		for shape := range 4 {
			v6, encap := shape&1 != 0, shape&2 != 0
			p := newPair(t, "aes128gcm16", func(sa *sadb.SA) {
				sa.Encap = encap
				sa.Local, sa.Remote = endpoints(v6)
			})
			s, _ := esp.Find("aes128gcm16")
			name := fmt.Sprintf("%s, out6=%v encap=%v", c.name, v6, encap)
			sealed := p.seal(t, c.clear)
			checkOuter(t, name, sealed, c.clear, v6)
			cases = append(cases, caseOf(s, &p.sa, "open", 1, sealed), caseOf(s, &p.sa, "seal", uint64(10+i), c.clear))
			checks = append(checks,
				func(answer string) {
					if answer != hex.EncodeToString(c.clear) {
						t.Errorf("%s: scapy opened %s, want %x", name, answer, c.clear)
					}
				},
				func(answer string) { openScapy(t, name, p, c.clear, answer) })
		}
	}
	for i, answer := range runScapy(t, python, cases) {
		checks[i](answer)
	}
}

// checkOuter reads the outer header with gopacket. The pair copies DSCP, ECN and DF,
// which every IPv6 packet has in effect, and sets no hop limit of its own.
func checkOuter(t *testing.T, name string, sealed, clear []byte, v6 bool) {
	t.Helper()
	first := gopacket.LayerType(layers.LayerTypeIPv4)
	if v6 {
		first = layers.LayerTypeIPv6
	}
	var inside packet.Header
	if v := inside.ParseIP(clear); v != packet.Pass {
		t.Fatalf("%s: %v", name, v)
	}
	p := gopacket.NewPacket(sealed, first, gopacket.Default)
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		df := ip.Flags&layers.IPv4DontFragment != 0
		if ip.TOS != inside.TOS || ip.TTL != packet.DefaultTTL || df != (inside.DF || inside.Version == 6) || int(ip.Length) != len(sealed) || len(ip.Options) != 0 {
			t.Errorf("%s: outer header %+v for %+v", name, ip, inside)
		}
	case *layers.IPv6:
		if ip.TrafficClass != inside.TOS || ip.HopLimit != packet.DefaultTTL || int(ip.Length)+packet.IPv6Len != len(sealed) {
			t.Errorf("%s: outer header %+v for %+v", name, ip, inside)
		}
	default:
		t.Errorf("%s: no outer header: %v", name, p)
	}
}

// TestConcealmentAgainstScapy: TFC padding in either direction (RFC 4303 §2.7), and a
// dummy packet (§2.6), which is dropped as what it is.
func TestConcealmentAgainstScapy(t *testing.T) {
	python := scapyPython(t)
	for _, v6 := range []bool{false, true} {
		clear := inner(v6, 100, 0)
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.TFC = 600 })
		s, _ := esp.Find("aes128gcm16")
		dst := make([]byte, 900)
		n, v := p.out.Seal(dst, clear, 5)
		if v != packet.Pass {
			t.Fatal(v)
		}
		dummy := p.sa
		dummy.Mode = sadb.Transport // so that scapy takes the next header that it is given
		empty := v4Case("dummy", set(9, packet.NoNext)).clear
		copy(empty[12:], []byte{192, 0, 2, 6, 192, 0, 2, 8})
		packet.SetIPv4Checksum(empty)
		answers := runScapy(t, python, []scapyCase{
			caseOf(s, &p.sa, "open", 1, dst[:n]),
			caseOf(s, &p.sa, "seal", 2, append(bytes.Clone(clear), make([]byte, 333)...)),
			caseOf(s, &dummy, "seal", 3, empty),
		})
		padding, padded := strings.CutPrefix(answers[0], hex.EncodeToString(clear))
		if !padded || len(padding)/2 < 500-4 || strings.Trim(padding, "0") != "" {
			t.Errorf("in6=%v: scapy opened %s, want %x and zeros up to 600 bytes", v6, answers[0], clear)
		}
		openScapy(t, "padded by scapy", p, clear, answers[1])
		body, h := espOf(t, unhex(t, answers[2]))
		if _, v := p.open(body, h.TOS); v != packet.DropDummy {
			t.Errorf("in6=%v: a dummy of scapy: %v", v6, v)
		}
	}
}
