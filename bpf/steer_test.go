package bpf_test

import (
	"net/netip"
	"testing"
	"time"

	"spindle/bpf"
)

// branch is one way through the program: its reason with a socket, and how many
// bytes of the frame decide it. One byte less must be pass_truncated.
type branch struct {
	name  string
	frame []byte
	needs int
	want  bpf.Reason
}

var branches = []branch{
	// Ethernet.
	{"broadcast MAC", ethernet(everybody, nil, 0x0806, make([]byte, 28)), 14, bpf.PassOtherMAC},
	{"someone else's MAC", ethernet(peerMAC, nil, 0x0800, ipv4(v4{dst: local4, proto: protoESP}, esp(knownSPI))), 14, bpf.PassOtherMAC},
	{"MAC differs in the last bit", ethernet([]byte{2, 0, 0, 0, 0, 7}, nil, 0x0800, make([]byte, 20)), 14, bpf.PassOtherMAC},
	{"unicast ARP", ethernet(ourMAC, nil, 0x0806, make([]byte, 28)), 14, bpf.PassNotIP},
	{"VLAN 1 tag", ethernet(ourMAC, [][]byte{tag8021Q}, 0x0800, ipv4(v4{dst: local4, proto: protoESP}, esp(knownSPI))), 18 + 24, bpf.RedirectESP},
	{"VLAN 2 tags", ethernet(ourMAC, [][]byte{tag8021AD, tag8021Q}, 0x86dd, ipv6(v6{dst: local6, proto: protoESP}, esp(knownSPI))), 22 + 44, bpf.RedirectESP},
	{"VLAN 3 tags", ethernet(ourMAC, [][]byte{tag8021AD, tag8021Q, tag8021Q}, 0x0800, ipv4(v4{dst: local4, proto: protoESP}, esp(knownSPI))), 22, bpf.DropVLANDepth},
	{"VLAN around ARP", ethernet(ourMAC, [][]byte{tag8021Q}, 0x0806, make([]byte, 28)), 18, bpf.PassNotIP},
	{"VLAN inside prefix", ethernet(ourMAC, [][]byte{tag8021Q}, 0x0800, ipv4(v4{dst: inside4, proto: protoTCP}, make([]byte, 20))), 38, bpf.RedirectProtected},

	// IPv4 header.
	{"v4 wrong version", eth4(v4{dst: local4, version: 0x65}, esp(1)), 34, bpf.PassMalformed},
	{"v4 header length 4", eth4(v4{dst: local4, version: 0x44}, esp(1)), 34, bpf.PassMalformed},
	{"v4 total length below header", eth4(v4{dst: local4, length: 19}, esp(1)), 34, bpf.PassMalformed},
	{"v4 ESP behind options", eth4(v4{dst: local4, proto: protoESP, options: make([]byte, 40)}, esp(knownSPI)), 34 + 40 + 4, bpf.RedirectESP},
	{"v4 SPI in the padding behind the datagram", eth4(v4{dst: local4, proto: protoESP, length: 20}, esp(knownSPI)), 999, bpf.PassTruncated},
	{"v4 first fragment", eth4(v4{dst: local4, proto: protoESP, frag: 0x2000}, esp(knownSPI)), 34, bpf.PassFragment},
	{"v4 later fragment", eth4(v4{dst: local4, proto: protoUDP, frag: 0x2000 | 185}, udp(4500, esp(knownSPI))), 34, bpf.PassFragment},
	{"v4 last fragment", eth4(v4{dst: local4, proto: protoUDP, frag: 1}, udp(4500, esp(knownSPI))), 34, bpf.PassFragment},
	{"v4 DF is no fragment", eth4(v4{dst: local4, proto: protoESP, frag: 0x4000}, esp(knownSPI)), 38, bpf.RedirectESP},

	// IPv6 header and extensions.
	{"v6 wrong version", eth6(v6{dst: local6, version: 0x40}, esp(1)), 54, bpf.PassMalformed},
	{"v6 ESP", eth6(v6{dst: local6, proto: protoESP}, esp(knownSPI)), 58, bpf.RedirectESP},
	{"v6 SPI in the padding behind the datagram", eth6(v6{dst: local6, proto: protoESP, length: 3}, esp(knownSPI)), 999, bpf.PassTruncated},
	{"v6 one extension", eth6(v6{dst: local6, proto: protoESP, extensions: options(protoHopByHop)}, esp(knownSPI)), 66, bpf.RedirectESP},
	{"v6 four extensions", eth6(v6{dst: local6, proto: protoESP, extensions: options(protoHopByHop, protoDestOpts, protoRouting, protoDestOpts)}, esp(knownSPI)), 90, bpf.RedirectESP},
	{"v6 five extensions", eth6(v6{dst: local6, proto: protoESP, extensions: options(protoHopByHop, protoDestOpts, protoRouting, protoDestOpts, protoDestOpts)}, esp(knownSPI)), 86, bpf.PassExtension},
	{"v6 long extension", eth6(v6{dst: local6, proto: protoESP, extensions: []extension{{protoDestOpts, make([]byte, 6+8*100)}}}, esp(knownSPI)), 54 + 808 + 4, bpf.RedirectESP},
	{"v6 extension that ends behind the frame", eth6(v6{dst: local6, proto: protoDestOpts}, []byte{protoESP, 255, 0, 0, 0, 0, 0, 0}), 999, bpf.PassTruncated},
	{"v6 source routed", eth6(v6{dst: local6, proto: protoESP, extensions: []extension{{protoRouting, []byte{4, 1, 0, 0, 0, 0}}}}, esp(knownSPI)), 62, bpf.PassExtension},
	{"v6 no next header", eth6(v6{dst: local6, proto: protoNone}, nil), 54, bpf.PassLocal},
	{"v6 first fragment", eth6(v6{dst: local6, proto: protoESP, extensions: []extension{{protoFragment, []byte{0, 1, 0, 0, 0, 9}}}}, esp(knownSPI)), 62, bpf.PassFragment},
	{"v6 later fragment", eth6(v6{dst: local6, proto: protoESP, extensions: []extension{{protoFragment, []byte{1, 1, 0, 0, 0, 9}}}}, esp(knownSPI)), 62, bpf.PassFragment},
	{"v6 atomic fragment", eth6(v6{dst: local6, proto: protoESP, extensions: []extension{{protoFragment, make([]byte, 6)}}}, esp(knownSPI)), 62, bpf.PassFragment},
	{"v6 fragment behind options", eth6(v6{dst: local6, proto: protoESP, extensions: options(protoDestOpts, protoFragment)}, esp(knownSPI)), 70, bpf.PassFragment},
	{"v6 fragment behind four extensions", eth6(v6{dst: local6, proto: protoESP, extensions: options(protoDestOpts, protoDestOpts, protoDestOpts, protoDestOpts, protoFragment)}, esp(knownSPI)), 94, bpf.PassFragment},

	// For a local address.
	{"ESP", eth4(v4{dst: local4, proto: protoESP}, esp(knownSPI)), 38, bpf.RedirectESP},
	{"ESP with TTL 1", eth4(v4{dst: local4, proto: protoESP, ttl: 1}, esp(knownSPI)), 38, bpf.RedirectESP},
	{"ESP unknown SPI", eth4(v4{dst: local4, proto: protoESP}, esp(foreign)), 38, bpf.RedirectUnknownSPI},
	{"ESP SPI of the generation before", eth4(v4{dst: local4, proto: protoESP}, esp(staleSPI)), 38, bpf.RedirectUnknownSPI},
	{"ESP SPI 0", eth4(v4{dst: local4, proto: protoESP}, esp(0)), 38, bpf.RedirectUnknownSPI},
	{"ESP SPI 255", eth4(v4{dst: local4, proto: protoESP}, esp(255)), 38, bpf.RedirectUnknownSPI},
	{"IKE on 500", eth4(v4{dst: local4, proto: protoUDP}, udp(500, ike())), 42, bpf.RedirectIKE},
	{"IKE on 500, v6", eth6(v6{dst: local6, proto: protoUDP}, udp(500, ike())), 62, bpf.RedirectIKE},
	{"IKE on 4500", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, cat(be32(0), ike()))), 46, bpf.RedirectIKE},
	{"marker alone", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, be32(0))), 46, bpf.RedirectIKE},
	{"ESP in UDP", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, esp(knownSPI))), 46, bpf.RedirectESP},
	{"ESP in UDP, v6", eth6(v6{dst: local6, proto: protoUDP}, udp(4500, esp(knownSPI))), 66, bpf.RedirectESP},
	{"ESP in UDP, unknown SPI", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, esp(foreign))), 46, bpf.RedirectUnknownSPI},
	{"keepalive", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, []byte{0xff})), 43, bpf.DropKeepalive},
	{"keepalive padded to 60 bytes", cat(eth4(v4{dst: local4, proto: protoUDP}, udp(4500, []byte{0xff})), make([]byte, 17)), 43, bpf.DropKeepalive},
	{"keepalive, v6", eth6(v6{dst: local6, proto: protoUDP}, udp(4500, []byte{0xff})), 63, bpf.DropKeepalive},
	{"one byte, no keepalive", cat(eth4(v4{dst: local4, proto: protoUDP}, udp(4500, []byte{0xfe})), make([]byte, 17)), 999, bpf.PassTruncated},
	{"two 0xff are no keepalive", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, []byte{0xff, 0xff})), 999, bpf.PassTruncated},
	{"0xff begins an SPI", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, esp(0xff000000))), 46, bpf.RedirectUnknownSPI},
	{"4500 without payload", eth4(v4{dst: local4, proto: protoUDP}, udp(4500, nil)), 999, bpf.PassTruncated},
	{"4500 with UDP length 7", eth4(v4{dst: local4, proto: protoUDP}, cat(be16(1), be16(4500), be16(7), be16(0), esp(1))), 42, bpf.PassMalformed},
	{"4500 as source port", eth4(v4{dst: local4, proto: protoUDP}, cat(be16(4500), be16(53), be16(12), be16(0), be32(0))), 42, bpf.PassLocal},
	{"TCP to us", eth4(v4{dst: local4, proto: protoTCP}, make([]byte, 20)), 34, bpf.PassLocal},

	// In transit.
	{"protected v4", eth4(v4{dst: inside4, proto: protoTCP}, make([]byte, 20)), 34, bpf.RedirectProtected},
	{"protected v6", eth6(v6{dst: inside6, proto: protoTCP}, make([]byte, 20)), 54, bpf.RedirectProtected},
	{"protected with options does not escape", eth4(v4{dst: inside4, proto: protoTCP, options: make([]byte, 8)}, nil), 34, bpf.RedirectProtected},
	{"protected fragment does not escape", eth4(v4{dst: inside4, proto: protoTCP, frag: 0x2001}, nil), 34, bpf.RedirectProtected},
	{"protected behind six extensions does not escape", eth6(v6{dst: inside6, extensions: options(0, 60, 60, 60, 60, 60)}, nil), 54, bpf.RedirectProtected},
	{"ESP through us is traffic", eth4(v4{dst: inside4, proto: protoESP}, esp(knownSPI)), 34, bpf.RedirectProtected},
	{"no policy v4", eth4(v4{dst: transit4, proto: protoTCP}, make([]byte, 20)), 34, bpf.PassNoPrefix},
	{"no policy v6", eth6(v6{dst: transit6, proto: protoTCP}, make([]byte, 20)), 54, bpf.PassNoPrefix},
	{"v4-mapped v6 is not the v4 local address", eth6(v6{dst: netip.AddrFrom16(local4.As16()), proto: protoESP}, esp(knownSPI)), 54, bpf.PassNoPrefix},
	{"clear from elsewhere to a protected network", eth4(v4{dst: near4, proto: protoTCP}, nil), 34, bpf.PassNoPrefix},
	{"clear from a protected network to elsewhere", eth4(v4{src: inside4, dst: transit4, proto: protoTCP}, nil), 34, bpf.PassNoPrefix},
	{"TTL 2", eth4(v4{dst: inside4, ttl: 2}, nil), 34, bpf.RedirectProtected},
	{"TTL 1", eth4(v4{dst: inside4, ttl: 1}, nil), 34, bpf.PassTTL},
	{"hop limit 1", eth6(v6{dst: inside6, hops: 1}, nil), 54, bpf.PassTTL},
	{"multicast v4", eth4(v4{dst: netip.MustParseAddr("224.0.0.5")}, nil), 34, bpf.PassLinkScope},
	{"limited broadcast", eth4(v4{dst: netip.MustParseAddr("255.255.255.255")}, nil), 34, bpf.PassLinkScope},
	{"class E is no broadcast", eth4(v4{dst: netip.MustParseAddr("255.255.255.254")}, nil), 34, bpf.PassNoPrefix},
	{"multicast v6", eth6(v6{dst: netip.MustParseAddr("ff02::1")}, nil), 54, bpf.PassLinkScope},
	{"link-local v6", eth6(v6{dst: netip.MustParseAddr("febf::1")}, nil), 54, bpf.PassLinkScope},
	{"fec0 is no link-local", eth6(v6{dst: netip.MustParseAddr("fec0::1")}, nil), 54, bpf.PassNoPrefix},
}

