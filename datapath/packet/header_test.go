package packet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

var ports = []byte{3, 0xe8, 7, 0xd0, 0, 8, 0, 0}

func v4(h packet.Header) packet.Header {
	h.Src, h.Dst, h.Version, h.TOS, h.TTL, h.DF, h.ID = a4, b4, 4, 0xb9, 17, true, 0x1234
	return h
}

func v6(h packet.Header) packet.Header {
	h.Src, h.Dst, h.Version, h.TOS, h.TTL = a6, b6, 6, 0xb9, 17
	return h
}

func v6ext(h packet.Header) packet.Header {
	h.Src, h.Dst, h.Version, h.TTL = a6, b6, 6, 64
	return h
}

func headerCases(t testing.TB) map[string]struct {
	b    []byte
	want packet.Header
} {
	type c = struct {
		b    []byte
		want packet.Header
	}
	udp4 := over4(t, layers.IPProtocolUDP, udp(), 20)
	fragged := v4(packet.Header{Protocol: 17, SrcPort: 1000, DstPort: 2000, Length: 48, Payload: 20, Fragment: true, More: true})
	fragged.DF = false
	later := fragged
	later.SrcPort, later.DstPort, later.Opaque, later.FragmentOffset, later.More = 0, 0, true, 1480, false
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}
	echo6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}
	hopDest := append(ext(60, 0), ext(17, 1)...)
	return map[string]c{
		"TCP over IPv4":   {over4(t, layers.IPProtocolTCP, tcp(), 5), v4(packet.Header{Protocol: 6, SrcPort: 1000, DstPort: 2000, Length: 45, Payload: 20})},
		"UDP over IPv4":   {udp4, v4(packet.Header{Protocol: 17, SrcPort: 1000, DstPort: 2000, Length: 48, Payload: 20})},
		"TCP over IPv6":   {over6(t, layers.IPProtocolTCP, tcp(), 5), v6(packet.Header{Protocol: 6, SrcPort: 1000, DstPort: 2000, Length: 65, Payload: 40})},
		"SCTP":            {serialize(t, ip4(layers.IPProtocolSCTP), &layers.SCTP{SrcPort: 1000, DstPort: 2000}), v4(packet.Header{Protocol: 132, SrcPort: 1000, DstPort: 2000, Length: 32, Payload: 20})},
		"ICMP echo":       {serialize(t, ip4(layers.IPProtocolICMPv4), echo), v4(packet.Header{Protocol: 1, SrcPort: 0x0800, DstPort: 0x0800, Length: 28, Payload: 20})},
		"ICMPv6":          {over6(t, layers.IPProtocolICMPv6, echo6, 4), v6(packet.Header{Protocol: 58, SrcPort: 0x0104, DstPort: 0x0104, Length: 48, Payload: 40})},
		"ESP":             {serialize(t, ip4(layers.IPProtocolESP), body(3)), v4(packet.Header{Protocol: 50, Length: 23, Payload: 20})},
		"IPv4 options":    {options4([]byte{7, 7, 4, 0, 0, 0, 0, 0}, ports), packet.Header{Src: a4, Dst: b4, Version: 4, TTL: 64, Protocol: 17, SrcPort: 1000, DstPort: 2000, Length: 36, Payload: 28}},
		"first fragment":  {frag4(udp4, 0, true), fragged},
		"later fragment":  {frag4(udp4, 1480, false), later},
		"two extensions":  {extended(0, hopDest, ports), v6ext(packet.Header{Protocol: 17, SrcPort: 1000, DstPort: 2000, Length: 72, Payload: 64})},
		"IPv6 no next":    {extended(59, nil, nil), v6ext(packet.Header{Protocol: 59, Length: 40, Payload: 40})},
		"atomic fragment": {extended(44, frag(17, 0, false), ports), v6ext(packet.Header{Protocol: 17, SrcPort: 1000, DstPort: 2000, ID: 9, Length: 56, Payload: 48})},
		"first fragment of IPv6": {extended(44, frag(17, 0, true), ports),
			v6ext(packet.Header{Protocol: 17, SrcPort: 1000, DstPort: 2000, ID: 9, Fragment: true, More: true, Length: 56, Payload: 48})},
		"later fragment of IPv6": {extended(44, frag(17, 800, false), ports),
			v6ext(packet.Header{Protocol: 17, ID: 9, Fragment: true, Opaque: true, FragmentOffset: 800, Length: 56, Payload: 48})},
		"later fragment of an extension": {extended(44, frag(60, 800, false), []byte{1}),
			v6ext(packet.Header{Protocol: 60, ID: 9, Fragment: true, FragmentOffset: 800, Length: 49, Payload: 48})},
	}
}

