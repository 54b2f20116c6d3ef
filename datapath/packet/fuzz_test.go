package packet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

// FuzzParseIP compares with gopacket what both understand, and runs everything
// that trusts a parsed header on it.
func FuzzParseIP(f *testing.F) {
	for _, c := range headerCases(f) {
		f.Add(c.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := packet.Header{ID: 77}
		v := h.ParseIP(b)
		if v == packet.DropChecksum { // no mutation finds a right one
			b = bytes.Clone(b)
			packet.SetIPv4Checksum(b)
			v = h.ParseIP(b)
		}
		if v != packet.Pass {
			if h != (packet.Header{ID: 77}) {
				t.Fatalf("%v, but the header was written", v)
			}
			return
		}
		if h.Length > len(b) || h.Payload > h.Length || h.Payload < 20 {
			t.Fatalf("%+v of %d bytes", h, len(b))
		}
		agreeWithGopacket(t, b, &h)
		b = bytes.Clone(b)
		exercise(t, b, &h)
	})
}

func agreeWithGopacket(t *testing.T, b []byte, h *packet.Header) {
	if h.Version == 4 {
		var l layers.IPv4
		if l.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
			return
		}
		src, _ := netip.AddrFromSlice(l.SrcIP)
		dst, _ := netip.AddrFromSlice(l.DstIP)
		if src != h.Src || dst != h.Dst || uint8(l.Protocol) != h.Protocol || l.TTL != h.TTL || l.TOS != h.TOS ||
			int(l.Length) != h.Length || int(l.IHL)*4 != h.Payload || int(l.FragOffset)*8 != h.FragmentOffset ||
			(l.Flags&layers.IPv4DontFragment != 0) != h.DF || (l.Flags&layers.IPv4MoreFragments != 0) != h.More {
			t.Fatalf("gopacket sees %+v, we %+v", l, h)
		}
		return
	}
	var l layers.IPv6
	if l.DecodeFromBytes(b, gopacket.NilDecodeFeedback) != nil {
		return
	}
	src, _ := netip.AddrFromSlice(l.SrcIP)
	dst, _ := netip.AddrFromSlice(l.DstIP)
	if src != h.Src || dst != h.Dst || l.HopLimit != h.TTL || l.TrafficClass != h.TOS || int(l.Length)+40 != h.Length {
		t.Fatalf("gopacket sees %+v, we %+v", l, h)
	}
}

func exercise(t *testing.T, b []byte, h *packet.Header) {
	dst := make([]byte, 1500)
	packet.PutTooBig(dst, b, h, h.Dst, 1400)
	packet.PutTimeExceeded(dst, b, h, h.Dst)
	packet.Fragment(dst, b, h, 100, 0)
	packet.Fragment(dst, b, h, 100, 80)
	if h.Protocol == packet.UDP && !h.Fragment {
		packet.UDPPayload(b, h)
	}
	packet.RepairChecksum(b, h)
	if packet.SetChecksum(b, h) && !packet.ChecksumOK(b, h) {
		t.Fatal("the checksum that was set does not verify")
	}
	packet.SetTOS(b, 0xff)
	if packet.DecrementTTL(b) == packet.Pass {
		var again packet.Header
		if v := again.ParseIP(b); v != packet.Pass || again.TTL != h.TTL-1 || again.TOS != 0xff {
			t.Fatalf("after the rewrite: %v %+v", v, again)
		}
	}
}

func FuzzParseEthernet(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x08\x02\x00\x00\x00\x00\x06\x81\x00\x00\x37\x08\x00"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x08\x02\x00\x00\x00\x00\x06\x88\xa8\x00\x37\x81\x00\x00\x42\x86\xdd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, v := packet.ParseEthernet(b)
		if v != packet.Pass {
			return
		}
		out := make([]byte, e.Len)
		if e.Put(out) != e.Len || !bytes.Equal(out, b[:e.Len]) {
			t.Fatalf("%x came back as %x", b[:e.Len], out)
		}
	})
}