func TestEveryBranch(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	for _, b := range branches {
		t.Run(b.name, func(t *testing.T) {
			got, reason := steer(t, s, b.frame)
			if reason != b.want || got != action(b.want) {
				t.Errorf("got action %d, %s; want action %d, %s", got, reason, action(b.want), b.want)
			}
		})
	}
}

// The kernel's test run refuses frames without a whole Ethernet header, as
// drivers do: below 14 bytes there is nothing to cut.
func TestEveryTruncation(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	for _, b := range branches {
		for n := 14; n <= len(b.frame); n++ {
			want := b.want
			if n < b.needs {
				want = bpf.PassTruncated
			}
			got, reason := steer(t, s, b.frame[:n])
			if reason != want || got != action(want) {
				t.Errorf("%s, first %d bytes: got action %d, %s; want %s", b.name, n, got, reason, want)
			}
		}
	}
}

func TestWithoutSocketTheKernelGetsIt(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	want := map[bpf.Reason]bpf.Reason{
		bpf.RedirectESP:        bpf.PassESPNoSocket,
		bpf.RedirectUnknownSPI: bpf.PassESPNoSocket,
		bpf.RedirectIKE:        bpf.PassIKENoSocket,
		bpf.RedirectProtected:  bpf.PassProtectedNoSocket,
		bpf.RedirectClear:      bpf.PassProtectedNoSocket,
	}
	compareAll(t, s, want)

	check(t, s.SetFailClosed(true))
	want[bpf.RedirectProtected], want[bpf.RedirectClear] = bpf.DropFailClosed, bpf.DropFailClosed
	compareAll(t, s, want)

	check(t, s.SetFailClosed(false))
	want[bpf.RedirectProtected], want[bpf.RedirectClear] = bpf.PassProtectedNoSocket, bpf.PassProtectedNoSocket
	compareAll(t, s, want)
}

