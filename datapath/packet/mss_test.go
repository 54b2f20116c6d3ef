package packet_test

import (
	"bytes"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"spindle/datapath/packet"
)

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	return layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data}
}

var (
	mss1460 = option(layers.TCPOptionKindMSS, 1460>>8, 1460&0xff)
	noop    = layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1}
	scale   = option(layers.TCPOptionKindWindowScale, 7)
	end     = layers.TCPOption{OptionType: layers.TCPOptionKindEndList, OptionLength: 1}
)

// syn is a SYN with options, over IPv4 or IPv6, and its parsed header.
func syn(t testing.TB, v6 bool, options ...layers.TCPOption) ([]byte, *packet.Header) {
	t.Helper()
	l := &layers.TCP{SrcPort: 1000, DstPort: 2000, Seq: 0x01020304, SYN: true, Window: 64000, Options: options}
	build := over4
	if v6 {
		build = over6
	}
	b := build(t, layers.IPProtocolTCP, l, 3)
	var h packet.Header
	if v := h.ParseIP(b); v != packet.Pass {
		t.Fatal(v)
	}
	return b, &h
}

// announced is the MSS that gopacket finds, 0 for none.
func announced(t testing.TB, ip []byte, h *packet.Header) int {
	var l layers.TCP
	if err := l.DecodeFromBytes(ip[h.Payload:h.Length], nopFeedback{}); err != nil {
		t.Fatal(err)
	}
	for _, o := range l.Options {
		if o.OptionType == layers.TCPOptionKindMSS {
			return int(o.OptionData[0])<<8 | int(o.OptionData[1])
		}
	}
	return 0
}

type nopFeedback struct{}

func (nopFeedback) SetTruncated() {}

func TestMSSIsClamped(t *testing.T) {
	for _, c := range []struct {
		name    string
		v6      bool
		options []layers.TCPOption
		mtu     int
		want    int
	}{
		{"IPv4", false, []layers.TCPOption{mss1460}, 1400, 1360},
		{"IPv6", true, []layers.TCPOption{mss1460}, 1400, 1340},
		{"fits already", false, []layers.TCPOption{mss1460}, 1500, 1460},
		{"never raised", false, []layers.TCPOption{mss1460}, 9000, 1460},
		{"among others", false, []layers.TCPOption{scale, noop, mss1460, noop}, 1400, 1360},
		{"at an odd place", false, []layers.TCPOption{noop, mss1460, scale}, 1400, 1360},
		{"IPv6 at an odd place", true, []layers.TCPOption{scale, mss1460, noop}, 1300, 1240},
		{"not announced", true, []layers.TCPOption{scale}, 1400, 0},
		{"behind the end", false, []layers.TCPOption{end, mss1460}, 1400, 0},
		{"no room for a segment", false, []layers.TCPOption{mss1460}, 40, 1460},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, h := syn(t, c.v6, c.options...)
			was := bytes.Clone(b)
			changed := packet.ClampMSS(b, h, c.mtu)
			if got := announced(t, b, h); got != c.want {
				t.Errorf("MSS %d, want %d", got, c.want)
			}
			if !packet.ChecksumOK(b, h) {
				t.Error("the checksum is wrong now")
			}
			if changed == bytes.Equal(b, was) {
				t.Errorf("reported %v", changed)
			}
		})
	}
}

func TestMSSOfOthersStays(t *testing.T) {
	b, h := syn(t, false, mss1460)
	ack := bytes.Clone(b)
	ack[h.Payload+13] = 0x10
	fragment := *h
	fragment.Fragment = true
	udp := *h
	udp.Protocol = packet.UDP
	truncated := bytes.Clone(b)
	truncated[h.Payload+12] = 0xf0 // a header longer than the packet
	malformed := bytes.Clone(b)
	malformed[h.Payload+20], malformed[h.Payload+21] = 3, 0 // an option of no length
	for name, c := range map[string]struct {
		b []byte
		h *packet.Header
	}{"ACK": {ack, h}, "fragment": {b, &fragment}, "UDP": {b, &udp}, "truncated": {truncated, h}, "malformed": {malformed, h}} {
		was := bytes.Clone(c.b)
		if packet.ClampMSS(c.b, c.h, 1000) || !bytes.Equal(c.b, was) {
			t.Errorf("%s: changed", name)
		}
	}
}

func TestMSSChecksumIsUpdatedAsIfComputed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mss := rapid.Uint16().Draw(rt, "mss")
		options := []layers.TCPOption{option(layers.TCPOptionKindMSS, byte(mss>>8), byte(mss))}
		for range rapid.IntRange(0, 3).Draw(rt, "noops") {
			options = append([]layers.TCPOption{noop}, options...)
		}
		b, h := syn(t, rapid.Bool().Draw(rt, "v6"), options...)
		packet.ClampMSS(b, h, rapid.IntRange(61, 9000).Draw(rt, "mtu"))
		if !packet.ChecksumOK(b, h) {
			rt.Fatalf("wrong checksum %x", b)
		}
	})
}
