package datapath_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// scene is one packet that meets a gateway with a tunnel up.
type scene struct {
	name    string
	change  func(in, out *sadb.SA)           // of the tunnel
	prepare func(g *gateway)                 // after it is up
	port    int                              // where the frame arrives, or
	enter   func(g *gateway, ip []byte) bool // how the packet does
	frame   func(t testing.TB, tn *tunnel) []byte
	verdict packet.Verdict
	drops   int // counted for an SA
	check   func(t *testing.T, g *gateway, tn *tunnel)
}

func (s scene) run(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, s.change))
	if s.prepare != nil {
		s.prepare(g)
	}
	f := s.frame(t, tn)
	if s.enter == nil {
		g.through(0, s.port, f)
	} else {
		if !s.enter(g, f) {
			t.Fatal("the packet found no place")
		}
		g.poll()
	}
	if diff := cmp.Diff(map[packet.Verdict]uint64{s.verdict: 1}, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	if s.verdict != packet.Forwarded {
		if n := len(g.sent(outside)) + len(g.sent(inside)); n != 0 {
			t.Errorf("%d frames sent", n)
		}
	}
	if n := g.drops(); n != uint64(s.drops) {
		t.Errorf("%d drops counted for SAs, want %d", n, s.drops)
	}
	if s.check != nil {
		s.check(t, g, tn)
	}
}

// drops sums up what Dump says of the SAs.
func (g *gateway) drops() (n uint64) {
	for _, u := range g.dump() {
		n += u.Drops
	}
	return n
}

func (g *gateway) dump() (list []keysock.Usage) {
	g.t.Helper()
	for _, w := range g.Group.Workers {
		w.Publish()
	}
	must(g.t, g.Dump(func(u keysock.Usage) error { list = append(list, u); return nil }))
	return list
}

func runAll(t *testing.T, scenes []scene) {
	for _, s := range scenes {
		t.Run(s.name, s.run)
	}
}

// inward is a frame of the peer with a packet for dst, changed on its way.
func inward(dst netip.Addr, n int, change func(outer []byte) []byte) func(testing.TB, *tunnel) []byte {
	return func(t testing.TB, tn *tunnel) []byte {
		outer := tn.sealed(t, clearPacket(t, hostB4, dst, n))
		if change != nil {
			outer = change(outer)
		}
		return fromOutside(outer)
	}
}

// outward is a frame of the inside host.
func outward(src, dst netip.Addr, n int, change func(ip []byte) []byte) func(testing.TB, *tunnel) []byte {
	return func(t testing.TB, _ *tunnel) []byte {
		ip := clearPacket(t, src, dst, n)
		if change != nil {
			ip = change(ip)
		}
		return fromInside(ip)
	}
}

// datagram is a frame with a UDP packet from the peer to a port of the gateway.
func datagram(v6 bool, port uint16, payload string) func(testing.TB, *tunnel) []byte {
	return func(t testing.TB, _ *tunnel) []byte {
		local, remote := ends(v6)
		return fromOutside(udp(t, remote, netip.AddrPortFrom(local.Addr(), port), []byte(payload)))
	}
}

func fixed(b []byte) func(testing.TB, *tunnel) []byte {
	return func(testing.TB, *tunnel) []byte { return b }
}

func toKernel(n int) func(*testing.T, *gateway, *tunnel) {
	return func(t *testing.T, g *gateway, _ *tunnel) {
		if len(g.slow.host) != n {
			t.Errorf("%d packets for the host's stack, want %d", len(g.slow.host), n)
		}
	}
}

func TestVerdictsOfParsing(t *testing.T) {
	arp := append(bytes.Repeat([]byte{0xff}, 12), 8, 6)
	runAll(t, []scene{
		{name: "short ethernet", frame: fixed(make([]byte, 13)), verdict: packet.DropTruncated},
		{name: "arp", frame: fixed(append(arp, make([]byte, 28)...)), verdict: packet.DropNotIP},
		{name: "cut IP packet", frame: inward(hostA4, 10, func(o []byte) []byte { return o[:len(o)-1] }), verdict: packet.DropTruncated},
		{name: "outer checksum", frame: inward(hostA4, 10, func(o []byte) []byte { o[10] ^= 1; return o }), verdict: packet.DropChecksum},
		{name: "inner checksum outbound", port: inside, frame: outward(hostA4, hostB4, 9, func(o []byte) []byte { o[10] ^= 1; return o }), verdict: packet.DropChecksum},
		{name: "header length", port: inside, frame: outward(hostA4, hostB4, 9, func(o []byte) []byte { o[0] = 0x44; return o }), verdict: packet.DropMalformed},
	})
}

