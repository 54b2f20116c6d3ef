package datapath_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// N4: what should have been protected and is not is dropped; what no policy wants
// protected is the kernel's.
func TestVerdictsOfClearPackets(t *testing.T) {
	came := func(src, dst netip.Addr) func(testing.TB, *tunnel) []byte {
		return func(t testing.TB, _ *tunnel) []byte { return fromOutside(clearPacket(t, src, dst, 10)) }
	}
	ahead := func(a sadb.Action) func(*gateway) {
		return func(g *gateway) { g.policy(2, a, "10.6.6.6/32", "10.8.8.8/32") }
	}
	runAll(t, []scene{
		{name: "protected", frame: came(hostB4, hostA4), verdict: packet.DropClear},
		{name: "protected IPv6", frame: came(hostB6, hostA6), verdict: packet.DropClear},
		{name: "to this host", frame: came(hostB4, addr("10.6.6.1")), verdict: packet.DropClear},
		{name: "another source", frame: came(addr("10.9.9.9"), hostA4), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "another destination", frame: came(hostB4, addr("10.7.7.7")), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "the wrong way round", frame: came(hostA4, hostB4), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "bypass", prepare: ahead(sadb.Bypass), frame: came(hostB4, hostA4), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "discard", prepare: ahead(sadb.Discard), frame: came(hostB4, hostA4), verdict: packet.DropPolicy},
		{name: "first fragment", frame: cameCut(hostB4, 0x2000, 9), verdict: packet.DropClear},
		{name: "later fragment", frame: cameCut(hostB4, 0x2004, 9), verdict: packet.DropClear},
		{name: "fragment of elsewhere", frame: cameCut(addr("10.9.9.9"), 0x2000, 9), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "fragment that looks like IKE", frame: cameCut(hostB4, 0x2000, 500), verdict: packet.DropClear},
		{name: "IKE on its way to elsewhere", frame: cameCut(hostB4, 0, 500), verdict: packet.DropClear},
		{name: "ESP in UDP on its way to elsewhere", frame: cameCut(hostB4, 0, 4500), verdict: packet.DropClear},
		{name: "IKE between others", frame: cameCut(addr("10.9.9.9"), 0, 500), verdict: packet.ToKernel, check: toKernel(1)},
		{name: "ESP on its way to elsewhere", verdict: packet.DropClear, frame: func(t testing.TB, _ *tunnel) []byte {
			return fromOutside(build(t, ipLayer(hostB4, hostA4, layers.IPProtocolESP), gopacket.Payload(make([]byte, 40))))
		}},
	})
}

// N4: the optional access list of a child, in and out. clearPacket is UDP from port
// 1234 to 4321.
func TestVerdictsOfAccessLists(t *testing.T) {
	line := func(permit bool, local, remote string) sadb.AccessRule {
		r := sadb.AccessRule{Permit: permit}
		for _, side := range []struct {
			text string
			list *[]sadb.Selector
		}{{local, &r.Local}, {remote, &r.Remote}} {
			if side.text != "" {
				s, err := sadb.ParseSelector(side.text)
				must(t, err)
				*side.list = append(*side.list, s)
			}
		}
		return r
	}
	in := func(list ...sadb.AccessRule) func(in, _ *sadb.SA) { return func(in, _ *sadb.SA) { in.Access = list } }
	out := func(list ...sadb.AccessRule) func(*gateway) {
		return func(g *gateway) {
			p := tunnelPolicy()
			p.Access = list
			must(t, g.PolicyAdd(p))
		}
	}
	silent := func(t *testing.T, g *gateway, _ *tunnel) {
		if reports := g.slow.taken(); len(reports) != 0 {
			t.Errorf("an SA was asked for: %v", reports)
		}
	}
	runAll(t, []scene{
		{name: "in, permitted", change: in(line(true, "10.6.0.0/16[udp/4321]", "")), frame: inward(hostA4, 10, nil), verdict: packet.Forwarded},
		{name: "in, no line", change: in(line(true, "10.6.0.0/16[udp/4322]", "")), frame: inward(hostA4, 10, nil), verdict: packet.DropAccessIn, drops: 1},
		{name: "in, denied first", change: in(line(false, "", "10.8.8.8/32[udp/1234]"), line(true, "", "")), frame: inward(hostA4, 10, nil), verdict: packet.DropAccessIn, drops: 1},
		{name: "in does not bind out", change: in(line(false, "", "")), port: inside, frame: outward(hostA4, hostB4, 10, nil), verdict: packet.Forwarded},
		{name: "out, permitted", prepare: out(line(true, "10.6.6.6/32[udp/1234]", "")), port: inside, frame: outward(hostA4, hostB4, 10, nil), verdict: packet.Forwarded},
		{name: "out, no line", prepare: out(line(true, "", "10.8.8.8/32[udp/80]")), port: inside, frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropAccessOut},
		{name: "out, first", prepare: out(line(false, "10.6.6.6/32", ""), line(true, "", "")), port: inside, frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropAccessOut},
		{name: "out does not bind in", prepare: out(line(false, "", "")), frame: inward(hostA4, 10, nil), verdict: packet.Forwarded},
		{name: "denied packets ask for no SA", port: inside, frame: outward(hostA4, hostB4, 10, nil), verdict: packet.DropAccessOut, check: silent,
			prepare: func(g *gateway) {
				out(line(false, "", ""))(g)
				must(t, g.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: g.dump()[0].SA.Pair}))
			}},
		{name: "a later fragment has no ports", change: in(line(true, "10.6.0.0/16[udp/4321]", "")), verdict: packet.DropAccessIn, drops: 1,
			frame: func(t testing.TB, tn *tunnel) []byte {
				ip := clearPacket(t, hostB4, hostA4, 32)
				binary.BigEndian.PutUint16(ip[6:], 4)
				packet.SetIPv4Checksum(ip)
				return fromOutside(tn.sealed(t, ip))
			}},
	})
}

// cameCut is a UDP packet to a port of the host, with these fragment bits.
func cameCut(src netip.Addr, field, port uint16) func(testing.TB, *tunnel) []byte {
	return func(t testing.TB, _ *tunnel) []byte {
		ip := udp(t, netip.AddrPortFrom(src, 9), netip.AddrPortFrom(hostA4, port), []byte("sixteen bytes...sixteen bytes..."))
		binary.BigEndian.PutUint16(ip[6:], field)
		packet.SetIPv4Checksum(ip)
		return fromOutside(ip)
	}
}
