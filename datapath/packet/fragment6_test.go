package packet_test

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

// joined puts IPv6 fragments together by what gopacket reads in them: RFC 8200
// §4.5 takes the headers of the first, without the fragment header.
func joined(t *testing.T, id uint32, fragments [][]byte) []byte {
	t.Helper()
	var whole []byte
	for i, b := range fragments {
		p := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
		f, ok := p.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
		if !ok {
			t.Fatalf("fragment %d: no fragment header in %x", i, b)
		}
		head := bytes.Index(b, f.Contents)
		if f.Identification != id || f.MoreFragments != (i < len(fragments)-1) {
			t.Fatalf("fragment %d: %+v", i, f)
		}
		if i == 0 {
			whole = bytes.Clone(b[:head])
			packet.Restack(whole, head, uint8(f.NextHeader))
		}
		if at := int(f.FragmentOffset) * 8; at != len(whole)-head {
			t.Fatalf("fragment %d at %d, want %d", i, at, len(whole)-head)
		}
		whole = append(whole, b[head+8:]...)
	}
	whole[4], whole[5] = byte((len(whole)-40)>>8), byte(len(whole)-40)
	return whole
}

func TestIPv6FragmentsOfTheSource(t *testing.T) {
	for name, b := range map[string][]byte{
		"plain":           over6(t, layers.IPProtocolUDP, udp(), 3000),
		"hop-by-hop":      extended(0, ext(60, 1), append(ext(17, 0), make([]byte, 2000)...)),
		"routing, in one": extended(43, ext(50, 0), make([]byte, 4000)),
	} {
		var h packet.Header
		if v := h.ParseIP(b); v != packet.Pass {
			t.Fatalf("%s: %v", name, v)
		}
		for _, mtu := range []int{1280, 1281, 1287, 1500} {
			var fragments [][]byte
			for at := 0; ; {
				dst := make([]byte, 1500)
				n, next := packet.FragmentIPv6(dst, b, &h, mtu, 99, at)
				if n == 0 || n > mtu {
					t.Fatalf("%s: mtu %d at %d: %d bytes", name, mtu, at, n)
				}
				fragments = append(fragments, dst[:n])
				if at = next; at == 0 {
					break
				}
			}
			if got := joined(t, 99, fragments); !bytes.Equal(got, b) {
				t.Errorf("%s: mtu %d: %x, want %x", name, mtu, got, b)
			}
		}
	}
}

func TestIPv6PacketsThatNeedNoFragmentsOrCannotHaveThem(t *testing.T) {
	fits := over6(t, layers.IPProtocolUDP, udp(), 1000)
	twice := extended(44, frag(17, 0, false), make([]byte, 2000))
	part := extended(44, frag(17, 0, true), make([]byte, 2000))
	v4 := over4(t, layers.IPProtocolUDP, udp(), 2000)
	for name, c := range map[string]struct {
		b       []byte
		mtu, at int
		want    int
	}{
		"fits":                 {fits, 1280, 0, len(fits)},
		"atomic fragment":      {twice, 1280, 0, 0},
		"fragment":             {part, 1280, 0, 0},
		"IPv4":                 {v4, 1280, 0, 0},
		"behind its end":       {fits, 1280, 5000, 0},
		"no room for 8 bytes":  {over6(t, layers.IPProtocolUDP, udp(), 2000), 55, 0, 0},
		"before its beginning": {fits, 1280, -8, 0},
	} {
		var h packet.Header
		if v := h.ParseIP(c.b); v != packet.Pass {
			t.Fatalf("%s: %v", name, v)
		}
		if n, next := packet.FragmentIPv6(make([]byte, 2000), c.b, &h, c.mtu, 1, c.at); n != c.want || next != 0 {
			t.Errorf("%s: %d %d, want %d", name, n, next, c.want)
		}
	}
}
