package sadb_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"spindle/sadb"
)

func rule(permit bool, local, remote string) sadb.AccessRule {
	side := func(text string) []sadb.Selector {
		if text == "any" {
			return nil
		}
		s, err := sadb.ParseSelector(text)
		if err != nil {
			panic(err)
		}
		return []sadb.Selector{s}
	}
	return sadb.AccessRule{Permit: permit, Local: side(local), Remote: side(remote)}
}

// N4: the optional access list, seen from R6 with 10.6.6.0/24 behind it.
func TestAccessList(t *testing.T) {
	web := sadb.AccessList{
		rule(false, "10.6.6.9/32", "any"),
		rule(true, "10.6.6.0/24[tcp/443]", "any"),
		rule(true, "10.6.6.0/24[icmp]", "10.8.8.8/32"),
	}
	flow := func(src, dst string, protocol uint8, srcPort, dstPort uint16) sadb.Flow {
		return sadb.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: protocol, SrcPort: srcPort, DstPort: dstPort}
	}
	const tcp, udp, icmp = 6, 17, 1
	for _, c := range []struct {
		name string
		list sadb.AccessList
		dir  sadb.Direction
		flow sadb.Flow
		want bool
	}{
		{"no list", nil, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", udp, 1, 2), true},
		{"permitted in", web, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", tcp, 1234, 443), true},
		{"permitted out", web, sadb.Outbound, flow("10.6.6.6", "10.8.8.8", tcp, 443, 1234), true},
		{"the port is the other side's", web, sadb.Outbound, flow("10.6.6.6", "10.8.8.8", tcp, 1234, 443), false},
		{"another port", web, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", tcp, 1234, 80), false},
		{"another protocol", web, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", udp, 1234, 443), false},
		{"an earlier line denies", web, sadb.Inbound, flow("10.8.8.8", "10.6.6.9", tcp, 1234, 443), false},
		{"a later line permits", web, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", icmp, 8<<8, 8<<8), true},
		{"no line for this remote", web, sadb.Inbound, flow("10.8.8.9", "10.6.6.6", icmp, 8<<8, 8<<8), false},
		{"a fragment without ports", web, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", tcp, 0, 0), false},
		{"a fragment where ports do not matter", sadb.AccessList{rule(true, "10.6.6.0/24[tcp]", "any")}, sadb.Inbound, flow("10.8.8.8", "10.6.6.6", tcp, 0, 0), true},
		{"IPv6 is no IPv4", web, sadb.Inbound, flow("2001:db8:8::8", "2001:db8:6::6", tcp, 1234, 443), false},
	} {
		if got := c.list.Permits(c.dir, &c.flow); got != c.want {
			t.Errorf("%s: %v %v: %v", c.name, c.dir, c.flow, got)
		}
	}
	if got, want := web[1].String(), "permit 10.6.6.0/24[tcp/443] and any"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A denial behind everything changes nothing: it is there anyhow.
func TestImplicitDenyIsTheLastLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.SampledFrom([]string{"any", "10.0.0.0/8", "10.6.6.0/24[tcp/443]", "10.6.6.6/32[udp]", "10.8.0.0/16[tcp/1-100]", "0.0.0.0/0[icmp/8]"})
		list := sadb.AccessList(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sadb.AccessRule {
			return rule(rapid.Bool().Draw(t, "permit"), side.Draw(t, "local"), side.Draw(t, "remote"))
		}), 1, 6).Draw(t, "list"))
		addr := rapid.SampledFrom([]string{"10.6.6.6", "10.6.6.7", "10.8.8.8", "192.0.2.1", "2001:db8::1"})
		f := sadb.Flow{
			Src: netip.MustParseAddr(addr.Draw(t, "src")), Dst: netip.MustParseAddr(addr.Draw(t, "dst")),
			Protocol: rapid.SampledFrom([]uint8{1, 6, 17}).Draw(t, "protocol"),
			SrcPort:  rapid.SampledFrom([]uint16{0, 50, 443, 8 << 8}).Draw(t, "source port"), DstPort: rapid.SampledFrom([]uint16{0, 50, 443, 8 << 8}).Draw(t, "destination port"),
		}
		dir := rapid.SampledFrom([]sadb.Direction{sadb.Inbound, sadb.Outbound}).Draw(t, "direction")
		if list.Permits(dir, &f) != append(list, rule(false, "any", "any")).Permits(dir, &f) {
			t.Fatalf("%v decides otherwise on %v %v with its last line written out", list, dir, f)
		}
	})
}
