package main_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// wrapping is one way to bring an echo request to a gateway: the frames of it, for
// a MAC, from an address to one of the gateway's own.
type wrapping struct {
	name   string
	frames func(to net.HardwareAddr, echo []byte) [][]byte
}

var wrappings4 = []wrapping{
	{"whole", plain},
	{"fragments", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x0800, cut4(e, 16)...) }},
	{"fragments, the last one first", func(to net.HardwareAddr, e []byte) [][]byte {
		list := framed(to, 0x0800, cut4(e, 16)...)
		slices.Reverse(list)
		return list
	}},
	{"behind options", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x0800, optioned(e)) }},
	{"fragments behind options", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x0800, cut4(optioned(e), 24)...) }},
	{"broadcast", func(_ net.HardwareAddr, e []byte) [][]byte { return plain(broadcast, e) }},
	{"fragments in priority tags", func(to net.HardwareAddr, e []byte) [][]byte {
		return tagged(framed(to, 0x0800, cut4(e, 16)...), 2)
	}},
}

var wrappings6 = []wrapping{
	{"whole", plain},
	{"fragments", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x86dd, cut6(e, 16)...) }},
	{"atomic fragment", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x86dd, cut6(e, 4096)...) }},
	{"behind five extension headers", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x86dd, extended(e, 5)) }},
	{"options in a fragment", func(to net.HardwareAddr, e []byte) [][]byte { return framed(to, 0x86dd, cut6(extended(e, 1), 24)...) }},
	{"multicast", func(_ net.HardwareAddr, e []byte) [][]byte { return plain(allNodes, e) }},
}

var (
	broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}
	allNodes  = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
)

// TestClearPacketsToTheGateway: what R6 wants protected to an address of its own
// does not reach its stack in the clear, however it is wrapped (N4). From a host
// that no policy names the same frames do.
func TestClearPacketsToTheGateway(t *testing.T) {
	b := newBed(t, "clear-own", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		r6.LocalTS = prefixes("10.6.6.0/24", "2001:db8:6::/64")
		r8.RemoteTS = r6.LocalTS
		// The stranger is the far side of a policy with another near side: its packets
		// are looked at.
		r6.Gateway = []string{"policies:", `  - {action: discard, local: ["10.66.0.0/16", "2001:db8:66::/64"], remote: ["10.8.8.99/32", "2001:db8:8::99/128"]}`}
	})
	b.up()
	b.r8.Stop()
	to, err := b.R6.HardwareAddr("out0")
	check(t, err)
	wire, err := b.Wire.Inject("w6") // the bridge would take a tag off
	check(t, err)
	defer wire.Close()
	for _, family := range []struct {
		name                 string
		wrappings            []wrapping
		own, known, stranger netip.Addr
		counter              string
	}{
		{"IPv4", wrappings4, netip.MustParseAddr("10.6.6.1"), b.B4, netip.MustParseAddr("10.8.8.99"), "IcmpInEchos"},
		{"IPv6", wrappings6, netip.MustParseAddr("2001:db8:6::1"), b.B6, netip.MustParseAddr("2001:db8:8::99"), "Icmp6InEchos"},
	} {
		for _, w := range family.wrappings {
			t.Run(family.name+" "+w.name, func(t *testing.T) {
				b.t = t
				send := func(src netip.Addr) {
					for _, f := range w.frames(to, echoRequest(t, src, family.own)) {
						copy(f[6:], wire.MAC)
						check(t, wire.Send(f))
					}
				}
				dropped := b.verdict("drop_clear")
				heard := b.kernelCounter(family.counter)
				send(family.known)
				check(t, b.r6.Await(t.Context(), patience, "count the clear packet", func() bool { return b.verdict("drop_clear") > dropped }))
				send(family.stranger)
				check(t, b.r6.Await(t.Context(), patience, "hear the stranger", func() bool { return b.kernelCounter(family.counter) > heard }))
				if n := b.kernelCounter(family.counter); n != heard+1 {
					t.Errorf("the stack heard %d echo requests, want the stranger's alone", n-heard)
				}
			})
		}
	}
	b.t = t
	b.stackedTags(wire, to)
}

// TestGatewaysThatProtectThemselves: policies between the gateways' own addresses
// do not cut off what carries them: IKE, ESP in fragments because it is cut after
// encryption (N2), neighbour discovery.
func TestGatewaysThatProtectThemselves(t *testing.T) {
	for _, outer := range []int{4, 6} {
		t.Run(fmt.Sprintf("outer IPv%d", outer), func(t *testing.T) {
			b := newBed(t, fmt.Sprintf("selves%d", outer), netlab.Options{IPv6Outer: outer == 6}).spindles(func(r6, r8 *testbed.Tunnel) {
				r6.LocalTS = append(r6.LocalTS, netip.PrefixFrom(r6.Local, r6.Local.BitLen()))
				r6.RemoteTS = append(r6.RemoteTS, netip.PrefixFrom(r6.Remote, r6.Remote.BitLen()))
				r8.LocalTS, r8.RemoteTS = r6.RemoteTS, r6.LocalTS
				r6.ChildLines, r8.ChildLines = []string{"prefragment: false"}, []string{"prefragment: false"}
			})
			b.up()
			b.ping(b.R6, b.R6Addr, b.R8Addr, 5)
			before, err := b.wire.Read()
			check(t, err)
			out, err := b.A.Run(t.Context(), "ping", "-M", "dont", "-c", "5", "-i", "0.02", "-w", "5", "-s", "1472", b.B4.String())
			if err != nil || !strings.Contains(out, " 0% packet loss") {
				t.Errorf("fragments of ESP: %s: %v", out, err)
			}
			after, err := b.wire.Read()
			check(t, err)
			if n := after.ESP.Frames - before.ESP.Frames; n != 20 {
				t.Errorf("%d frames of ESP for ten packets, want two for each", n)
			}
			for _, ns := range []*netlab.NS{b.R6, b.R8} {
				_, err := ns.Run(t.Context(), "ip", "neigh", "flush", "dev", "out0")
				check(t, err)
				b.ping(b.R6, b.R6Addr, b.R8Addr, 5)
			}
			b.clean()
		})
	}
}