func TestVerdictsOfOuterPackets(t *testing.T) {
	local, remote := ends(false)
	marked := "\x00\x00\x00\x00IKE message"
	punted := func(port uint16, v6 bool) func(*testing.T, *gateway, *tunnel) {
		return func(t *testing.T, g *gateway, _ *tunnel) {
			local, remote := ends(v6)
			want := []keysock.Message{keysock.Punt{
				Local: netip.AddrPortFrom(local.Addr(), port), Remote: remote, Data: []byte("IKE message")}}
			if diff := diffMessages(want, g.slow.taken()); diff != "" {
				t.Error(diff)
			}
		}
	}
	fragment := func(o []byte) []byte { o[6] |= 0x20; packet.SetIPv4Checksum(o); return o }
	runAll(t, []scene{
		{name: "IKE on 500", frame: datagram(false, 500, "IKE message"), verdict: packet.Punted, check: punted(500, false)},
		{name: "IKE on 4500", frame: datagram(false, 4500, marked), verdict: packet.Punted, check: punted(4500, false)},
		{name: "IKE on 500 IPv6", frame: datagram(true, 500, "IKE message"), verdict: packet.Punted, check: punted(500, true)},
		{name: "IKE on 4500 IPv6", frame: datagram(true, 4500, marked), verdict: packet.Punted, check: punted(4500, true)},
		{name: "IKE from inside", port: inside, frame: datagram(false, 500, "IKE message"), verdict: packet.Punted, check: punted(500, false)},
		{name: "nobody takes IKE", frame: datagram(false, 500, "IKE message"), verdict: packet.DropPuntFull,
			prepare: func(g *gateway) { g.slow.broken = true }},
		{name: "keepalive", frame: datagram(false, 4500, "\xff"), verdict: packet.DropKeepalive},
		{name: "runt on 4500", frame: datagram(false, 4500, "\x01\x02\x03"), verdict: packet.DropMalformed},
		{name: "encapsulated ESP too short", frame: datagram(false, 4500, "\x01\x02\x03\x04\x05"), verdict: packet.DropTruncated},
		{name: "fragment", frame: inward(hostA4, 10, fragment), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "UDP length", verdict: packet.DropMalformed, frame: func(t testing.TB, _ *tunnel) []byte {
			f := fromOutside(udp(t, remote, local, []byte("abcd")))
			f[packet.EthernetLen+packet.IPv4Len+5] = 7
			return f
		}},
	})
}

func TestClearPacketsOnOnePort(t *testing.T) {
	g := newGateway(t, options{ports: onePort()})
	g.up(newTunnel(t, 0, 1, false, false, nil))
	g.through(0, 0, fromOutside(clearPacket(t, hostB4, hostA4, 10)))
	g.through(0, 0, fromOutside(clearPacket(t, hostA4, hostB4, 10)))
	want := map[packet.Verdict]uint64{packet.DropClear: 1, packet.Forwarded: 1}
	if diff := cmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
}

// The last four bytes name an unknown generation of a known slot (V1).
func TestUnknownSPIIsReported(t *testing.T) {
	for _, encap := range []bool{false, true} {
		local, remote := ends(false)
		if !encap {
			local, remote = netip.AddrPortFrom(local.Addr(), 0), netip.AddrPortFrom(remote.Addr(), 0)
		}
		scene{
			name:   "unknown",
			change: func(in, _ *sadb.SA) { in.Encap = encap },
			frame: func(t testing.TB, tn *tunnel) []byte {
				stranger := tn.in
				stranger.SPI++
				tn.seal = peerSeal(t, stranger)
				return fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 1)))
			},
			verdict: packet.DropUnknownSPI,
			check: func(t *testing.T, g *gateway, tn *tunnel) {
				want := []keysock.Message{keysock.UnknownSPI{SPI: tn.in.SPI + 1, Local: local, Remote: remote, Sequence: 1, Packets: 1}}
				if diff := diffMessages(want, g.slow.taken()); diff != "" {
					t.Error(diff)
				}
			},
		}.run(t)
	}
}

