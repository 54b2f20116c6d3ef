package packet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"spindle/datapath/packet"
)

func decode(t testing.TB, b []byte) gopacket.Packet {
	t.Helper()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket: %v", e.Error())
	}
	return p
}

func TestPutUDP(t *testing.T) {
	for _, from := range []netip.Addr{a4, a6} {
		to := b4
		if from.Is6() {
			to = b6
		}
		for n := range 50 {
			for _, marker := range []bool{false, true} {
				data := bytes.Repeat([]byte{0xaa}, n)
				dst := make([]byte, 200)
				got := packet.PutUDP(dst, netip.AddrPortFrom(from, 4500), netip.AddrPortFrom(to, 4501), marker, data, 99)
				var h packet.Header
				if v := h.ParseIP(dst[:got]); v != packet.Pass || h.Src != from || h.Dst != to || h.Length != got || !packet.ChecksumOK(dst, &h) {
					t.Fatalf("%v %+v", v, h)
				}
				l, ok := decode(t, dst[:got]).Layer(layers.LayerTypeUDP).(*layers.UDP)
				if !ok || l.SrcPort != 4500 || l.DstPort != 4501 {
					t.Fatalf("gopacket sees %+v", l)
				}
				want := data
				if marker {
					want = append([]byte{0, 0, 0, 0}, data...)
				}
				payload, v := packet.UDPPayload(dst, &h)
				if v != packet.Pass || !bytes.Equal(payload, want) || !bytes.Equal(l.Payload, want) {
					t.Fatalf("%v payload %x", v, payload)
				}
				for short := range got {
					if packet.PutUDP(dst[:short:short], netip.AddrPortFrom(from, 1), netip.AddrPortFrom(to, 2), marker, data, 0) != 0 {
						t.Fatalf("%d bytes into %d", got, short)
					}
				}
			}
		}
	}
	if packet.PutUDP(make([]byte, 200), netip.AddrPortFrom(a4, 1), netip.AddrPortFrom(b6, 2), false, nil, 0) != 0 {
		t.Error("two families")
	}
	if packet.PutUDP(make([]byte, 1<<17), netip.AddrPortFrom(a6, 1), netip.AddrPortFrom(b6, 2), false, make([]byte, 0xfff8), 0) != 0 {
		t.Error("longer than UDP can say")
	}
}

func TestBadUDP(t *testing.T) {
	for name, c := range map[string]struct {
		length byte
		cut    int
		want   packet.Verdict
	}{
		"length below the header": {7, 0, packet.DropMalformed},
		"length past the packet":  {29, 0, packet.DropTruncated},
		"no room for a header":    {28, 24, packet.DropTruncated},
		"shorter than IP says":    {20, 0, packet.Pass},
	} {
		b := over4(t, layers.IPProtocolUDP, udp(), 20)
		b[25] = c.length
		b[3] -= byte(c.cut)
		packet.SetIPv4Checksum(b)
		var h packet.Header
		h.ParseIP(b)
		payload, v := packet.UDPPayload(b, &h)
		if v != c.want || v == packet.Pass && len(payload) != int(c.length)-8 {
			t.Errorf("%s: %v, %d bytes", name, v, len(payload))
		}
		packet.ChecksumOK(b, &h)
		packet.RepairChecksum(b, &h)
	}
}

func TestClassifyOfRFC3948(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		kind packet.Encapsulated
		body []byte
	}{
		"keepalive":     {[]byte{0xff}, packet.EncapKeepalive, nil},
		"other byte":    {[]byte{0xfe}, packet.EncapRunt, nil},
		"empty":         {nil, packet.EncapRunt, nil},
		"marker alone":  {make([]byte, 4), packet.EncapRunt, nil},
		"IKE":           {[]byte{0, 0, 0, 0, 9}, packet.EncapIKE, []byte{9}},
		"ESP":           {[]byte{0, 0, 1, 0, 9}, packet.EncapESP, []byte{0, 0, 1, 0, 9}},
		"ESP of SPI -1": {[]byte{0xff, 0xff, 0xff, 0xff, 9}, packet.EncapESP, []byte{0xff, 0xff, 0xff, 0xff, 9}},
	} {
		if kind, body := packet.Classify(c.b); kind != c.kind || !bytes.Equal(body, c.body) {
			t.Errorf("%s: %d %x", name, kind, body)
		}
	}
}

