package nat_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/nat"
	"spindle/datapath/packet"
)

var (
	host    = netip.MustParseAddr("10.6.6.6")
	other   = netip.MustParseAddr("10.6.6.7")
	outside = netip.MustParseAddr("10.99.0.1") // assigned by the peer
	remote  = netip.MustParseAddr("10.8.8.8")
	router  = netip.MustParseAddr("10.8.0.1")
)

const second = int64(time.Second)

// table starts at a second that is not zero, as the clock of a worker.
func table(t testing.TB, bound int) *nat.Table {
	t.Helper()
	table, err := nat.New(outside, bound)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

type layer = gopacket.SerializableLayer

// build has gopacket compute lengths and checksums: it is the oracle for what a
// translated packet must be, byte for byte.
func build(t testing.TB, stack ...layer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func ipv4(src, dst netip.Addr, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 77, SrcIP: net.IP(src.AsSlice()), DstIP: net.IP(dst.AsSlice()), Protocol: protocol}
}

func udp(t testing.TB, src netip.Addr, sport int, dst netip.Addr, dport int, data ...byte) []byte {
	l := ipv4(src, dst, layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	_ = u.SetNetworkLayerForChecksum(l)
	return build(t, l, u, gopacket.Payload(data))
}

func tcp(t testing.TB, src netip.Addr, sport int, dst netip.Addr, dport int, flags string, data ...byte) []byte {
	l := ipv4(src, dst, layers.IPProtocolTCP)
	s := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Window: 1000}
	for _, f := range flags {
		switch f {
		case 'S':
			s.SYN = true
		case 'A':
			s.ACK = true
		case 'F':
			s.FIN = true
		case 'R':
			s.RST = true
		}
	}
	_ = s.SetNetworkLayerForChecksum(l)
	return build(t, l, s, gopacket.Payload(data))
}

func icmp(t testing.TB, src, dst netip.Addr, kind uint8, id int, data ...byte) []byte {
	return build(t, ipv4(src, dst, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: uint16(id), Seq: 9}, gopacket.Payload(data))
}

// failure is an ICMP error about a packet.
func failure(t testing.TB, src, dst netip.Addr, kind, code uint8, about []byte) []byte {
	return build(t, ipv4(src, dst, layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Seq: 1400}, gopacket.Payload(about))
}

func plain(t testing.TB, src, dst netip.Addr, protocol uint8, data ...byte) []byte {
	return build(t, ipv4(src, dst, layers.IPProtocol(protocol)), gopacket.Payload(data))
}

// out and in translate a copy, and see that the header follows the packet.
func out(t testing.TB, n *nat.Table, ip []byte, now int64) ([]byte, packet.Verdict) {
	t.Helper()
	return run(t, n.Outbound, ip, now)
}

func in(t testing.TB, n *nat.Table, ip []byte, now int64) ([]byte, packet.Verdict) {
	t.Helper()
	return run(t, n.Inbound, ip, now)
}

func run(t testing.TB, translate func([]byte, *packet.Header, int64) packet.Verdict, ip []byte, now int64) ([]byte, packet.Verdict) {
	t.Helper()
	var h, after packet.Header
	if v := h.ParseIP(ip); v != packet.Pass {
		t.Fatalf("%v: %x", v, ip)
	}
	b := bytes.Clone(ip)
	v := translate(b, &h, now)
	if v != packet.Pass && !bytes.Equal(b, ip) {
		t.Fatalf("%v, but the packet was changed", v)
	}
	if after.ParseIP(b) != packet.Pass || after != h {
		t.Fatalf("the header does not follow: %+v\nthe packet has %+v", h, after)
	}
	return b, v
}

func must(t testing.TB, got []byte, v packet.Verdict, want []byte) {
	t.Helper()
	if v != packet.Pass || !bytes.Equal(got, want) {
		t.Fatalf("verdict %v\ngot  %x\nwant %x", v, got, want)
	}
}

func refused(t testing.TB, _ []byte, v, want packet.Verdict) {
	t.Helper()
	if v != want {
		t.Fatalf("verdict %v, want %v", v, want)
	}
}
