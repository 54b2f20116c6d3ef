package packet_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

var (
	a4 = netip.MustParseAddr("10.6.6.6")
	b4 = netip.MustParseAddr("10.8.8.8")
	a6 = netip.MustParseAddr("2001:db8::6")
	b6 = netip.MustParseAddr("2001:db8::8")
)

// fataler is what a test and a rapid property have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// serialize lets gopacket write layers with its own lengths and checksums.
func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func ip4(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TOS: 0xb9, Id: 0x1234, TTL: 17, Protocol: p, Flags: layers.IPv4DontFragment,
		SrcIP: net.IP(a4.AsSlice()), DstIP: net.IP(b4.AsSlice())}
}

func ip6(p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, TrafficClass: 0xb9, HopLimit: 17, NextHeader: p, FlowLabel: 0xabcde,
		SrcIP: net.IP(a6.AsSlice()), DstIP: net.IP(b6.AsSlice())}
}

type overIP interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

func over4(t testing.TB, p layers.IPProtocol, l overIP, payload int) []byte {
	ip := ip4(p)
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, l, body(payload))
}

func over6(t testing.TB, p layers.IPProtocol, l overIP, payload int) []byte {
	ip := ip6(p)
	if err := l.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, l, body(payload))
}

func body(n int) gopacket.Payload {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31 + n)
	}
	return b
}

func tcp() *layers.TCP { return &layers.TCP{SrcPort: 1000, DstPort: 2000, DataOffset: 5, ACK: true} }
func udp() *layers.UDP { return &layers.UDP{SrcPort: 1000, DstPort: 2000} }

// extended puts raw extension headers between an IPv6 header and its payload.
func extended(first uint8, chain []byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(chain)+len(payload))
	b[0], b[6], b[7] = 0x60, first, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(chain)+len(payload)))
	copy(b[8:], a6.AsSlice())
	copy(b[24:], b6.AsSlice())
	return append(append(b, chain...), payload...)
}

// ext is an extension header of 8*(1+more) bytes.
func ext(next uint8, more int) []byte {
	b := make([]byte, 8+8*more)
	b[0], b[1] = next, byte(more)
	return b
}

// frag is an IPv6 fragment header.
func frag(next uint8, offset uint16, more bool) []byte {
	b := []byte{next, 0, byte(offset >> 8), byte(offset), 0, 0, 0, 9}
	if more {
		b[3] |= 1
	}
	return b
}

// frag4 makes a fragment of an IPv4 packet without options.
func frag4(ip []byte, offset uint16, more bool) []byte {
	b := bytes.Clone(ip)
	field := offset / 8
	if more {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], field)
	packet.SetIPv4Checksum(b)
	return b
}

func options4(options []byte, payload []byte) []byte {
	b := make([]byte, 20+len(options)+len(payload))
	b[0], b[8], b[9] = 0x40|byte(5+len(options)/4), 64, packet.UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], a4.AsSlice())
	copy(b[16:], b4.AsSlice())
	copy(b[20:], options)
	copy(b[20+len(options):], payload)
	packet.SetIPv4Checksum(b)
	return b
}
