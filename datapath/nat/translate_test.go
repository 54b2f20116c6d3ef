package nat_test

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/nat"
	"spindle/datapath/packet"
)

// TestThereAndBack: what leaves is what gopacket builds with the address outside,
// checksums included, and its answer is what it builds for the inside host.
func TestThereAndBack(t *testing.T) {
	data := []byte("an odd one")[:9]
	for name, c := range map[string]struct{ leaves, outside, answer, inside []byte }{
		"UDP": {
			udp(t, host, 5353, remote, 53, data...), udp(t, outside, 5353, remote, 53, data...),
			udp(t, remote, 53, outside, 5353, data...), udp(t, remote, 53, host, 5353, data...),
		},
		"TCP": {
			tcp(t, host, 40000, remote, 80, "S"), tcp(t, outside, 40000, remote, 80, "S"),
			tcp(t, remote, 80, outside, 40000, "SA"), tcp(t, remote, 80, host, 40000, "SA"),
		},
		"echo": {
			icmp(t, host, remote, 8, 7, data...), icmp(t, outside, remote, 8, 7, data...),
			icmp(t, remote, outside, 0, 7, data...), icmp(t, remote, host, 0, 7, data...),
		},
		"timestamp": {
			icmp(t, host, remote, 13, 7, make([]byte, 12)...), icmp(t, outside, remote, 13, 7, make([]byte, 12)...),
			icmp(t, remote, outside, 14, 7, make([]byte, 12)...), icmp(t, remote, host, 14, 7, make([]byte, 12)...),
		},
		"GRE, which has no ports": {
			plain(t, host, remote, 47, data...), plain(t, outside, remote, 47, data...),
			plain(t, remote, outside, 47, data...), plain(t, remote, host, 47, data...),
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := table(t, 8)
			got, v := out(t, n, c.leaves, second)
			must(t, got, v, c.outside)
			got, v = in(t, n, c.answer, second)
			must(t, got, v, c.inside)
		})
	}
}

// TestSamePortTwice: two inside hosts use one port; the second gets another one,
// of the same range and parity (RFC 4787 §4.2), and each its own answers.
func TestSamePortTwice(t *testing.T) {
	for _, port := range []int{53, 1022, 1024, 5353, 65535} {
		n := table(t, 8)
		got, v := out(t, n, udp(t, host, port, remote, 9), second)
		must(t, got, v, udp(t, outside, port, remote, 9))
		got, v = out(t, n, udp(t, other, port, remote, 9), second)
		var h packet.Header
		if h.ParseIP(got); v != packet.Pass || h.Src != outside {
			t.Fatal(v, h.Src)
		}
		second2 := int(h.SrcPort)
		if second2 == port || second2%2 != port%2 || (second2 < 1024) != (port < 1024) || second2 == 0 {
			t.Errorf("port %d became %d", port, second2)
		}
		must(t, got, v, udp(t, outside, second2, remote, 9))
		got, v = in(t, n, udp(t, remote, 9, outside, second2), second)
		must(t, got, v, udp(t, remote, 9, other, port))
		got, v = in(t, n, udp(t, remote, 9, outside, port), second)
		must(t, got, v, udp(t, remote, 9, host, port))
	}
}

// TestEndpointIndependent: RFC 4787 REQ-1, one inside port is one outside port
// wherever it sends, and whoever the SA admits may answer.
func TestEndpointIndependent(t *testing.T) {
	n := table(t, 8)
	out(t, n, udp(t, other, 5000, remote, 9), second)
	var first packet.Header
	got, _ := out(t, n, udp(t, host, 5000, remote, 9), second)
	first.ParseIP(got)
	got, v := out(t, n, udp(t, host, 5000, router, 10), second)
	must(t, got, v, udp(t, outside, int(first.SrcPort), router, 10))
	got, v = in(t, n, udp(t, netip.MustParseAddr("10.8.8.9"), 11, outside, int(first.SrcPort)), second)
	must(t, got, v, udp(t, netip.MustParseAddr("10.8.8.9"), 11, host, 5000))
	if u := usage(n); u.UDP != 2 || u.Made != 2 {
		t.Errorf("%+v", u)
	}
}