func TestICMPErrors(t *testing.T) {
	gw4, gw6 := netip.MustParseAddr("10.6.6.1"), netip.MustParseAddr("2001:db8::1")
	for _, payload := range []int{8, 400, 3000} {
		for _, original := range [][]byte{over4(t, layers.IPProtocolUDP, udp(), payload), over6(t, layers.IPProtocolUDP, udp(), payload)} {
			var h packet.Header
			h.ParseIP(original)
			gw, most := gw4, 576
			if h.Version == 6 {
				gw, most = gw6, 1280
			}
			dst := make([]byte, packet.MaxICMPError)
			for _, tooBig := range []bool{true, false} {
				n := packet.PutTimeExceeded(dst, original, &h, gw)
				if tooBig {
					n = packet.PutTooBig(dst, original, &h, gw, 1398)
				}
				if n == 0 || n > most || n < min(most-7, len(original)) {
					t.Fatalf("IPv%d of %d: error of %d bytes", h.Version, len(original), n)
				}
				checkError(t, dst[:n], original, gw, tooBig)
			}
			if packet.PutTooBig(dst[:40], original, &h, gw, 1398) != 0 {
				t.Error("put into 40 bytes")
			}
		}
	}
}

func checkError(t *testing.T, got, original []byte, gw netip.Addr, tooBig bool) {
	t.Helper()
	var h packet.Header
	if v := h.ParseIP(got); v != packet.Pass || h.Src != gw || !packet.ChecksumOK(got, &h) {
		t.Fatalf("%v %+v", v, h)
	}
	want := map[[2]bool]uint16{{false, true}: 3<<8 | 4, {false, false}: 11 << 8, {true, true}: 2 << 8, {true, false}: 3 << 8}
	if h.SrcPort != want[[2]bool{h.Version == 6, tooBig}] {
		t.Errorf("IPv%d type and code %#x", h.Version, h.SrcPort)
	}
	if h.Version == 4 && packet.Checksum(got[h.Payload:]) != 0 {
		t.Error("ICMP checksum is wrong")
	}
	mtu := uint16(got[h.Payload+6])<<8 | uint16(got[h.Payload+7])
	if tooBig != (mtu == 1398) {
		t.Errorf("MTU %d", mtu)
	}
	if quoted := got[h.Payload+8:]; !bytes.HasPrefix(original, quoted) {
		t.Errorf("quotes %x", quoted)
	}
	decode(t, got)
}

func TestWhatMustNotBeAnswered(t *testing.T) {
	icmp := func(kind uint8) []byte {
		return serialize(t, ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0)})
	}
	icmp6 := func(kind uint8) []byte {
		return over6(t, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}, 8)
	}
	between := func(b []byte, src, dst string) []byte {
		b = bytes.Clone(b)
		s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
		if s.Is4() {
			copy(b[12:], s.AsSlice())
			copy(b[16:], d.AsSlice())
			packet.SetIPv4Checksum(b)
			return b
		}
		copy(b[8:], s.AsSlice())
		copy(b[24:], d.AsSlice())
		return b
	}
	udp4, udp6 := over4(t, layers.IPProtocolUDP, udp(), 20), over6(t, layers.IPProtocolUDP, udp(), 20)
	for name, c := range map[string]struct {
		b              []byte
		tooBig, expire bool
	}{
		"UDP":                    {udp4, true, true},
		"echo request":           {icmp(8), true, true},
		"unreachable":            {icmp(3), false, false},
		"time exceeded":          {icmp(11), false, false},
		"redirect":               {icmp(5), false, false},
		"ICMPv6 echo":            {icmp6(128), true, true},
		"ICMPv6 packet too big":  {icmp6(2), false, false},
		"ICMPv6 redirect":        {icmp6(137), false, false},
		"first fragment":         {frag4(udp4, 0, true), true, true},
		"later fragment":         {frag4(udp4, 80, true), false, false},
		"to multicast":           {between(udp4, "10.1.1.1", "224.0.0.5"), false, false},
		"to broadcast":           {between(udp4, "10.1.1.1", "255.255.255.255"), false, false},
		"from nobody":            {between(udp4, "0.0.0.0", "10.1.1.1"), false, false},
		"from loopback":          {between(udp4, "127.0.0.1", "10.1.1.1"), false, false},
		"from multicast":         {between(udp4, "224.0.0.5", "10.1.1.1"), false, false},
		"to IPv6 multicast":      {between(udp6, "2001:db8::1", "ff05::1"), true, false},
		"from IPv6 multicast":    {between(udp6, "ff05::1", "2001:db8::1"), false, false},
		"from IPv6 unspecified":  {between(udp6, "::", "2001:db8::1"), false, false},
		"protocol without ports": {serialize(t, ip4(layers.IPProtocolIGMP)), true, true},
	} {
		var h packet.Header
		if v := h.ParseIP(c.b); v != packet.Pass {
			t.Fatalf("%s: %v", name, v)
		}
		gw := a4
		if h.Version == 6 {
			gw = a6
		}
		dst := make([]byte, packet.MaxICMPError)
		if got := packet.PutTooBig(dst, c.b, &h, gw, 1300) != 0; got != c.tooBig {
			t.Errorf("%s: too big answered: %v", name, got)
		}
		if got := packet.PutTimeExceeded(dst, c.b, &h, gw) != 0; got != c.expire {
			t.Errorf("%s: time exceeded answered: %v", name, got)
		}
	}
}