// stackedTags sends what the kernel would take though XDP cannot look into it.
func (b *bed) stackedTags(wire *netlab.Injector, to net.HardwareAddr) {
	b.t.Helper()
	heard := b.kernelCounter("IcmpInEchos")
	for _, f := range tagged(plain(to, echoRequest(b.t, b.B4, netip.MustParseAddr("10.6.6.1"))), 3) {
		copy(f[6:], wire.MAC)
		check(b.t, wire.Send(f))
	}
	check(b.t, b.r6.Await(b.t.Context(), patience, "drop stacked tags", func() bool {
		drops, err := b.r6.Drops(b.t.Context())
		return err == nil && drops["xdp out0 drop_vlan_depth"] == 1
	}))
	if n := b.kernelCounter("IcmpInEchos"); n != heard {
		b.t.Error("the stack heard what came behind stacked tags")
	}
}

// verdict is how often the workers of R6 came to one.
func (b *bed) verdict(name string) uint64 {
	b.t.Helper()
	v, err := b.r6.Verdicts(b.t.Context())
	check(b.t, err)
	return v[name]
}

// kernelCounter is one of R6's stack, as nstat names it.
func (b *bed) kernelCounter(name string) (n uint64) {
	b.t.Helper()
	out, err := b.R6.Run(b.t.Context(), "nstat", "-asz", name)
	check(b.t, err)
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			_, err = fmt.Sscan(words[1], &n)
			check(b.t, err)
			return n
		}
	}
	b.t.Fatalf("no counter %s: %s", name, out)
	return 0
}

// echoRequest is a whole IP packet with 64 bytes of ICMP.
func echoRequest(t *testing.T, src, dst netip.Addr) []byte {
	t.Helper()
	body := gopacket.Payload(slices.Repeat([]byte{0x5a}, 56))
	list := []gopacket.SerializableLayer{
		&layers.IPv4{Version: 4, TTL: 64, Id: 0x7777, Protocol: layers.IPProtocolICMPv4, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 9, Seq: 1}, body,
	}
	if src.Is6() {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		check(t, icmp.SetNetworkLayerForChecksum(ip))
		list = []gopacket.SerializableLayer{ip, icmp, &layers.ICMPv6Echo{Identifier: 9, SeqNumber: 1}, body}
	}
	buf := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...))
	return buf.Bytes()
}

// framed puts each packet behind an Ethernet header whose source is left open.
func framed(to net.HardwareAddr, etherType uint16, packets ...[]byte) (list [][]byte) {
	for _, ip := range packets {
		head := append(slices.Clone([]byte(to)), make([]byte, 6)...)
		list = append(list, append(binary.BigEndian.AppendUint16(head, etherType), ip...))
	}
	return list
}

func plain(to net.HardwareAddr, ip []byte) [][]byte {
	if ip[0]>>4 == 4 {
		return framed(to, 0x0800, ip)
	}
	return framed(to, 0x86dd, ip)
}

// tagged puts tags of VLAN 0 into each frame.
func tagged(frames [][]byte, depth int) [][]byte {
	for i := range frames {
		for range depth {
			frames[i] = slices.Insert(frames[i], 12, 0x81, 0x00, 0x00, 0x00)
		}
	}
	return frames
}

// optioned gives an IPv4 packet eight bytes of options.
func optioned(ip []byte) []byte {
	ip = slices.Insert(slices.Clone(ip), 20, 1, 1, 1, 1, 1, 1, 1, 0)
	ip[0] = 0x47
	return remade(ip, len(ip), 0)
}

// remade writes length, fragment bits and checksum of an IPv4 header.
func remade(ip []byte, length int, field uint16) []byte {
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	binary.BigEndian.PutUint16(ip[6:], field)
	ip[10], ip[11] = 0, 0
	var sum uint32
	for i := 0; i < int(ip[0]&15)*4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	return ip
}

// cut4 makes two fragments of an IPv4 packet, the first one with n bytes.
func cut4(ip []byte, n int) [][]byte {
	header := int(ip[0]&15) * 4
	first := remade(slices.Clone(ip[:header+n]), header+n, 0x2000)
	rest := append(slices.Clone(ip[:header]), ip[header+n:]...)
	return [][]byte{first, remade(rest, len(rest), uint16(n/8))}
}

// cut6 makes two fragments of an IPv6 packet, the first one with n bytes, or one
// that is the whole.
func cut6(ip []byte, n int) (list [][]byte) {
	body := ip[40:]
	for at := 0; at < len(body); at += n {
		part := body[at:min(at+n, len(body))]
		if at > 0 {
			part = body[at:]
		}
		field := uint16(at)
		if at+len(part) < len(body) {
			field |= 1
		}
		f := append(slices.Clone(ip[:40]), ip[6], 0, byte(field>>8), byte(field), 0, 0, 0x77, 0x77)
		f[6] = 44
		f = append(f, part...)
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		if list = append(list, f); at > 0 {
			break
		}
	}
	return list
}

// extended puts destination options without meaning before the upper layer.
func extended(ip []byte, n int) []byte {
	for range n {
		ip = slices.Insert(slices.Clone(ip), 40, ip[6], 0, 1, 4, 0, 0, 0, 0)
		ip[6] = 60
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	return ip
}
