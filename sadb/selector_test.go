package sadb_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"spindle/sadb"
)

// Selectors are drawn from a small world, so that they often meet: sixteen IPv4
// and sixteen IPv6 addresses, three protocols, few ports.
var (
	base4 = netip.MustParseAddr("10.0.0.0")
	base6 = netip.MustParseAddr("fd00::")
)

func draw[T any](t *rapid.T, g *rapid.Generator[T]) T { return g.Draw(t, "v") }

func smallAddr(base netip.Addr, n int) netip.Addr {
	b := base.AsSlice()
	b[len(b)-1] = byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

func drawBase(t *rapid.T) netip.Addr { return draw(t, rapid.SampledFrom([]netip.Addr{base4, base6})) }

var (
	protocols = rapid.SampledFrom([]uint8{0, 1, 6, 17})
	ports     = rapid.SampledFrom([][2]uint16{{0, 65535}, {0, 65535}, {65535, 0}, {0, 0}, {0, 2}, {1, 1}, {1, 3}, {3, 65535}})
)

func drawSelector(t *rapid.T) sadb.Selector {
	base := drawBase(t)
	first, last := draw(t, rapid.IntRange(0, 15)), draw(t, rapid.IntRange(0, 15))
	port := draw(t, ports)
	return sadb.Selector{
		First: smallAddr(base, min(first, last)), Last: smallAddr(base, max(first, last)),
		Protocol: draw(t, protocols), FirstPort: port[0], LastPort: port[1],
	}
}

// probe is one thing to match.
type probe struct {
	addr  netip.Addr
	proto uint8
	port  uint16
}

// world is every probe worth asking about.
var world = func() (list []probe) {
	for _, base := range []netip.Addr{base4, base6} {
		for n := range 16 {
			for _, proto := range []uint8{1, 6, 17, 50} {
				for _, port := range []uint16{0, 1, 2, 3, 4, 65535} {
					list = append(list, probe{smallAddr(base, n), proto, port})
				}
			}
		}
	}
	return list
}()

// oracle says the same as Selector.Matches in the words of RFC 4301 §4.4.1.1.
func oracle(s sadb.Selector, p probe) bool {
	if s.First.Is4() != p.addr.Is4() || p.addr.Less(s.First) || s.Last.Less(p.addr) {
		return false
	}
	if s.Protocol != 0 && s.Protocol != p.proto {
		return false
	}
	any, opaque := s.FirstPort == 0 && s.LastPort == 65535, s.FirstPort == 65535 && s.LastPort == 0
	shown := p.port != 0 || p.proto == 1
	switch {
	case any:
		return true
	case opaque:
		return !shown
	}
	return shown && int(s.FirstPort) <= int(p.port) && int(p.port) <= int(s.LastPort)
}

func TestSelectorAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSelector(t), drawSelector(t)
		both, ok := a.Intersect(b)
		contained := true // as far as the world shows
		for _, p := range world {
			inA, inB := oracle(a, p), oracle(b, p)
			if got := a.Matches(p.addr, p.proto, p.port); got != inA {
				t.Fatalf("%v matches %v: %v", a, p, got)
			}
			if got := ok && both.Matches(p.addr, p.proto, p.port); got != (inA && inB) {
				t.Fatalf("%v and %v make %v (%v), which matches %v: %v", a, b, both, ok, p, got)
			}
			contained = contained && (inA || !inB)
		}
		if a.Contains(b) && !contained {
			t.Fatalf("%v does not contain %v", a, b)
		}
		if reverse, _ := b.Intersect(a); !both.Equal(reverse) {
			t.Fatalf("%v and %v: %v one way, %v the other", a, b, both, reverse)
		}
		if ok && (!a.Contains(both) || !b.Contains(both) || !both.IsValid()) {
			t.Fatalf("%v is not within %v and %v", both, a, b)
		}
		if a.Contains(b) != (ok && both.Equal(b)) || !a.Contains(a) {
			t.Fatalf("Contains and Intersect disagree on %v and %v", a, b)
		}
	})
}

