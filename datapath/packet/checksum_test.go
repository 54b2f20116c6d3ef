package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"spindle/datapath/packet"
)

// slowSum is RFC 1071 as its §4.1 tells it, sixteen bits at a time.
func slowSum(b []byte) uint16 {
	var acc uint32
	for len(b) > 1 {
		acc += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	for acc>>16 != 0 {
		acc = acc&0xffff + acc>>16
	}
	return ^uint16(acc)
}

func TestChecksumAgreesWithTheSlowOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte{0, 0xff})), 0, 300).Draw(t, "b")
		if got, want := packet.Checksum(b), slowSum(b); got != want {
			t.Fatalf("%#04x, want %#04x", got, want)
		}
	})
}

func TestIncrementalChecksumsStayRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ip := rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "header")
		ip[0] = 0x45
		binary.BigEndian.PutUint16(ip[2:], 20)
		ip[9] = packet.NoNext
		packet.SetIPv4Checksum(ip)
		was := bytes.Clone(ip)
		tos := rapid.Byte().Draw(t, "tos")
		packet.SetTOS(ip, tos)
		ttl := ip[8]
		switch v := packet.DecrementTTL(ip); {
		case ttl <= 1 && (v != packet.DropTTL || ip[8] != ttl):
			t.Fatalf("TTL %d: %v, left %d", ttl, v, ip[8])
		case ttl > 1 && (v != packet.Pass || ip[8] != ttl-1):
			t.Fatalf("TTL %d: %v, left %d", ttl, v, ip[8])
		}
		if packet.Checksum(ip) != 0 || packet.TOS(ip) != tos {
			t.Fatalf("from %x to %x: checksum is wrong", was, ip)
		}
	})
}

func TestIPv6TrafficClassAndHopLimit(t *testing.T) {
	b := over6(t, layers.IPProtocolUDP, udp(), 4)
	want := bytes.Clone(b)
	for tos := range 256 {
		packet.SetTOS(b, uint8(tos))
		if packet.TOS(b) != uint8(tos) {
			t.Fatalf("traffic class %#x became %#x", tos, packet.TOS(b))
		}
	}
	packet.SetTOS(b, 0xb9)
	if !bytes.Equal(b, want) {
		t.Fatal("SetTOS changed more than the traffic class")
	}
	for limit := 16; limit > 0; limit-- {
		if v := packet.DecrementTTL(b); v != packet.Pass || int(b[7]) != limit {
			t.Fatalf("hop limit %d: %v", b[7], v)
		}
	}
	if v := packet.DecrementTTL(b); v != packet.DropTTL || b[7] != 1 {
		t.Fatalf("hop limit 1: %v", v)
	}
}

// transports are whole packets with right checksums, by gopacket.
func transports(t testing.TB, payload int) map[string][]byte {
	return map[string][]byte{
		"TCP4":   over4(t, layers.IPProtocolTCP, tcp(), payload),
		"TCP6":   over6(t, layers.IPProtocolTCP, tcp(), payload),
		"UDP4":   over4(t, layers.IPProtocolUDP, udp(), payload),
		"UDP6":   over6(t, layers.IPProtocolUDP, udp(), payload),
		"ICMPv6": over6(t, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}, payload),
	}
}

func checksumAt(h *packet.Header) int {
	return h.Payload + map[uint8]int{packet.TCP: 16, packet.UDP: 6, packet.ICMPv6: 2}[h.Protocol]
}

func TestTransportChecksumsAgreeWithGopacket(t *testing.T) {
	for payload := range 70 {
		for name, want := range transports(t, payload) {
			var h packet.Header
			if v := h.ParseIP(want); v != packet.Pass || !packet.ChecksumOK(want, &h) {
				t.Fatalf("%s %d: %v, gopacket's checksum refused", name, payload, v)
			}
			b := bytes.Clone(want)
			b[checksumAt(&h)] ^= 0x55
			if packet.ChecksumOK(b, &h) {
				t.Fatalf("%s %d: a wrong checksum verifies", name, payload)
			}
			if !packet.SetChecksum(b, &h) || !bytes.Equal(b, want) {
				t.Fatalf("%s %d: set %x, want %x", name, payload, b, want)
			}
		}
	}
}

// leavePartial does what Linux does for hardware that will finish the work:
// it stores the folded sum of the pseudo header, not complemented.
func leavePartial(b []byte, h *packet.Header) {
	addresses := b[12:20]
	if h.Version == 6 {
		addresses = b[8:40]
	}
	pseudo := append(bytes.Clone(addresses), 0, h.Protocol)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(h.Length-h.Payload))
	binary.BigEndian.PutUint16(b[checksumAt(h):], ^slowSum(pseudo))
}

func TestPartialChecksumsAreRepaired(t *testing.T) {
	for payload := range 40 {
		for name, want := range transports(t, payload) {
			var h packet.Header
			h.ParseIP(want)
			b := bytes.Clone(want)
			if packet.RepairChecksum(b, &h) || !bytes.Equal(b, want) {
				t.Fatalf("%s: repaired what was right", name)
			}
			leavePartial(b, &h)
			partial := bytes.Clone(b)
			if h.Protocol == packet.ICMPv6 {
				if packet.RepairChecksum(b, &h) {
					t.Fatal("ICMPv6 is never left partial")
				}
				continue
			}
			fragment := h
			fragment.Fragment = true
			if packet.RepairChecksum(b, &fragment) || !bytes.Equal(b, partial) {
				t.Fatalf("%s: repaired a fragment", name)
			}
			if !packet.RepairChecksum(b, &h) || !bytes.Equal(b, want) {
				t.Fatalf("%s %d: repaired to %x, want %x", name, payload, b, want)
			}
			b[checksumAt(&h)] ^= 1
			if wrong := bytes.Clone(b); packet.RepairChecksum(b, &h) || !bytes.Equal(b, wrong) {
				t.Fatalf("%s: repaired a checksum that was simply wrong", name)
			}
		}
	}
}

// A right checksum can equal the pseudo header's sum: one packet in 65,536.
func TestRepairLeavesTheHonestCoincidenceAlone(t *testing.T) {
	b := over4(t, layers.IPProtocolUDP, udp(), 4)
	var h packet.Header
	h.ParseIP(b)
	found := false
	for word := range 1 << 16 {
		binary.BigEndian.PutUint16(b[28:], uint16(word))
		leavePartial(b, &h)
		if !packet.ChecksumOK(b, &h) {
			continue
		}
		found = true
		was := bytes.Clone(b)
		if packet.RepairChecksum(b, &h) || !bytes.Equal(b, was) {
			t.Fatal("changed a right checksum")
		}
	}
	if !found {
		t.Fatal("the coincidence was not met")
	}
}

func TestUDPWithoutChecksum(t *testing.T) {
	for _, b := range [][]byte{over4(t, layers.IPProtocolUDP, udp(), 9), over6(t, layers.IPProtocolUDP, udp(), 9)} {
		var h packet.Header
		h.ParseIP(b)
		binary.BigEndian.PutUint16(b[checksumAt(&h):], 0)
		if got := packet.ChecksumOK(b, &h); got != (h.Version == 4) {
			t.Errorf("IPv%d: %v", h.Version, got)
		}
		if packet.RepairChecksum(b, &h) {
			t.Errorf("IPv%d: repaired", h.Version)
		}
	}
}
