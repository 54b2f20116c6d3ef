package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

const natt = 4500

// espPacket is what a gateway sent: ESP with SPI 0x0a0b0c0d and sequence number 7.
func espPacket(t testing.TB, v6, encap bool, n int) []byte {
	esp := append([]byte{0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 7}, make([]byte, n)...)
	protocol := layers.IPProtocolESP
	ls := []gopacket.SerializableLayer{gopacket.Payload(esp)}
	if encap {
		protocol = layers.IPProtocolUDP
		u := &layers.UDP{SrcPort: natt, DstPort: 1024}
		u.SetNetworkLayerForChecksum(ip4(protocol))
		if v6 {
			u.SetNetworkLayerForChecksum(ip6(protocol))
		}
		ls = append([]gopacket.SerializableLayer{u}, ls...)
	}
	if v6 {
		return serialize(t, append([]gopacket.SerializableLayer{ip6(protocol)}, ls...)...)
	}
	return serialize(t, append([]gopacket.SerializableLayer{ip4(protocol)}, ls...)...)
}

// errorAbout lets gopacket write the ICMP error of a router about a packet.
func errorAbout(t testing.TB, about []byte, kind, code uint8, value uint32, quoted int) []byte {
	about = about[:min(quoted, len(about))]
	unused := binary.BigEndian.AppendUint32(nil, value)
	if about[0]>>4 == 4 {
		ip := ip4(layers.IPProtocolICMPv4)
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: uint16(value >> 16), Seq: uint16(value)}
		return serialize(t, ip, icmp, gopacket.Payload(about))
	}
	ip := ip6(layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
	icmp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ip, icmp, gopacket.Payload(append(unused, about...)))
}

func parseQuote(t testing.TB, b []byte) (packet.Quote, bool) {
	t.Helper()
	var h packet.Header
	if v := h.ParseIP(b); v != packet.Pass {
		t.Fatal(v)
	}
	return packet.ParseQuote(b, &h, natt)
}

func TestQuotesOfESP(t *testing.T) {
	for _, c := range []struct {
		name       string
		v6, encap  bool
		kind, code uint8
		value      uint32
		quoted     int
		want       packet.Quote
	}{
		{"fragmentation needed", false, false, 3, 4, 1400, 28, packet.Quote{TooBig: true, MTU: 1400, Length: 1028, Identified: true}},
		{"from an old router", false, false, 3, 4, 0, 28, packet.Quote{TooBig: true, Length: 1028, Identified: true}},
		{"packet too big", true, false, 2, 0, 1280, 1240, packet.Quote{TooBig: true, MTU: 1280, Length: 1048, Identified: true}},
		{"encapsulated, 8 bytes only", false, true, 3, 4, 1300, 28, packet.Quote{TooBig: true, MTU: 1300, Length: 1036, Encap: true}},
		{"encapsulated", false, true, 3, 4, 1300, 36, packet.Quote{TooBig: true, MTU: 1300, Length: 1036, Encap: true, Identified: true}},
		{"encapsulated in IPv6", true, true, 2, 0, 1290, 1240, packet.Quote{TooBig: true, MTU: 1290, Length: 1056, Encap: true, Identified: true}},
		{"host unreachable", false, false, 3, 1, 1400, 28, packet.Quote{Length: 1028, Identified: true}},
		{"time exceeded", false, false, 11, 0, 0, 500, packet.Quote{Length: 1028, Identified: true}},
		{"no route", true, false, 1, 0, 0, 60, packet.Quote{Length: 1048, Identified: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := errorAbout(t, espPacket(t, c.v6, c.encap, 1000), c.kind, c.code, c.value, c.quoted)
			want := c.want
			want.From, want.Src, want.Dst = a4, a4, b4
			if c.v6 {
				want.From, want.Src, want.Dst = a6, a6, b6
			}
			if c.encap {
				want.SrcPort, want.DstPort = natt, 1024
			}
			if want.Identified {
				want.SPI, want.Sequence = 0x0a0b0c0d, 7
			}
			if got, ok := parseQuote(t, b); !ok || got != want {
				t.Errorf("%v %+v, want %+v", ok, got, want)
			}
			b[len(b)-1] ^= 1 // no longer what the checksum covers
			if got, ok := parseQuote(t, b); ok {
				t.Errorf("with a wrong checksum: %+v", got)
			}
		})
	}
}

func TestQuotesOfOtherPackets(t *testing.T) {
	whole := espPacket(t, false, false, 100)
	later := frag4(whole, 64, true)
	ike := espPacket(t, false, true, 100)
	clear(ike[28:32])
	dns := over4(t, layers.IPProtocolUDP, udp(), 50)
	for name, b := range map[string][]byte{
		"a later fragment":  errorAbout(t, later, 3, 4, 1400, 100),
		"IKE":               errorAbout(t, ike, 3, 4, 1400, 100),
		"UDP of others":     errorAbout(t, dns, 3, 4, 1400, 100),
		"less than its IP":  errorAbout(t, whole, 3, 4, 1400, 19),
		"nothing":           errorAbout(t, whole, 3, 4, 1400, 1),
		"an echo request":   errorAbout(t, whole, 8, 0, 0, 100),
		"an ICMPv6 message": errorAbout(t, espPacket(t, true, false, 100), 128, 0, 0, 200),
		"ESP itself":        whole,
	} {
		if got, ok := parseQuote(t, b); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// What our own data path answers is understood.
func TestQuotesInOurOwnErrors(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		b := espPacket(t, v6, false, 1000)
		var h packet.Header
		h.ParseIP(b)
		dst := make([]byte, packet.MaxICMPError)
		n := packet.PutTooBig(dst, b, &h, h.Dst, 777)
		q, ok := parseQuote(t, dst[:n])
		if !ok || !q.Identified || q.MTU != 777 || q.From != h.Dst || q.Src != h.Src || q.SPI != 0x0a0b0c0d {
			t.Errorf("%v %+v", ok, q)
		}
	}
}

func FuzzParseQuote(f *testing.F) {
	f.Add(errorAbout(f, espPacket(f, false, true, 60), 3, 4, 1400, 60))
	f.Add(errorAbout(f, espPacket(f, true, false, 60), 2, 0, 1400, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h packet.Header
		if h.ParseIP(b) != packet.Pass {
			return
		}
		was := bytes.Clone(b)
		if h.Version == 4 && h.Protocol == packet.ICMP && h.Length-h.Payload >= 8 {
			l := b[h.Payload:h.Length] // no mutation finds a right checksum
			l[2], l[3] = 0, 0
			binary.BigEndian.PutUint16(l[2:], packet.Checksum(l))
		}
		q, ok := packet.ParseQuote(b, &h, natt)
		if ok && (!q.Src.IsValid() || q.Identified && q.SPI == 0 || q.MTU > 0 && !q.TooBig) {
			t.Fatalf("%+v", q)
		}
		packet.SetChecksum(b, &h)
		packet.ParseQuote(b, &h, natt)
		if packet.ClampMSS(was, &h, 600) && h.Protocol != packet.TCP {
			t.Fatal("clamped what is not TCP")
		}
	})
}