func TestContains(t *testing.T) {
	lan := sadb.PrefixSelector(netip.MustParsePrefix("10.6.6.0/24"))
	tcp := lan
	tcp.Protocol, tcp.FirstPort, tcp.LastPort = 6, 80, 443
	opaque := tcp
	opaque.FirstPort, opaque.LastPort = 65535, 0
	mapped := sadb.PrefixSelector(netip.MustParsePrefix("::ffff:10.6.6.0/120"))
	for name, c := range map[string]struct {
		a, b sadb.Selector
		want bool
	}{
		"any holds a range":                      {lan, tcp, true},
		"any holds OPAQUE (RFC 4301 §4.4.1.1)":   {lan, opaque, true},
		"a range does not hold OPAQUE":           {tcp, opaque, false},
		"OPAQUE does not hold a range":           {opaque, tcp, false},
		"a range does not hold any":              {tcp, lan, false},
		"IPv4-mapped IPv6 is not IPv4":           {lan, mapped, false},
		"::/0 does not hold IPv4":                {sadb.PrefixSelector(netip.MustParsePrefix("::/0")), lan, false},
		"nothing holds the zero selector":        {lan, sadb.Selector{}, false},
		"the zero selector does not hold itself": {sadb.Selector{}, sadb.Selector{}, false},
	} {
		if got := c.a.Contains(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestPrefixesCoverExactlyAndMinimally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSelector(t)
		list := s.Prefixes()
		for n := range 16 {
			for _, base := range []netip.Addr{base4, base6} {
				a, in := smallAddr(base, n), 0
				for _, p := range list {
					if p.Contains(a) {
						in++
					}
				}
				want := 0
				if a.Is4() == s.First.Is4() && s.First.Compare(a) <= 0 && a.Compare(s.Last) <= 0 {
					want = 1
				}
				if in != want {
					t.Fatalf("%v: %v covers %v %d times", s, list, a, in)
				}
			}
		}
		for i, p := range list {
			if p != p.Masked() {
				t.Fatalf("%v: %v has host bits", s, p)
			}
			// Minimal: no two neighbours are the halves of one prefix.
			if i > 0 && p.Bits() == list[i-1].Bits() {
				whole := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
				if whole.Contains(list[i-1].Addr()) {
					t.Fatalf("%v: %v and %v could be %v", s, list[i-1], p, whole)
				}
			}
		}
	})
}

func TestPrefixesOfTheWorstRanges(t *testing.T) {
	for _, c := range []struct {
		first, last string
		want        int
	}{
		{"0.0.0.0", "255.255.255.255", 1},
		{"0.0.0.1", "255.255.255.254", 62},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1},
		{"::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 254},
		{"10.0.0.9", "10.0.0.1", 0},
		{"10.0.0.1", "fd00::1", 0},
		{"fe80::1%eth0", "fe80::2%eth0", 0},
	} {
		s := sadb.Selector{First: netip.MustParseAddr(c.first), Last: netip.MustParseAddr(c.last), LastPort: 65535}
		if got := s.Prefixes(); len(got) != c.want {
			t.Errorf("%s-%s: %d prefixes, want %d", c.first, c.last, len(got), c.want)
		}
	}
}

func TestSelectorString(t *testing.T) {
	s := func(first, last string, proto uint8, low, high uint16) sadb.Selector {
		return sadb.Selector{
			First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last),
			Protocol: proto, FirstPort: low, LastPort: high,
		}
	}
	for want, s := range map[string]sadb.Selector{
		"10.6.6.6/32":                  sadb.PrefixSelector(netip.MustParsePrefix("10.6.6.6/32")),
		"10.6.0.0/16":                  sadb.PrefixSelector(netip.MustParsePrefix("10.6.6.6/16")),
		"::/0":                         sadb.PrefixSelector(netip.MustParsePrefix("::/0")),
		"10.0.0.1-10.0.0.9[tcp/443]":   s("10.0.0.1", "10.0.0.9", 6, 443, 443),
		"10.0.0.0/31[udp]":             s("10.0.0.0", "10.0.0.1", 17, 0, 65535),
		"10.0.0.0/32[udp/opaque]":      s("10.0.0.0", "10.0.0.0", 17, 65535, 0),
		"10.0.0.0/32[any/1-2]":         s("10.0.0.0", "10.0.0.0", 0, 1, 2),
		"fd00::/128[icmpv6/128]":       s("fd00::", "fd00::", 58, 128<<8, 128<<8|255),
		"10.0.0.0/32[icmp/3.4]":        s("10.0.0.0", "10.0.0.0", 1, 3<<8|4, 3<<8|4),
		"10.0.0.0/32[icmp/0.0-8.255]":  s("10.0.0.0", "10.0.0.0", 1, 0, 8<<8|255),
		"10.0.0.0/32[89]":              s("10.0.0.0", "10.0.0.0", 89, 0, 65535),
		"invalid IP-invalid IP[any/0]": {},
	} {
		if got := s.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