var compareHeaders = cmpopts.EquateComparable(netip.Addr{})

func TestParseIP(t *testing.T) {
	for name, c := range headerCases(t) {
		for _, padding := range []int{0, 18} { // Ethernet pads short frames
			var h packet.Header
			v := h.ParseIP(append(bytes.Clone(c.b), make([]byte, padding)...))
			if diff := cmp.Diff(c.want, h, compareHeaders); v != packet.Pass || diff != "" {
				t.Errorf("%s: %v\n%s", name, v, diff)
			}
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for name, c := range headerCases(t) {
		for n := range len(c.b) {
			h := packet.Header{ID: 77}
			if v := h.ParseIP(c.b[:n:n]); v != packet.DropTruncated {
				t.Errorf("%s cut to %d of %d: %v", name, n, len(c.b), v)
			}
			if h != (packet.Header{ID: 77}) {
				t.Errorf("%s cut to %d: header written", name, n)
			}
		}
	}
}

func TestBadIP(t *testing.T) {
	udp4 := over4(t, layers.IPProtocolUDP, udp(), 20)
	change := func(b []byte, f func(b []byte)) []byte {
		b = bytes.Clone(b)
		f(b)
		if b[0]>>4 == 4 && b[0]&15 >= 5 && len(b) >= int(b[0]&15)*4 {
			packet.SetIPv4Checksum(b)
		}
		return b
	}
	var nine, eight []byte
	for range 9 {
		nine = append(nine, ext(60, 0)...)
	}
	for range 7 {
		eight = append(eight, ext(60, 0)...)
	}
	eight = append(eight, ext(17, 0)...)
	nine = append(nine[:64], ext(17, 0)...)
	mapped := extended(17, nil, ports)
	copy(mapped[8:24], netip.MustParseAddr("::ffff:10.6.6.6").AsSlice())
	for name, c := range map[string]struct {
		b    []byte
		want packet.Verdict
	}{
		"version 0":                  {make([]byte, 40), packet.DropNotIP},
		"IHL 4":                      {change(udp4, func(b []byte) { b[0] = 0x44 }), packet.DropMalformed},
		"total length below header":  {change(udp4, func(b []byte) { b[2], b[3] = 0, 19 }), packet.DropMalformed},
		"header checksum":            {append([]byte{0x45, 1}, udp4[2:]...), packet.DropChecksum},
		"IHL past the total length":  {change(udp4, func(b []byte) { b[0], b[3] = 0x4f, 48 }), packet.DropMalformed},
		"tiny first fragment":        {frag4(change(udp4, func(b []byte) { b[3] = 23 }), 0, true), packet.DropTruncated},
		"ping of death":              {frag4(udp4, 0xfff8, false), packet.DropMalformed},
		"ports cut off":              {change(udp4, func(b []byte) { b[3] = 23 }), packet.DropTruncated},
		"eight extensions":           {extended(60, eight, ports), packet.Pass},
		"nine extensions":            {extended(60, nine, ports), packet.DropMalformed},
		"two fragment headers":       {extended(44, append(frag(44, 0, true), frag(17, 0, false)...), ports), packet.DropMalformed},
		"extension past the end":     {extended(0, ext(17, 0)[:7], nil), packet.DropTruncated},
		"long extension past it":     {extended(0, []byte{17, 9, 0, 0, 0, 0, 0, 0}, nil), packet.DropTruncated},
		"fragment header past it":    {extended(44, frag(17, 0, true)[:7], nil), packet.DropTruncated},
		"jumbogram":                  {change(extended(0, ext(17, 0), ports), func(b []byte) { b[4], b[5] = 0, 0 }), packet.DropTruncated},
		"mapped source":              {mapped, packet.DropMalformed},
		"fragment reassembling over": {extended(44, frag(17, 0xfff8, false), ports), packet.DropMalformed},
	} {
		var h packet.Header
		if v := h.ParseIP(c.b); v != c.want {
			t.Errorf("%s: %v, want %v", name, v, c.want)
		}
	}
}

func TestEthernet(t *testing.T) {
	ip := over4(t, layers.IPProtocolUDP, udp(), 20)
	for tags := range 3 {
		want := packet.Ethernet{Dst: packet.MAC{2, 0, 0, 0, 0, 8}, Src: packet.MAC{2, 0, 0, 0, 0, 6},
			Tagged: tags, Type: packet.EtherType(ip), Len: packet.HeaderLen(tags)}
		if tags > 0 {
			want.Tags[tags-1] = packet.VLANTag(66)
			want.Tags[0] = 0x88a8<<16 | 5<<13 | 55
		}
		frame := make([]byte, packet.HeaderLen(tags)+len(ip))
		if n := want.Put(frame); n != want.Len {
			t.Fatalf("put %d bytes", n)
		}
		copy(frame[want.Len:], ip)
		got, v := packet.ParseEthernet(frame)
		if v != packet.Pass || got != want {
			t.Errorf("%d tags: %v %+v, want %+v", tags, v, got, want)
		}
		if tags > 0 && got.VLAN() != 55 {
			t.Errorf("VLAN %d", got.VLAN())
		}
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		if l, ok := p.NetworkLayer().(*layers.IPv4); !ok || l.Id != 0x1234 {
			t.Errorf("%d tags: gopacket sees %v", tags, p)
		}
		for n := range want.Len {
			if _, v := packet.ParseEthernet(frame[:n:n]); v != packet.DropTruncated {
				t.Errorf("%d tags cut to %d: %v", tags, n, v)
			}
			if want.Put(frame[:n:n]) != 0 {
				t.Errorf("put into %d bytes", n)
			}
		}
	}
	arp := make([]byte, 60)
	arp[12], arp[13] = 8, 6
	if _, v := packet.ParseEthernet(arp); v != packet.DropNotIP {
		t.Errorf("ARP: %v", v)
	}
	three := bytes.Repeat([]byte{0x81, 0}, 30)
	if _, v := packet.ParseEthernet(three); v != packet.DropNotIP {
		t.Errorf("three tags: %v", v)
	}
}

func TestZeroAllocations(t *testing.T) {
	frame4, frame6 := over4(t, layers.IPProtocolUDP, udp(), 500), over6(t, layers.IPProtocolTCP, tcp(), 500)
	dst := make([]byte, 2000)
	allocs := testing.AllocsPerRun(100, func() {
		for _, b := range [][]byte{frame4, frame6} {
			var h packet.Header
			h.ParseIP(b)
			packet.ChecksumOK(b, &h)
			packet.RepairChecksum(b, &h)
			packet.SetTOS(b, 0)
			packet.PutTooBig(dst, b, &h, h.Dst, 1400)
			packet.Fragment(dst, b, &h, 300, 0)
			packet.PutUDP(dst, netip.AddrPortFrom(h.Src, 1), netip.AddrPortFrom(h.Dst, 2), true, b, 1)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