func TestFailClosedDoesNotDisturbSockets(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	check(t, s.SetFailClosed(true))
	compareAll(t, s, nil)
}

func TestSocketOfAnotherPortOrQueueDoesNotCount(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	xsk := bind(t, s, loopback, portRow+1, 0)
	check(t, s.RegisterSocket(portRow, 1, xsk.FD()))
	check(t, s.RegisterSocket(portRow-1, bpf.MaxQueues-1, xsk.FD()))
	frame := eth4(v4{dst: local4, proto: protoESP}, esp(knownSPI))
	if _, reason := steer(t, s, frame); reason != bpf.PassESPNoSocket {
		t.Errorf("got %s", reason)
	}
}

// compareAll runs every branch; instead names the reasons that differ from it.
func compareAll(t *testing.T, s *bpf.Steer, instead map[bpf.Reason]bpf.Reason) {
	t.Helper()
	for _, b := range branches {
		want := b.want
		if w, ok := instead[want]; ok {
			want = w
		}
		got, reason := steer(t, s, b.frame)
		if reason != want || got != action(want) {
			t.Errorf("%s: got action %d, %s; want %s", b.name, got, reason, want)
		}
	}
}

func TestRoles(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	clear4 := eth4(v4{dst: inside4, proto: protoTCP}, nil)
	multicast := eth4(v4{dst: netip.MustParseAddr("224.0.0.5")}, nil)
	esp4 := eth4(v4{dst: local4, proto: protoESP}, esp(knownSPI))
	exposed4 := eth4(v4{src: inside4, dst: near4, proto: protoTCP}, nil)
	for _, c := range []struct {
		role                           bpf.Role
		clear, multicast, esp, exposed bpf.Reason
	}{
		{bpf.Outside, bpf.PassNotInside, bpf.PassNotInside, bpf.RedirectESP, bpf.RedirectClear},
		{bpf.Inside, bpf.RedirectProtected, bpf.PassLinkScope, bpf.RedirectESP, bpf.PassNoPrefix},
		{bpf.Outside | bpf.Inside, bpf.RedirectProtected, bpf.PassLinkScope, bpf.RedirectESP, bpf.RedirectClear},
	} {
		check(t, s.Configure(loopback, bpf.PortConfig{Index: portRow, Role: c.role, MAC: ourMAC}))
		for _, f := range []struct {
			frame []byte
			want  bpf.Reason
		}{{clear4, c.clear}, {multicast, c.multicast}, {esp4, c.esp}, {exposed4, c.exposed}} {
			if _, got := steer(t, s, f.frame); got != f.want {
				t.Errorf("role %b: got %s, want %s", c.role, got, f.want)
			}
		}
	}
	check(t, s.Unconfigure(loopback))
	if got, reason := steer(t, s, esp4); reason != bpf.PassNoPort || got != action(reason) {
		t.Errorf("no port: got action %d, %s", got, reason)
	}
}

