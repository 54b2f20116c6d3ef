package datapath_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

// build serializes layers with lengths and checksums filled in.
func build(t testing.TB, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...))
	return buf.Bytes()
}

// ipLayer is an IP header with TTL 64.
func ipLayer(src, dst netip.Addr, protocol layers.IPProtocol) gopacket.SerializableLayer {
	if src.Is4() {
		return &layers.IPv4{Version: 4, TTL: 64, Id: 77, Protocol: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// udp is an IP packet with n bytes of payload between the two ports.
func udp(t testing.TB, src, dst netip.AddrPort, payload []byte) []byte {
	t.Helper()
	l := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	ip := ipLayer(src.Addr(), dst.Addr(), layers.IPProtocolUDP)
	must(t, l.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)))
	return build(t, ip, l, gopacket.Payload(payload))
}

// clearPacket is what one host says to another: n bytes of UDP payload.
func clearPacket(t testing.TB, src, dst netip.Addr, n int) []byte {
	t.Helper()
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = byte(i)
	}
	return udp(t, netip.AddrPortFrom(src, 1234), netip.AddrPortFrom(dst, 4321), payload)
}

// hosts are the inner addresses of the tunnel.
func hosts(v6 bool) (a, b netip.Addr) {
	if v6 {
		return hostA6, hostB6
	}
	return hostA4, hostB4
}

// frame puts an Ethernet header, with VLAN tags, before an IP packet.
func frame(src, dst packet.MAC, ip []byte, tags ...uint16) []byte {
	e := packet.Ethernet{Src: src, Dst: dst, Type: packet.EtherType(ip), Tagged: len(tags)}
	for i, id := range tags {
		e.Tags[i] = packet.VLANTag(id)
	}
	b := make([]byte, packet.HeaderLen(len(tags)), packet.HeaderLen(len(tags))+len(ip))
	e.Put(b)
	return append(b, ip...)
}

func fromInside(ip []byte, tags ...uint16) []byte  { return frame(hostMAC, insideMAC, ip, tags...) }
func fromOutside(ip []byte, tags ...uint16) []byte { return frame(peerMAC, outsideMAC, ip, tags...) }

// sealed is what the peer sends for an inner packet.
func (tn *tunnel) sealed(t testing.TB, inner []byte) []byte {
	t.Helper()
	dst := make([]byte, 1<<16)
	n, v := tn.seal.Seal(dst, inner, 1)
	if v != packet.Pass {
		t.Fatalf("the peer cannot seal: %v", v)
	}
	return dst[:n]
}

// opened is what the peer gets out of an outer packet, however it is encapsulated.
func (tn *tunnel) opened(t testing.TB, outer []byte) []byte {
	t.Helper()
	var h packet.Header
	if v := h.ParseIP(outer); v != packet.Pass {
		t.Fatalf("outer packet: %v", v)
	}
	body := outer[h.Payload:h.Length]
	if h.Protocol == packet.UDP {
		body = body[packet.UDPLen:]
	}
	dst := make([]byte, len(outer))
	n, v := tn.open.Open(dst, outer, &h, body, 1)
	if v != packet.Pass {
		t.Fatalf("the peer cannot open: %v", v)
	}
	return dst[:n]
}

// hopped is the packet one router further on.
func hopped(t testing.TB, ip []byte) []byte {
	t.Helper()
	b := append([]byte(nil), ip...)
	if v := packet.DecrementTTL(b); v != packet.Pass {
		t.Fatal(v)
	}
	return b
}

// ttl sets TTL or hop limit.
func ttl(ip []byte, n byte) []byte {
	if ip[0]>>4 == 6 {
		ip[7] = n
		return ip
	}
	ip[8] = n
	packet.SetIPv4Checksum(ip)
	return ip
}

// dissect has gopacket read a whole frame, and fails on what it cannot decode.
func dissect(t testing.TB, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if err := p.ErrorLayer(); err != nil {
		t.Fatalf("gopacket cannot read the frame: %v", err.Error())
	}
	return p
}

// addresses are MAC and IP source and destination of a frame.
func addresses(t testing.TB, p gopacket.Packet) (srcMAC, dstMAC packet.MAC, src, dst netip.Addr) {
	t.Helper()
	e := p.LinkLayer().(*layers.Ethernet)
	var s, d []byte
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		s, d = ip.SrcIP.To4(), ip.DstIP.To4()
	case *layers.IPv6:
		s, d = ip.SrcIP, ip.DstIP
	}
	from, _ := netip.AddrFromSlice(s)
	to, _ := netip.AddrFromSlice(d)
	return packet.MAC(e.SrcMAC), packet.MAC(e.DstMAC), from, to
}

// spiOf reads SPI and sequence number of an ESP frame, with or without UDP.
func spiOf(t testing.TB, p gopacket.Packet) (spi, sequence uint32, encap bool) {
	t.Helper()
	if l := p.Layer(layers.LayerTypeIPSecESP); l != nil {
		e := l.(*layers.IPSecESP)
		return e.SPI, e.Seq, false
	}
	l, ok := p.TransportLayer().(*layers.UDP)
	if !ok {
		t.Fatalf("neither ESP nor UDP: %v", p)
	}
	return binary.BigEndian.Uint32(l.Payload), binary.BigEndian.Uint32(l.Payload[4:]), true
}

// partial is the packet as a local stack leaves it to hardware: the folded sum of
// the pseudo header stands in the place of the UDP checksum.
func partial(t testing.TB, whole []byte) []byte {
	t.Helper()
	b := append([]byte(nil), whole...)
	n := len(b) - packet.IPv4Len
	sum := uint32(packet.UDP) + uint32(n)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[packet.IPv4Len+6:], uint16(sum))
	return b
}