// reassemble puts fragments back together by their offsets alone.
func reassemble(t fataler, fragments [][]byte) []byte {
	t.Helper()
	var payload []byte
	for i, f := range fragments {
		var h packet.Header
		if v := h.ParseIP(f); v != packet.Pass || h.Length != len(f) {
			t.Fatalf("fragment %d: %v, %d of %d bytes", i, v, h.Length, len(f))
		}
		if h.FragmentOffset != len(payload) || h.More != (i < len(fragments)-1) {
			t.Fatalf("fragment %d: offset %d after %d bytes, more %v", i, h.FragmentOffset, len(payload), h.More)
		}
		payload = append(payload, f[h.Payload:]...)
	}
	return payload
}

func fragments(t fataler, ip []byte, h *packet.Header, mtu int) (all [][]byte) {
	t.Helper()
	for at, first := 0, true; first || at != 0; first = false {
		dst := make([]byte, 70000)
		n, next := packet.Fragment(dst, ip, h, mtu, at)
		if n == 0 || n > mtu || next != 0 && next <= at {
			t.Fatalf("mtu %d at %d: fragment of %d bytes, next %d", mtu, at, n, next)
		}
		all = append(all, dst[:n])
		at = next
	}
	return all
}

func TestFragmentsReassemble(t *testing.T) {
	options := []byte{0x83, 7, 4, 10, 0, 0, 1, 1, 7, 7, 4, 0, 0, 0, 0, 0} // source route is copied, record route is not
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 8, 400).Draw(t, "payload")
		var opts []byte
		if rapid.Bool().Draw(t, "options") {
			opts = options
		}
		ip := options4(opts, payload)
		var h packet.Header
		if v := h.ParseIP(ip); v != packet.Pass {
			t.Fatal(v)
		}
		mtu := rapid.IntRange(h.Payload+8, 450).Draw(t, "mtu")
		all := fragments(t, ip, &h, mtu)
		if got := reassemble(t, all); !bytes.Equal(got, payload) {
			t.Fatalf("mtu %d: reassembled %x", mtu, got)
		}
		if len(all) > 1 && opts != nil && (all[1][0] != 0x47 || !bytes.Equal(all[1][20:28], []byte{0x83, 7, 4, 10, 0, 0, 1, 0})) {
			t.Fatalf("later header %x", all[1][:28])
		}
		// A fragment is fragmented again, offsets and the last flag intact.
		var again [][]byte
		for _, f := range all {
			var fh packet.Header
			fh.ParseIP(f)
			again = append(again, fragments(t, f, &fh, max(fh.Payload+8, mtu/2))...)
		}
		if got := reassemble(t, again); !bytes.Equal(got, payload) {
			t.Fatalf("twice: reassembled %x", got)
		}
	})
}

func TestNotToBeFragmented(t *testing.T) {
	df, six := over4(t, layers.IPProtocolUDP, udp(), 100), over6(t, layers.IPProtocolUDP, udp(), 100)
	free := frag4(df, 0, false)
	for name, c := range map[string]struct {
		b         []byte
		mtu, room int
	}{
		"DF":                {df, 100, 200},
		"IPv6":              {six, 100, 200},
		"mtu below 28":      {free, 27, 200},
		"dst below 28":      {free, 100, 27},
		"mtu of nothing":    {free, 0, 200},
		"mtu below nothing": {free, -5, 200},
	} {
		var h packet.Header
		h.ParseIP(c.b)
		if n, _ := packet.Fragment(make([]byte, c.room), c.b, &h, c.mtu, 0); n != 0 {
			t.Errorf("%s: fragment of %d bytes", name, n)
		}
	}
	var h packet.Header
	h.ParseIP(free)
	if n, next := packet.Fragment(make([]byte, 200), free, &h, 128, 0); n != 128 || next != 0 {
		t.Errorf("what fits: %d bytes, next %d", n, next)
	}
	if n, _ := packet.Fragment(make([]byte, 200), free, &h, 100, 108); n != 0 {
		t.Error("a fragment past the end")
	}
}