func usage(n *nat.Table) nat.Usage {
	n.Publish(second)
	return n.Usage()
}

// TestNothingFromOutside makes a mapping, and no two protocols share one.
func TestNothingFromOutside(t *testing.T) {
	n := table(t, 8)
	out(t, n, udp(t, host, 5000, remote, 9), second)
	for name, ip := range map[string][]byte{
		"another port":     udp(t, remote, 9, outside, 5001),
		"TCP":              tcp(t, remote, 9, outside, 5000, "S"),
		"echo request":     icmp(t, remote, outside, 8, 5000),
		"echo reply":       icmp(t, remote, outside, 0, 5000),
		"GRE":              plain(t, remote, outside, 47, 1, 2, 3, 4),
		"another address":  udp(t, remote, 9, host, 5000),
		"redirect":         icmp(t, remote, outside, 5, 5000),
		"ESP":              plain(t, remote, outside, 50, 1, 2, 3, 4),
		"error":            failure(t, router, outside, 3, 1, udp(t, outside, 5001, remote, 9)),
		"error of another": failure(t, router, outside, 3, 1, udp(t, remote, 5000, remote, 9)),
	} {
		_, v := in(t, n, ip, second)
		if v != packet.DropNoMapping {
			t.Errorf("%s: %v", name, v)
		}
	}
	if u := usage(n); u.Made != 1 || u.NoMapping != 10 {
		t.Errorf("%+v", u)
	}
}

// TestUntranslatable leaves alone what has no rule.
func TestUntranslatable(t *testing.T) {
	n := table(t, 8)
	out(t, n, plain(t, host, remote, 47, 1, 2, 3, 4), second)
	six := &layers.IPv6{Version: 6, HopLimit: 9, SrcIP: make([]byte, 16), DstIP: make([]byte, 16), NextHeader: layers.IPProtocolNoNextHeader}
	for name, ip := range map[string][]byte{
		"IPv6":                       build(t, six),
		"GRE of a second host":       plain(t, other, remote, 47, 1, 2, 3, 4),
		"echo reply nobody asked":    icmp(t, host, remote, 0, 1),
		"router solicitation":        icmp(t, host, remote, 10, 1),
		"TCP without a checksum":     plain(t, host, remote, 6, make([]byte, 17)...),
		"UDP of half a header":       plain(t, host, remote, 17, make([]byte, 7)...),
		"error about what is cut":    failure(t, host, remote, 3, 3, udp(t, remote, 9, host, 5000)[:27]),
		"error with a bad checksum":  spoilt(failure(t, host, remote, 3, 3, udp(t, remote, 9, host, 5000)), 22),
		"error about no IPv4 packet": failure(t, host, remote, 3, 3, make([]byte, 28)),
	} {
		_, v := out(t, n, ip, second)
		if v != packet.DropUntranslatable {
			t.Errorf("%s: %v", name, v)
		}
	}
	_, v := out(t, n, failure(t, host, remote, 3, 3, udp(t, remote, 9, host, 5000)), second)
	refused(t, nil, v, packet.DropNoMapping) // an error about a packet that never came in
}

func spoilt(ip []byte, at int) []byte {
	ip[at] ^= 0xff
	return ip
}

// TestUDPChecksum: none stays none, and one that comes out as 0 is sent as all
// ones (RFC 768). The payloads run through every value of one word.
func TestUDPChecksum(t *testing.T) {
	n := table(t, 8)
	none, want := udp(t, host, 5000, remote, 9, 1), udp(t, outside, 5000, remote, 9, 1)
	for _, b := range [][]byte{none, want} {
		b[26], b[27] = 0, 0
	}
	got, v := out(t, n, none, second)
	must(t, got, v, want)
	for w := range 1 << 16 {
		got, v := out(t, n, udp(t, host, 5000, remote, 9, byte(w>>8), byte(w)), second)
		must(t, got, v, udp(t, outside, 5000, remote, 9, byte(w>>8), byte(w)))
	}
}

