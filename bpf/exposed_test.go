package bpf_test

import (
	"net/netip"
	"testing"

	"spindle/bpf"
)

// exposed are packets from the far side of the SPD to its near side, whose policy
// the data path must be asked for (N4), and the few that the kernel needs as they
// are. What cuts one short must not let it through either: see the oracle.
var exposed = []branch{
	{"clear in transit v4", far4(v4{dst: near4, proto: protoTCP}, make([]byte, 20)), 34, bpf.RedirectClear},
	{"clear in transit v6", far6(v6{dst: near6, proto: protoTCP}, make([]byte, 20)), 54, bpf.RedirectClear},
	{"clear fragment in transit", far4(v4{dst: near4, proto: protoTCP, frag: 0x2001}, nil), 34, bpf.RedirectClear},
	{"clear at its last hop", far4(v4{dst: near4, proto: protoTCP, ttl: 1}, make([]byte, 20)), 34, bpf.RedirectClear},
	{"clear to this host from outside its networks", far4(v4{dst: local4, proto: protoTCP}, make([]byte, 20)), 34, bpf.RedirectClear},
	{"clear to this host v4", far4(v4{dst: host4, proto: protoTCP}, make([]byte, 20)), 34, bpf.RedirectClear},
	{"clear to this host v6", far6(v6{dst: host6, proto: protoTCP}, make([]byte, 20)), 54, bpf.RedirectClear},
	{"clear behind IPv4 options", far4(v4{dst: host4, proto: protoUDP, options: make([]byte, 40)}, udp(53, ike())), 74, bpf.RedirectClear},
	{"clear UDP cut short", far4(v4{dst: host4, proto: protoUDP}, make([]byte, 7)), 34, bpf.RedirectClear},
	{"ESP from a protected address", far4(v4{dst: local4, proto: protoESP}, esp(knownSPI)), 38, bpf.RedirectESP},
	{"IKE from a protected address", far4(v4{dst: local4, proto: protoUDP}, udp(500, ike())), 42, bpf.RedirectIKE},
	{"clear multicast", far4(v4{dst: netip.MustParseAddr("224.0.0.5"), proto: 89}, nil), 34, bpf.PassLinkScope},

	// Fragments for this host: the first one tells.
	{"first fragment v4", far4(v4{dst: host4, proto: protoTCP, frag: 0x2000}, make([]byte, 24)), 34, bpf.RedirectClear},
	{"later fragment v4", far4(v4{dst: host4, proto: protoTCP, frag: 3}, make([]byte, 24)), 34, bpf.RedirectClear},
	{"first fragment of UDP", far4(v4{dst: host4, proto: protoUDP, frag: 0x2000}, udp(53, ike())), 42, bpf.RedirectClear},
	{"first fragment of UDP behind options", far4(v4{dst: host4, proto: protoUDP, frag: 0x2000, options: make([]byte, 8)}, udp(53, ike())), 42, bpf.RedirectClear},
	{"first fragment of UDP too short for its ports", far4(v4{dst: host4, proto: protoUDP, frag: 0x2000}, udp(500, nil)[:7]), 34, bpf.RedirectClear},
	{"first fragment with DF", far4(v4{dst: host4, proto: protoTCP, frag: 0x6000}, make([]byte, 24)), 34, bpf.RedirectClear},
	{"first fragment of ESP", far4(v4{dst: host4, proto: protoESP, frag: 0x2000}, esp(knownSPI)), 34, bpf.PassFragment},
	{"later fragment of ESP", far4(v4{dst: host4, proto: protoESP, frag: 4}, esp(knownSPI)), 34, bpf.PassFragment},
	{"first fragment of IKE", far4(v4{dst: host4, proto: protoUDP, frag: 0x2000}, udp(500, ike())), 42, bpf.PassFragment},
	{"first fragment of ESP in UDP behind options", far4(v4{dst: host4, proto: protoUDP, frag: 0x2000, options: make([]byte, 8)}, udp(4500, ike())), 50, bpf.PassFragment},
	{"later fragment of UDP has no ports", far4(v4{dst: host4, proto: protoUDP, frag: 4}, udp(53, ike())), 34, bpf.PassFragment},

	{"first fragment v6", far6(v6{dst: host6, proto: protoTCP, extensions: firstFragment()}, make([]byte, 24)), 62, bpf.RedirectClear},
	{"atomic fragment v6", far6(v6{dst: host6, proto: protoTCP, extensions: []extension{{protoFragment, make([]byte, 6)}}}, make([]byte, 24)), 62, bpf.RedirectClear},
	{"first fragment of UDP v6", far6(v6{dst: host6, proto: protoUDP, extensions: firstFragment()}, udp(53, ike())), 70, bpf.RedirectClear},
	{"first fragment behind options v6", far6(v6{dst: host6, proto: protoUDP, extensions: options(protoHopByHop, protoDestOpts, protoFragment)}, udp(53, ike())), 78, bpf.RedirectClear},
	{"first fragment with options in it", far6(v6{dst: host6, proto: protoUDP, extensions: firstFragment(protoDestOpts)}, udp(53, ike())), 78, bpf.RedirectClear},
	{"first fragment that ends before its UDP", far6(v6{dst: host6, proto: protoUDP, extensions: firstFragment(protoDestOpts)}, nil), 70, bpf.RedirectClear},
	{"fragment of a fragment", far6(v6{dst: host6, proto: protoESP, extensions: firstFragment(protoFragment)}, esp(knownSPI)), 70, bpf.RedirectClear},
	{"fragment header cut short", far6(v6{dst: host6, proto: protoFragment}, make([]byte, 7)), 54, bpf.RedirectClear},
	{"first fragment of ESP v6", far6(v6{dst: host6, proto: protoESP, extensions: firstFragment()}, esp(knownSPI)), 62, bpf.PassFragment},
	{"first fragment of ESP behind options in it", far6(v6{dst: host6, proto: protoESP, extensions: firstFragment(protoDestOpts)}, esp(knownSPI)), 70, bpf.PassFragment},
	{"first fragment of IKE v6", far6(v6{dst: host6, proto: protoUDP, extensions: firstFragment()}, udp(500, ike())), 70, bpf.PassFragment},
	{"later fragment v6 says nothing", far6(v6{dst: host6, proto: protoTCP, extensions: []extension{{protoFragment, []byte{0, 9, 0, 0, 0, 9}}}}, make([]byte, 24)), 62, bpf.PassFragment},

	// Extension headers.
	{"five extensions", far6(v6{dst: host6, proto: protoTCP, extensions: options(60, 60, 60, 60, 60)}, make([]byte, 20)), 54, bpf.RedirectClear},
	{"source routed", far6(v6{dst: host6, proto: protoTCP, extensions: []extension{{protoRouting, []byte{4, 1, 0, 0, 0, 0}}}}, make([]byte, 20)), 54, bpf.RedirectClear},
	{"extension cut short", far6(v6{dst: host6, proto: protoDestOpts}, make([]byte, 7)), 54, bpf.RedirectClear},
	{"neighbour advertisement", far6(v6{dst: host6, proto: protoICMPv6, hops: 255}, []byte{136, 0, 0, 0}), 55, bpf.PassLocal},
	{"neighbour advertisement from behind a router", far6(v6{dst: host6, proto: protoICMPv6, hops: 254}, []byte{136, 0, 0, 0}), 54, bpf.RedirectClear},
	{"echo request", far6(v6{dst: host6, proto: protoICMPv6, hops: 255}, []byte{128, 0, 0, 0}), 54, bpf.RedirectClear},
	{"neighbour discovery as a fragment", far6(v6{dst: host6, proto: protoICMPv6, hops: 255, extensions: firstFragment()}, []byte{136, 0, 0, 0}), 54, bpf.RedirectClear},

	// Ethernet. The kernel takes what is broadcast for its own unicast address, and
	// takes off tags of VLAN 0.
	{"clear in a VLAN", ethernet(ourMAC, [][]byte{tag8021AD, tag8021Q}, 0x0800, ipv4(v4{src: inside4, dst: host4, proto: protoTCP, frag: 0x2000}, make([]byte, 24))), 42, bpf.RedirectClear},
	{"clear behind three tags", ethernet(ourMAC, [][]byte{priorityTag, priorityTag, priorityTag}, 0x0800, ipv4(v4{src: inside4, dst: host4, proto: protoTCP}, make([]byte, 20))), 22, bpf.DropVLANDepth},
	{"clear in a broadcast frame", ethernet(everybody, nil, 0x0800, ipv4(v4{src: inside4, dst: host4, proto: protoTCP}, make([]byte, 20))), 34, bpf.RedirectClear},
	{"clear in a multicast frame v6", ethernet([]byte{0x33, 0x33, 0, 0, 0, 1}, [][]byte{priorityTag}, 0x86dd, ipv6(v6{src: inside6, dst: host6, proto: protoTCP}, make([]byte, 20))), 58, bpf.RedirectClear},
	{"ESP in a broadcast frame", ethernet(everybody, nil, 0x0800, ipv4(v4{src: inside4, dst: host4, proto: protoESP}, esp(knownSPI))), 38, bpf.PassOtherMAC},
	{"broadcast in a broadcast frame", ethernet(everybody, nil, 0x0800, ipv4(v4{src: inside4, dst: netip.MustParseAddr("255.255.255.255"), proto: protoUDP}, udp(67, ike()))), 34, bpf.PassOtherMAC},
	{"three tags in a broadcast frame", ethernet(everybody, [][]byte{priorityTag, priorityTag, priorityTag}, 0x0806, nil), 22, bpf.DropVLANDepth},
}