// forge seals any plaintext under the tunnel's key, as an honest peer would not.
func (tn *tunnel) forge(t testing.TB, sequence uint32, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(tn.in.Key[:16])
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	b := binary.BigEndian.AppendUint32(nil, uint32(tn.in.SPI))
	b = binary.BigEndian.AppendUint32(b, sequence)
	iv := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	sealed := aead.Seal(nil, append(bytes.Clone(tn.in.Key[16:]), iv...), plain, b)
	return build(t, ipLayer(r8v4, r6v4, layers.IPProtocolESP), gopacket.Payload(append(append(b, iv...), sealed...)))
}

func forged(plain ...byte) func(testing.TB, *tunnel) []byte {
	return func(t testing.TB, tn *tunnel) []byte { return fromOutside(tn.forge(t, 1, plain)) }
}

func TestVerdictsOfOpening(t *testing.T) {
	flip := func(o []byte) []byte { o[len(o)-1] ^= 1; return o }
	congested := func(o []byte) []byte { packet.SetTOS(o, packet.CE); return o }
	runAll(t, []scene{
		{name: "authentication", frame: inward(hostA4, 10, flip), verdict: packet.DropAuth, drops: 1},
		{name: "congestion", frame: inward(hostA4, 10, congested), verdict: packet.DropECN, drops: 1},
		{name: "padding", frame: forged(9, 9, 2, 4), verdict: packet.DropPadding, drops: 1},
		{name: "dummy", frame: forged(1, 2, 2, packet.NoNext), verdict: packet.DropDummy, drops: 1},
		{name: "hard lifetime", change: func(in, _ *sadb.SA) { in.Hard.Packets = 1 },
			frame: inward(hostA4, 10, nil), verdict: packet.Forwarded},
	})
}

// RFC 4301 §5.2: what comes out must match the selectors of the SA.
func TestVerdictsOfSelectors(t *testing.T) {
	from := func(src, dst string) func(testing.TB, *tunnel) []byte {
		return func(t testing.TB, tn *tunnel) []byte {
			return fromOutside(tn.sealed(t, clearPacket(t, addr(src), addr(dst), 10)))
		}
	}
	ports := func(in, _ *sadb.SA) {
		in.LocalTS = selectors("10.6.0.0/16")
		in.LocalTS[0].Protocol, in.LocalTS[0].FirstPort, in.LocalTS[0].LastPort = packet.UDP, 4321, 4321
	}
	later := func(t testing.TB, tn *tunnel) []byte {
		ip := clearPacket(t, hostB4, hostA4, 64)
		binary.BigEndian.PutUint16(ip[6:], 3)
		packet.SetIPv4Checksum(ip)
		return fromOutside(tn.sealed(t, ip))
	}
	runAll(t, []scene{
		{name: "source", frame: from("10.8.8.9", "10.6.6.6"), verdict: packet.DropSelector, drops: 1},
		{name: "destination", frame: from("10.8.8.8", "10.7.6.6"), verdict: packet.DropSelector, drops: 1},
		{name: "family", frame: from("fd08::9", "fd06::6"), verdict: packet.DropSelector, drops: 1},
		{name: "port", change: ports, frame: from("10.8.8.8", "10.6.6.6"), verdict: packet.Forwarded},
		{name: "fragment without ports", change: ports, frame: later, verdict: packet.DropSelector, drops: 1},
		{name: "fragment", frame: later, verdict: packet.Forwarded},
	})
}

func TestVerdictsOfForwarding(t *testing.T) {
	expiring := func(t testing.TB, tn *tunnel) []byte {
		return fromOutside(tn.sealed(t, ttl(clearPacket(t, hostB4, hostA4, 10), 1)))
	}
	broken := func(g *gateway) { g.slow.broken = true }
	anywhere := func(in, _ *sadb.SA) { in.LocalTS = selectors("0.0.0.0/0", "::/0") }
	runAll(t, []scene{
		{name: "for this host", frame: inward(addr("10.6.6.1"), 10, nil), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "neighbour not resolved", frame: inward(addr("10.6.1.1"), 10, nil), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "host refuses", prepare: broken, frame: inward(addr("10.6.1.1"), 10, nil), verdict: packet.DropSlowPath, drops: 1},
		{name: "blackhole", frame: inward(addr("10.6.2.1"), 10, nil), verdict: packet.DropNoRoute, drops: 1},
		{name: "unreachable: the kernel tells", frame: inward(addr("10.6.3.1"), 10, nil), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "no route: the kernel tells", change: anywhere, frame: func(t testing.TB, tn *tunnel) []byte {
			return fromOutside(tn.sealed(t, clearPacket(t, hostB6, addr("fd07::1"), 10)))
		}, verdict: packet.ToKernel, check: toKernel(1)},
		{name: "longer than the link", frame: inward(addr("10.6.4.1"), 1300, nil), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "as long as the link", frame: inward(addr("10.6.4.1"), 1252, nil), verdict: packet.Forwarded},
		{name: "TTL", frame: expiring, verdict: packet.ToKernel, check: func(t *testing.T, g *gateway, _ *tunnel) {
			if g.slow.host[0][8] != 1 {
				t.Error("the kernel did not get the packet as it was")
			}
		}},
		{name: "to the untrusted side, no policy", change: anywhere, frame: inward(addr("198.51.100.1"), 10, nil),
			verdict: packet.ToKernel, check: toKernel(1)},
		{name: "to the untrusted side, bypass", change: anywhere, frame: inward(addr("198.51.100.1"), 10, nil), verdict: packet.Forwarded,
			prepare: func(g *gateway) { g.policy(2, sadb.Bypass, "10.8.0.0/16", "198.51.100.0/24") }},
		{name: "to the untrusted side, discard", change: anywhere, frame: inward(addr("198.51.100.1"), 10, nil), verdict: packet.DropPolicy,
			prepare: func(g *gateway) { g.policy(2, sadb.Discard, "10.8.0.0/16", "198.51.100.0/24") }, drops: 1},
	})
}