// TestErrorsComeIn: RFC 5508 REQ-4: an error about what left is told to who sent
// it, in the terms of the packet that it sent, however much is quoted.
func TestErrorsComeIn(t *testing.T) {
	data := make([]byte, 40)
	for name, c := range map[string]struct{ leaves, outside []byte }{
		"UDP":  {udp(t, host, 5000, remote, 9, data...), udp(t, outside, 5000, remote, 9, data...)},
		"TCP":  {tcp(t, host, 5000, remote, 9, "S", data...), tcp(t, outside, 5000, remote, 9, "S", data...)},
		"echo": {icmp(t, host, remote, 8, 5000, data...), icmp(t, outside, remote, 8, 5000, data...)},
		"GRE":  {plain(t, host, remote, 47, data...), plain(t, outside, remote, 47, data...)},
	} {
		for _, quoted := range []int{28, 36, 38, 39, 45, len(c.leaves)} {
			for _, kind := range []uint8{3, 11, 12} {
				n := table(t, 8)
				out(t, n, c.leaves, second)
				got, v := in(t, n, failure(t, router, outside, kind, 4, c.outside[:quoted]), second)
				must(t, got, v, failure(t, router, host, kind, 4, c.leaves[:quoted]))
				if u := usage(n); u.Made != 1 {
					t.Errorf("%s: %+v", name, u)
				}
			}
		}
	}
}

// TestErrorsGoOut: RFC 5508 REQ-5, also those of a router in front of the host.
func TestErrorsGoOut(t *testing.T) {
	for _, from := range []netip.Addr{host, netip.MustParseAddr("10.6.0.1")} {
		n := table(t, 8)
		out(t, n, udp(t, other, 5000, remote, 9), second)
		var h packet.Header
		got, _ := out(t, n, udp(t, host, 5000, remote, 9), second)
		h.ParseIP(got)
		came, gone := udp(t, remote, 9, outside, int(h.SrcPort), 1, 2, 3), udp(t, remote, 9, host, 5000, 1, 2, 3)
		got, v := in(t, n, came, second)
		must(t, got, v, gone)
		got, v = out(t, n, failure(t, from, remote, 3, 3, gone), second)
		must(t, got, v, failure(t, outside, remote, 3, 3, came))
	}
}

// TestErrorsKeepNothingAlive: RFC 5508 REQ-6, RFC 5382 REQ-10.
func TestErrorsKeepNothingAlive(t *testing.T) {
	n := table(t, 8)
	out(t, n, icmp(t, host, remote, 8, 7), 0)
	about := icmp(t, outside, remote, 8, 7)
	for at := range int64(60) {
		_, v := in(t, n, failure(t, router, outside, 11, 0, about), at*second)
		refused(t, nil, v, packet.Pass)
	}
	_, v := in(t, n, failure(t, router, outside, 11, 0, about), 60*second)
	refused(t, nil, v, packet.DropNoMapping)
}

// TestFragments: on the way out the first has the ports, the others take the
// address in any order; on the way in they go where the first one went.
func TestFragments(t *testing.T) {
	n := table(t, 8)
	out(t, n, udp(t, other, 5000, remote, 9), second)
	data := make([]byte, 64)
	got, _ := out(t, n, udp(t, host, 5000, remote, 9, data...), second)
	var h packet.Header
	h.ParseIP(got)
	port := int(h.SrcPort)
	for _, way := range []struct {
		whole, want []byte
		translate   func(testing.TB, *nat.Table, []byte, int64) ([]byte, packet.Verdict)
	}{
		{udp(t, host, 5000, remote, 9, data...), udp(t, outside, port, remote, 9, data...), out},
		{udp(t, remote, 9, outside, port, data...), udp(t, remote, 9, host, 5000, data...), in},
	} {
		whole, want := pieces(t, way.whole), pieces(t, way.want)
		for i := range whole {
			got, v := way.translate(t, n, whole[i], second)
			must(t, got, v, want[i])
		}
	}
	late := pieces(t, udp(t, remote, 9, outside, port, data...))[1]
	if _, v := in(t, n, late, second+31*second); v != packet.DropNoMapping {
		t.Errorf("a fragment half a minute behind its first one: %v", v)
	}
	if _, v := in(t, n, pieces(t, udp(t, router, 9, outside, port, data...))[1], second); v != packet.DropNoMapping {
		t.Errorf("a fragment before its first one: %v", v)
	}
}