// V6: a flood costs its budget and no more; the buckets do not share.
func TestFloodSpendsOnlyItsOwnBudget(t *testing.T) {
	isolate(t)
	s := gateway(t, bpf.Options{IKE: bpf.Budget{Rate: 1, Burst: 5}, UnknownSPI: bpf.Budget{Rate: 1, Burst: 3}})
	bind(t, s, loopback, portRow, 0)
	unknown := eth4(v4{dst: local4, proto: protoESP}, esp(foreign))
	known := eth4(v4{dst: local4, proto: protoESP}, esp(knownSPI))
	ike4 := eth4(v4{dst: local4, proto: protoUDP}, udp(500, ike()))
	natt := eth6(v6{dst: local6, proto: protoUDP}, udp(4500, cat(be32(0), ike())))

	flood(t, s, 3, bpf.RedirectUnknownSPI, bpf.DropUnknownSPIBudget, unknown)
	flood(t, s, 5, bpf.RedirectIKE, bpf.DropIKEBudget, ike4, natt)
	for range 100 {
		if got, reason := steer(t, s, known); reason != bpf.RedirectESP || got != action(reason) {
			t.Fatalf("known SPI during a flood: action %d, %s", got, reason)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	if _, reason := steer(t, s, unknown); reason != bpf.RedirectUnknownSPI {
		t.Errorf("after the bucket refilled: %s", reason)
	}
	if _, reason := steer(t, s, ike4); reason != bpf.RedirectIKE {
		t.Errorf("after the bucket refilled: %s", reason)
	}
}

// flood runs 50 frames: the first burst of them go to the socket, and of the
// rest only what the time that passes pays for (1 packet per second).
func flood(t *testing.T, s *bpf.Steer, burst int, within, over bpf.Reason, frames ...[]byte) {
	t.Helper()
	start, passed := time.Now(), 0
	for i := range 50 {
		got, reason := steer(t, s, frames[i%len(frames)])
		if reason != within && reason != over || got != action(reason) {
			t.Fatalf("frame %d: action %d, %s", i, got, reason)
		}
		if reason == within {
			passed++
		}
		if i < burst && reason != within {
			t.Errorf("frame %d of a burst of %d: %s", i, burst, reason)
		}
	}
	if most := burst + 1 + int(time.Since(start).Seconds()); passed > most {
		t.Errorf("%d frames passed, budget is %d", passed, most)
	}
}
