package main_test

import (
	"encoding/binary"
	"strconv"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// tenThousand packets each way, as fast as a window of 64 lets.
var tenThousand = netlab.BulkOptions{Packets: 10_000}

func TestSpindleToSpindle(t *testing.T) {
	for _, outer := range []int{4, 6} {
		t.Run("outer IPv"+strconv.Itoa(outer), func(t *testing.T) {
			b := newBed(t, "ss"+strconv.Itoa(outer), netlab.Options{IPv6Outer: outer == 6}).spindles(nil)
			if child := b.up(); child.Encap {
				t.Errorf("child SA is UDP-encapsulated, though there is no NAT: %+v", child)
			}
			b.carry(4, tenThousand)
			b.carry(6, tenThousand)
			b.native(true)
			b.fast()
			b.clean()
		})
	}
}

func TestSpindleBehindNAT(t *testing.T) {
	b := newBed(t, "nat", netlab.Options{NAT: true}).spindles(func(_, r8 *testbed.Tunnel) {
		r8.Remote, r8.RemoteID = netlab.NATAddr, r8.Remote
	})
	child := b.up()
	if !child.Encap {
		t.Errorf("child SA is not UDP-encapsulated behind a NAT: %+v", child)
	}
	b.carry(4, tenThousand)
	b.carry(6, tenThousand)
	b.native(false)
	b.fast()
	b.clean()
}

// TestForcedEncapsulation: over IPv6 the outer UDP checksum is there and right, or the
// kernel's UDP and any NAT of IPv6 would drop it (RFC 8200 §8.1).
func TestForcedEncapsulation(t *testing.T) {
	for _, c := range []struct {
		who string
		v6  bool
	}{{"initiator", false}, {"responder", false}, {"initiator over IPv6", true}} {
		t.Run(c.who, func(t *testing.T) {
			b := newBed(t, "force-"+c.who[:4], netlab.Options{IPv6Outer: c.v6}).spindles(func(r6, r8 *testbed.Tunnel) {
				forced := r6
				if c.who == "responder" {
					forced = r8
				}
				forced.Lines = append(forced.Lines, "encap: force")
			})
			if child := b.up(); !child.Encap {
				t.Errorf("child SA is not UDP-encapsulated: %+v", child)
			}
			if c.v6 {
				b.checksummed()
			}
			b.carry(4, netlab.BulkOptions{Packets: 1000})
			b.native(false)
			b.clean()
		})
	}
}

// checksummed has gopacket look at an outer UDP datagram of R8's.
func (b *bed) checksummed() {
	b.t.Helper()
	frame := b.listen("w8", func(f []byte) bool {
		return len(f) > 62 && binary.BigEndian.Uint16(f[12:]) == 0x86dd && f[20] == 17 && binary.BigEndian.Uint32(f[62:]) != 0
	}, func() { b.ping(b.B, b.B4, b.A4, 3) })
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	ip, udp := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6), p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	given := udp.Checksum
	check(b.t, udp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	check(b.t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true}, udp, gopacket.Payload(udp.Payload)))
	if given == 0 || given != udp.Checksum {
		b.t.Errorf("outer UDP checksum %#x, want %#x", given, udp.Checksum)
	}
}

func TestSpindleToStrongSwan(t *testing.T) {
	for _, who := range []string{"initiator", "responder"} {
		t.Run("as "+who, func(t *testing.T) {
			b := newBed(t, "swan-"+who, netlab.Options{}).strongSwan(nil)
			if who == "responder" {
				_, err := b.swan.Initiate(t.Context())
				check(t, err)
			}
			b.up()
			sas, err := b.swan.ListSAs(t.Context())
			check(t, err)
			if len(sas) != 1 || len(sas[0].Children) != 1 || sas[0].Initiator != (who == "responder") {
				t.Errorf("strongSwan holds %+v", sas)
			}
			b.carry(4, tenThousand)
			b.native(false) // its ESP knows no other way
			b.clean()
		})
	}
}