// pieces are the fragments of a packet.
func pieces(t testing.TB, ip []byte) (list [][]byte) {
	t.Helper()
	var h packet.Header
	h.ParseIP(ip)
	for at := 0; ; {
		dst := make([]byte, 100)
		n, next := packet.Fragment(dst, ip, &h, 44, at)
		if n == 0 {
			t.Fatal("cannot be fragmented")
		}
		list = append(list, dst[:n])
		if at = next; at == 0 {
			return list
		}
	}
}

// TestFull: the bound holds, what finds no room is named, and room comes back.
func TestFull(t *testing.T) {
	n := table(t, 3)
	for port := range 3 {
		_, v := out(t, n, udp(t, host, 5000+port, remote, 9), second)
		refused(t, nil, v, packet.Pass)
	}
	_, v := out(t, n, tcp(t, host, 5003, remote, 9, "S"), 2*second)
	refused(t, nil, v, packet.DropMappingsFull)
	_, v = out(t, n, udp(t, host, 5001, remote, 9), 200*second)
	refused(t, nil, v, packet.Pass) // what stands goes on
	_, v = out(t, n, tcp(t, host, 5003, remote, 9, "S"), 301*second)
	refused(t, nil, v, packet.Pass)
	n.Publish(301 * second)
	if u := n.Usage(); u != (nat.Usage{TCP: 1, UDP: 1, Bound: 3, Made: 4, Full: 1}) {
		t.Errorf("%+v", u)
	}
}

// TestPortsRunOut before the table does.
func TestPortsRunOut(t *testing.T) {
	n := table(t, 2000)
	for i := range 600 {
		a := netip.AddrFrom4([4]byte{10, 7, byte(i >> 8), byte(i)})
		_, v := out(t, n, udp(t, a, 111, remote, 9), second)
		want := packet.Pass
		if i >= 512 {
			want = packet.DropMappingsFull
		}
		refused(t, nil, v, want)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		address string
		bound   int
	}{{"2001:db8::1", 1}, {"10.99.0.1", 0}, {"10.99.0.1", nat.MaxMappings + 1}} {
		if _, err := nat.New(netip.MustParseAddr(c.address), c.bound); err == nil {
			t.Errorf("%v", c)
		}
	}
	if _, err := nat.New(outside, nat.MaxMappings); err != nil {
		t.Error(err)
	}
}

// TestOptions of the IP header move what stands behind it.
func TestOptions(t *testing.T) {
	with := func(src netip.Addr) []byte {
		l := ipv4(src, remote, layers.IPProtocolUDP)
		l.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
		u := &layers.UDP{SrcPort: 5000, DstPort: 9}
		_ = u.SetNetworkLayerForChecksum(l)
		return build(t, l, u, gopacket.Payload("x"))
	}
	got, v := out(t, table(t, 8), with(host), second)
	must(t, got, v, with(outside))
}

func TestAllocatesNothing(t *testing.T) {
	n := table(t, 64)
	packets := [][]byte{udp(t, host, 5000, remote, 9), tcp(t, host, 5000, remote, 9, "S"), icmp(t, host, remote, 8, 1),
		failure(t, host, remote, 3, 3, udp(t, remote, 9, host, 5000))}
	answers := [][]byte{udp(t, remote, 9, outside, 5000), icmp(t, remote, outside, 0, 1), failure(t, router, outside, 3, 1, udp(t, outside, 5000, remote, 9))}
	scratch, now := make([]byte, 200), int64(0)
	var h packet.Header
	if allocs := testing.AllocsPerRun(100, func() {
		now += 100 * second // mappings come and go
		for _, b := range packets {
			ip := scratch[:copy(scratch, b)]
			h.ParseIP(ip)
			n.Outbound(ip, &h, now)
		}
		for _, b := range answers {
			ip := scratch[:copy(scratch, b)]
			h.ParseIP(ip)
			n.Inbound(ip, &h, now)
		}
		n.Publish(now)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
