package datapath_test

import (
	"net/netip"
	"testing"

	"spindle/datapath"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// The quick form of the selectors says of every pair of addresses at their edges
// what they say themselves, whatever protocol and ports they name.
func TestGatesAgreeWithTheirSelectors(t *testing.T) {
	lists := [][]sadb.Selector{
		selectors("10.0.0.5/32"), selectors("10.0.0.0/24"), selectors("0.0.0.0/0"), selectors("255.255.255.255/32"),
		selectors("2001:db8::5/128"), selectors("2001:db8::/64"), selectors("::/0"),
		selectors("2001:db8::/64", "10.0.0.5/32", "10.0.1.0/24"),
		{{First: addr("10.0.0.3"), Last: addr("10.0.1.2"), LastPort: 65535}},
		{{First: addr("2001:db8::ffff:ffff:ffff:fffe"), Last: addr("2001:db8:0:1::1"), LastPort: 65535}},
		{{First: addr("10.0.0.0"), Last: addr("10.0.0.255"), Protocol: packet.UDP, FirstPort: 7, LastPort: 7}},
		{{First: addr("10.0.0.0"), Last: addr("10.0.0.255"), Protocol: packet.TCP, LastPort: 65535}},
		{{First: addr("::"), Last: addr("2001:db8::ff"), FirstPort: 65535}},
	}
	hosts := map[bool][]netip.Addr{}
	for _, list := range lists {
		for _, s := range list {
			for _, a := range []netip.Addr{s.First.Prev(), s.First, s.First.Next(), s.Last.Prev(), s.Last, s.Last.Next()} {
				if a.IsValid() {
					hosts[a.Is4()] = append(hosts[a.Is4()], a)
				}
			}
		}
	}
	said := map[bool]int{}
	for v4 := range hosts {
		for _, src := range hosts[v4] {
			for _, dst := range hosts[v4] {
				ip := udp(t, netip.AddrPortFrom(src, 7), netip.AddrPortFrom(dst, 9), nil)
				for i, local := range lists {
					for j, remote := range lists {
						want := matches(remote, src, 7) && matches(local, dst, 9)
						if got := datapath.Permits(local, remote, ip); got != want {
							t.Fatalf("%v to %v, selectors %d and %d: %v, want %v", src, dst, j, i, got, want)
						}
						said[want]++
					}
				}
			}
		}
	}
	if said[true] == 0 || said[false] == 0 {
		t.Fatal("all the same:", said)
	}
}

func matches(list []sadb.Selector, a netip.Addr, port uint16) bool {
	for i := range list {
		if list[i].Matches(a, packet.UDP, port) {
			return true
		}
	}
	return false
}