var priorityTag = []byte{0x81, 0x00, 0x00, 0x00}

func far4(h v4, payload []byte) []byte {
	h.src = inside4
	return eth4(h, payload)
}

func far6(h v6, payload []byte) []byte {
	h.src = inside6
	return eth6(h, payload)
}

// firstFragment is a fragment header with more to follow, and what stands behind it.
func firstFragment(behind ...byte) []extension {
	return append([]extension{{protoFragment, []byte{0, 1, 0, 0, 0, 9}}}, options(behind...)...)
}

func TestClearPacketsFromProtectedNetworks(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	for _, b := range exposed {
		t.Run(b.name, func(t *testing.T) {
			if got, reason := steer(t, s, b.frame); reason != b.want || got != action(b.want) {
				t.Errorf("got action %d, %s; want action %d, %s", got, reason, action(b.want), b.want)
			}
			for n := 14; n < len(b.frame); n++ {
				if cut := differ(t, s, b.frame[:n]); n >= b.needs && cut != b.want {
					t.Errorf("the first %d bytes: %s", n, cut)
				}
			}
		})
	}
}

// Protected traffic without a socket is the fail-closed flag's, however it is cut.
func TestExposedFailsClosed(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	check(t, s.SetFailClosed(true))
	for _, b := range exposed {
		if b.want != bpf.RedirectClear {
			continue
		}
		if got, reason := steer(t, s, b.frame); reason != bpf.DropFailClosed || got != action(reason) {
			t.Errorf("%s: got action %d, %s", b.name, got, reason)
		}
	}
}
