package datapath_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// assigned is the address that the peer gave to R6.
var assigned = addr("10.99.0.1")

// translating makes of a tunnel one in client mode: the SAs are of the assigned
// address, while the policy stays that of the inside hosts.
func translating(in, out *sadb.SA) {
	for _, sa := range []*sadb.SA{in, out} {
		sa.Translate, sa.LocalTS = assigned, selectors("10.99.0.1/32")
	}
}

func datagramOf(t testing.TB, src netip.Addr, sport uint16, dst netip.Addr, dport uint16) []byte {
	return udp(t, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport), []byte("datagram"))
}

// E, client mode: the SPD sees the inside host, the peer sees the assigned address,
// and the answer finds the way back, whichever worker meets the packets.
func TestTranslation(t *testing.T) {
	for _, owner := range []int{0, 1} {
		g := newGateway(t, options{workers: 2})
		tn := g.up(newTunnel(t, owner, 1, false, false, translating))
		for _, host := range []netip.Addr{hostA4, addr("10.6.6.7")} {
			g.through(1-owner, inside, fromInside(datagramOf(t, host, 5000, hostB4, 9)))
			frames := g.sent(outside)
			if len(frames) != 1 {
				t.Fatalf("%d frames, verdicts %v", len(frames), g.verdicts())
			}
			sent := tn.opened(t, frames[0][packet.EthernetLen:])
			var h packet.Header
			if h.ParseIP(sent) != packet.Pass || h.Src != assigned || h.Dst != hostB4 || !packet.ChecksumOK(sent, &h) {
				t.Fatalf("the peer sees %v", h)
			}
			g.through(1-owner, outside, fromOutside(tn.sealed(t, datagramOf(t, hostB4, 9, assigned, h.SrcPort))))
			if got := payloads(g.sent(inside)); len(got) != 1 || !bytes.Equal(got[0], hopped(t, datagramOf(t, hostB4, 9, host, 5000))) {
				t.Fatalf("the host gets %x", got)
			}
		}
		if diff := cmp.Diff(map[packet.Verdict]uint64{packet.HandedOff: 4, packet.Forwarded: 4}, g.verdicts()); diff != "" {
			t.Error(diff)
		}
	}
}

// Mappings outlive a rekey, and are shown until the last SA is gone.
func TestTranslationOutlivesRekey(t *testing.T) {
	g := newGateway(t, options{workers: 2})
	old := g.up(newTunnel(t, 1, 1, false, false, translating))
	for _, port := range []uint16{5000, 5001} {
		g.through(0, inside, fromInside(datagramOf(t, hostA4, port, hostB4, 9)))
	}
	g.through(0, inside, fromInside(datagramOf(t, addr("10.6.6.7"), 5000, hostB4, 9)))
	g.sent(outside)
	tn := newTunnel(t, 1, 2, false, false, translating)
	g.add(tn)
	must(t, g.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: old.in.Pair}))
	g.through(0, outside, fromOutside(tn.sealed(t, datagramOf(t, hostB4, 9, assigned, 5001))))
	g.through(0, outside, fromOutside(old.sealed(t, datagramOf(t, hostB4, 9, assigned, 5000))))
	if n := len(g.sent(inside)); n != 2 {
		t.Fatalf("%d answers arrive, verdicts %v", n, g.verdicts())
	}
	want := keysock.Translation{Conn: "r8", Address: assigned, Worker: 1, Bound: 16384, UDP: 3, Made: 3}
	if diff := cmp.Diff([]keysock.Translation{want}, g.translations(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	g.Group.Workers[1].Later(5 * time.Minute)
	g.poll()
	if got := g.translations(); len(got) != 1 || got[0].UDP != 0 {
		t.Errorf("five minutes later: %+v", got)
	}
	for _, pair := range []sadb.SPI{old.in.Pair, tn.in.Pair} {
		must(t, g.Delete(keysock.Delete{Direction: sadb.Inbound, Pair: pair}))
	}
	if got := g.translations(); len(got) != 0 {
		t.Errorf("without an SA: %+v", got)
	}
}

func (g *gateway) translations() (list []keysock.Translation) {
	g.t.Helper()
	for _, w := range g.Group.Workers {
		w.Publish()
	}
	must(g.t, g.Translations(func(tr keysock.Translation) error { list = append(list, tr); return nil }))
	return list
}

// What is cut before it is sealed is translated first; who must not be cut is told
// in the terms of its own packet.
func TestTranslationAndTheMTU(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, translating))
	ip := clearPacket(t, hostA4, hostB4, 2000)
	g.through(0, inside, fromInside(ip))
	var pieces [][]byte
	for _, f := range g.sent(outside) {
		pieces = append(pieces, tn.opened(t, f[packet.EthernetLen:]))
	}
	if got := reassemble(t, pieces); !bytes.Equal(got, hopped(t, clearPacket(t, assigned, hostB4, 2000))) {
		t.Errorf("%d pieces make %x", len(pieces), got)
	}
	g.through(0, inside, fromInside(dontFragment(clearPacket(t, hostA4, hostB4, 2000))))
	told := payloads(g.sent(inside))
	if len(told) != 1 {
		t.Fatalf("%d frames to the host, verdicts %v", len(told), g.verdicts())
	}
	quoted := dissectIP(t, told[0]).Layer(layers.LayerTypeICMPv4).LayerPayload()
	if src := netip.AddrFrom4([4]byte(quoted[12:16])); src != hostA4 {
		t.Errorf("the host is told about a packet of %v", src)
	}
	if got := g.translations(); got[0].Made != 1 {
		t.Errorf("%+v", got)
	}
}

func dissectIP(t testing.TB, ip []byte) gopacket.Packet {
	t.Helper()
	return gopacket.NewPacket(ip, layers.LayerTypeIPv4, gopacket.Default)
}