func TestVerdictsOfPolicy(t *testing.T) {
	bypass := func(g *gateway) { g.policy(2, sadb.Bypass, "10.6.0.0/16", "10.6.0.0/16") }
	runAll(t, []scene{
		{name: "no policy", port: inside, frame: outward(hostA4, addr("10.9.9.9"), 10, nil), verdict: packet.DropPolicy},
		{name: "source outside the selectors", port: inside, frame: outward(addr("10.7.0.1"), hostB4, 10, nil), verdict: packet.DropPolicy},
		{name: "discard", port: inside, frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropPolicy,
			prepare: func(g *gateway) { g.policy(2, sadb.Discard, "10.6.6.6/32", "10.8.8.8/32") }},
		{name: "protect without SA, not to be asked for", port: inside, frame: outward(hostA4, addr("10.9.9.9"), 10, nil), verdict: packet.DropPolicy,
			prepare: func(g *gateway) { g.policy(2, sadb.Protect, "10.6.6.6/32", "10.9.9.0/24") }},
		{name: "bypass", port: inside, prepare: bypass, frame: outward(hostA4, addr("10.6.6.9"), 10, nil), verdict: packet.Forwarded},
		{name: "bypass blackhole", port: inside, prepare: bypass, frame: outward(hostA4, addr("10.6.2.9"), 10, nil), verdict: packet.DropNoRoute},
		{name: "bypass unresolved", port: inside, prepare: bypass, frame: outward(hostA4, addr("10.6.1.9"), 10, nil), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "bypass of this host", enter: (*gateway).fromHost, prepare: bypass, verdict: packet.ToKernel,
			frame: func(t testing.TB, _ *tunnel) []byte { return clearPacket(t, addr("10.6.6.1"), hostA4, 10) },
			check: func(t *testing.T, g *gateway, _ *tunnel) {
				if len(g.slow.raw) != 1 {
					t.Error("not sent")
				}
			}},
	})
}

func TestVerdictsOfSealing(t *testing.T) {
	to := func(peer string) func(_, out *sadb.SA) {
		return func(_, out *sadb.SA) { out.Remote = netip.AddrPortFrom(addr(peer), 0) }
	}
	runAll(t, []scene{
		{name: "sequence", port: inside, change: func(_, out *sadb.SA) { out.Sequence = math.MaxUint32 },
			frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropSequence, drops: 1},
		{name: "no way to the peer", port: inside, change: to("192.0.2.3"), frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropNoRoute, drops: 1},
		{name: "peer not resolved", port: inside, change: to("192.0.2.4"), frame: outward(hostA4, hostB4, 10, nil), verdict: packet.ToKernel,
			check: func(t *testing.T, g *gateway, tn *tunnel) {
				if want := hopped(t, clearPacket(t, hostA4, hostB4, 10)); len(g.slow.raw) != 1 || !bytes.Equal(tn.opened(t, g.slow.raw[0]), want) {
					t.Errorf("sent %x", g.slow.raw)
				}
			}},
		{name: "kernel cannot send", port: inside, change: to("192.0.2.4"), frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropSlowPath,
			prepare: func(g *gateway) { g.slow.broken = true }, drops: 1},
		{name: "TTL", port: inside, frame: outward(hostA4, hostB4, 10, func(ip []byte) []byte { return ttl(ip, 1) }), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "fits", port: inside, frame: outward(hostA4, hostB4, 1446-28, nil), verdict: packet.Forwarded},
	})
}

func TestVerdictsOfTheSlowPath(t *testing.T) {
	own := func(n int) func(testing.TB, *tunnel) []byte {
		return func(t testing.TB, _ *tunnel) []byte { return clearPacket(t, addr("10.6.6.1"), hostB4, n) }
	}
	reassembled := func(dst netip.Addr, n int) func(testing.TB, *tunnel) []byte {
		return func(t testing.TB, tn *tunnel) []byte { return tn.sealed(t, clearPacket(t, hostB4, dst, n)) }
	}
	runAll(t, []scene{
		{name: "from this host", enter: (*gateway).fromHost, frame: own(10), verdict: packet.Forwarded,
			check: func(t *testing.T, g *gateway, tn *tunnel) {
				f := g.sent(outside)
				if len(f) != 1 || !bytes.Equal(tn.opened(t, f[0][packet.EthernetLen:]), clearPacket(t, addr("10.6.6.1"), hostB4, 10)) {
					t.Errorf("sent %x", f)
				}
			}},
		{name: "from this host, partial checksum", enter: (*gateway).fromHost, verdict: packet.Forwarded,
			frame: func(t testing.TB, tn *tunnel) []byte { return partial(t, own(10)(t, tn)) },
			check: func(t *testing.T, g *gateway, tn *tunnel) {
				if got := tn.opened(t, g.sent(outside)[0][packet.EthernetLen:]); !bytes.Equal(got, own(10)(t, tn)) {
					t.Errorf("the peer got %x", got)
				}
			}},
		{name: "the kernel's own multicast", enter: (*gateway).fromHost, verdict: packet.Ignored,
			frame: func(t testing.TB, _ *tunnel) []byte { return clearPacket(t, r6v6, addr("ff02::16"), 10) }},
		{name: "reassembled", enter: (*gateway).fromKernel, frame: reassembled(hostA4, 10), verdict: packet.Forwarded},
		{name: "reassembled, larger than a frame", enter: (*gateway).fromKernel, frame: reassembled(hostA4, 60000), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "garbage", enter: (*gateway).fromKernel, frame: fixed([]byte{0x45, 1, 2}), verdict: packet.DropTruncated},
	})
}

func (g *gateway) fromHost(ip []byte) bool   { return g.Group.FromHost(ip) }
func (g *gateway) fromKernel(ip []byte) bool { return g.Group.FromKernel(ip) }

// policy adds one that comes before the tunnel's.
func (g *gateway) policy(id sadb.PolicyID, a sadb.Action, local, remote string) {
	g.t.Helper()
	must(g.t, g.PolicyAdd(sadb.Policy{ID: id, Priority: 1, Action: a, Local: selectors(local), Remote: selectors(remote)}))
}

func diffMessages(want, got []keysock.Message) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }))
}

func TestReplay(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	f := fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 10)))
	g.through(0, outside, f)
	g.through(0, outside, f)
	want := map[packet.Verdict]uint64{packet.Forwarded: 1, packet.DropReplay: 1}
	if diff := cmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
}

// A port that takes nothing more costs counted packets.
func TestFullTX(t *testing.T) {
	g := newGateway(t, options{})
	g.up(newTunnel(t, 0, 1, false, false, nil))
	f := fromInside(clearPacket(t, hostA4, hostB4, 10))
	for range 1030 {
		g.through(0, inside, f)
	}
	want := map[packet.Verdict]uint64{packet.Forwarded: 1024, packet.DropTXFull: 6}
	if diff := cmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	if n := g.drops(); n != 6 {
		t.Errorf("%d drops of the SA", n)
	}
}

// A jumbo frame's room must bound what is copied into it, whatever the link says.
func TestRouteWiderThanFrames(t *testing.T) {
	r := r6Routes()
	wide := direct(inside, insideMAC, hostMAC)
	wide.MTU = 9000
	r[prefix("10.6.6.0/24")] = wide
	g := newGateway(t, options{routes: r})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	g.Group.FromKernel(tn.sealed(t, clearPacket(t, hostB4, hostA4, 3000)))
	g.poll()
	if n := len(g.slow.host); n != 1 {
		t.Errorf("%d packets for the kernel, verdicts %v", n, g.verdicts())
	}
}