// The segment size in an answer is lowered although the policy knows the inside
// address only.
func TestTranslationAndTheSegmentSize(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, translating))
	syn := func(src, dst netip.Addr, sport, dport layers.TCPPort, ack bool) []byte {
		ip := ipLayer(src, dst, layers.IPProtocolTCP)
		s := &layers.TCP{SrcPort: sport, DstPort: dport, SYN: true, ACK: ack,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}}}
		must(t, s.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)))
		return build(t, ip, s)
	}
	g.through(0, inside, fromInside(syn(hostA4, hostB4, 5000, 80, false)))
	g.through(0, outside, fromOutside(tn.sealed(t, syn(hostB4, assigned, 80, 5000, true))))
	leaves, arrives := tn.opened(t, g.sent(outside)[0][packet.EthernetLen:]), g.sent(inside)[0][packet.EthernetLen:]
	for _, ip := range [][]byte{leaves, arrives} {
		var h packet.Header
		h.ParseIP(ip)
		option := dissectIP(t, ip).Layer(layers.LayerTypeTCP).(*layers.TCP).Options[0].OptionData
		if mss := int(option[0])<<8 | int(option[1]); mss != tunnelMTU-40 || !packet.ChecksumOK(ip, &h) {
			t.Errorf("%v announces %d to %v", h.Src, mss, h.Dst)
		}
	}
}

// Every way in which a packet is not translated has a verdict.
func TestTranslationVerdicts(t *testing.T) {
	runAll(t, []scene{
		{
			name: "nobody inside asked", change: translating, port: outside, verdict: packet.DropNoMapping, drops: 1,
			frame: inward(assigned, 10, nil),
		}, {
			name: "selectors come first", change: translating, port: outside, verdict: packet.DropSelector, drops: 1,
			frame: inward(hostA4, 10, nil),
		}, {
			name: "an echo reply that nobody asked for", change: translating, port: inside, verdict: packet.DropUntranslatable, drops: 1,
			frame: func(t testing.TB, _ *tunnel) []byte {
				return fromInside(build(t, ipLayer(hostA4, hostB4, layers.IPProtocolICMPv4), &layers.ICMPv4{}))
			},
		},
	})
}

func TestFullTranslation(t *testing.T) {
	g := newGateway(t, options{})
	g.up(newTunnel(t, 0, 1, false, false, translating))
	const bound = 1 << 14
	for i := range bound + 3 {
		host := netip.AddrFrom4([4]byte{10, 6, byte(i >> 8), byte(i)})
		g.through(0, inside, fromInside(datagramOf(t, host, uint16(2000+i), hostB4, 9)))
		g.sent(outside)
	}
	if diff := cmp.Diff(map[packet.Verdict]uint64{packet.Forwarded: bound, packet.DropMappingsFull: 3}, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	if got := g.translations()[0]; got.UDP != bound || got.Full != 3 {
		t.Errorf("%+v", got)
	}
}

func TestTranslationAllocatesNothing(t *testing.T) {
	g := newGateway(t, options{quiet: true})
	tn := g.up(newTunnel(t, 0, 1, false, false, func(in, out *sadb.SA) { translating(in, out); in.ReplayWindow = 0 }))
	out := fromInside(clearPacket(t, hostA4, hostB4, 100))
	in := fromOutside(tn.sealed(t, udp(t, netip.AddrPortFrom(hostB4, 4321), netip.AddrPortFrom(assigned, 1234), []byte("answer"))))
	g.through(0, inside, out)
	if n := testing.AllocsPerRun(100, func() {
		g.through(0, inside, out)
		g.through(0, outside, in)
		for _, port := range []int{inside, outside} {
			g.queues[0][port].Sent(func([]byte) {})
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := g.verdicts()[packet.Forwarded]; n != 203 {
		t.Errorf("verdicts %v", g.verdicts())
	}
}

// What cannot be translated is refused when it is installed, and leaves nothing.
func TestTranslationRefuses(t *testing.T) {
	for name, change := range map[string]func(in, out *sadb.SA){
		"transport mode":         func(in, _ *sadb.SA) { in.Mode = sadb.Transport },
		"IPv6":                   func(in, _ *sadb.SA) { in.Translate, in.LocalTS = hostA6, selectors("fd06::6/128") },
		"another address":        func(in, _ *sadb.SA) { in.LocalTS = selectors("10.99.0.0/24") },
		"no selector":            func(in, _ *sadb.SA) { in.LocalTS = nil },
		"a port":                 func(in, _ *sadb.SA) { in.LocalTS[0].Protocol, in.LocalTS[0].LastPort = packet.UDP, 9 },
		"another pair":           func(_, out *sadb.SA) { out.Translate = addr("10.99.0.2") },
		"a pair that does not":   func(in, _ *sadb.SA) { in.Translate = netip.Addr{} },
		"a pair that is no more": func(in, _ *sadb.SA) { in.SPI, in.Pair = in.SPI+256, in.Pair+256 },
		"a pair out of its slot": func(in, _ *sadb.SA) { in.SPI, in.Pair = in.SPI+1, in.Pair+1 },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, options{})
			tn := newTunnel(t, 0, 1, false, false, func(in, out *sadb.SA) { translating(in, out); change(in, out) })
			err := g.Add(tn.in)
			if err == nil {
				err = g.Add(tn.out)
			}
			if err == nil {
				t.Error("installed")
			}
			for _, tr := range g.translations() {
				must(t, g.Delete(keysock.Delete{Pair: tn.in.Pair}))
				if n := len(g.translations()); n != 0 {
					t.Errorf("%+v is left", tr)
				}
			}
		})
	}
}
