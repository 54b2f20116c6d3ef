package sadb

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Selector is one side's traffic selector (RFC 4301 §4.4.1.1, RFC 7296
// §3.13.1): an inclusive address range, a protocol (0 is any) and an inclusive
// port range (0..65535 is any; 65535..0 is OPAQUE).
type Selector struct {
	First, Last         netip.Addr
	Protocol            uint8
	FirstPort, LastPort uint16
}

// Flow is what selectors are matched against: the addresses and ports of one
// packet. Ports are 0 where the packet has none or does not show them.
type Flow struct {
	Src, Dst         netip.Addr
	Protocol         uint8
	SrcPort, DstPort uint16
}

func (f Flow) String() string {
	return fmt.Sprintf("%s:%d -> %s:%d proto %d", f.Src, f.SrcPort, f.Dst, f.DstPort, f.Protocol)
}

// Any and opaque port ranges (RFC 7296 §3.13.1).
const (
	maxPort    = 1<<16 - 1
	opaqueLow  = maxPort // OPAQUE is written backwards: start 65535, end 0
	opaqueHigh = 0
)

// PrefixSelector selects every protocol and port of a prefix.
func PrefixSelector(p netip.Prefix) Selector {
	p = p.Masked()
	return Selector{First: p.Addr(), Last: lastAddr(p), LastPort: maxPort}
}

// IsValid reports whether s can match anything: both addresses of one family
// and in order, ports in order or OPAQUE.
func (s Selector) IsValid() bool {
	return s.First.IsValid() && s.First.BitLen() == s.Last.BitLen() &&
		s.First.Zone() == "" && s.Last.Zone() == "" &&
		s.First.Compare(s.Last) <= 0 &&
		(s.FirstPort <= s.LastPort || s.isOpaque())
}

// Matches reports whether a packet with this address and port on the selector's
// side, and this protocol, is selected. IPv4-mapped IPv6 is not IPv4.
func (s *Selector) Matches(addr netip.Addr, proto uint8, port uint16) bool {
	return (s.Protocol == 0 || s.Protocol == proto) && s.holds(addr) && s.matchesPort(proto, port)
}

// holds asks first what is cheap, and for single hosts enough.
func (s *Selector) holds(addr netip.Addr) bool {
	if s.First == s.Last {
		return s.First == addr
	}
	return s.First.BitLen() == addr.BitLen() && s.First.Compare(addr) <= 0 && addr.Compare(s.Last) <= 0
}

// matchesPort decides on the port. A packet that does not show its ports (0)
// matches ANY and OPAQUE only: "a non-initial fragment cannot be mapped to an
// SA" whose port selectors are not trivial (RFC 4301 §7). For ICMP the number
// is type and code, whose 0 (echo reply) means what it says.
func (s *Selector) matchesPort(proto uint8, port uint16) bool {
	switch {
	case s.isAnyPort():
		return true
	case s.isOpaque():
		return port == 0 && !isICMP(proto)
	case port == 0 && !isICMP(proto):
		return false
	}
	return s.FirstPort <= port && port <= s.LastPort
}

// AnyPort tells a selector that ports do not narrow, so that fragments which do not
// show theirs match it (RFC 4301 §7).
func (s Selector) AnyPort() bool { return s.isAnyPort() }

func (s Selector) isAnyPort() bool { return s.FirstPort == 0 && s.LastPort == maxPort }
func (s Selector) isOpaque() bool  { return s.FirstPort == opaqueLow && s.LastPort == opaqueHigh }

func isICMP(proto uint8) bool { return proto == protoICMP || proto == protoICMPv6 }

// Contains reports whether everything that o selects is selected by s. What
// selects nothing is contained in nothing.
func (s Selector) Contains(o Selector) bool {
	both, ok := s.Intersect(o)
	return ok && both == o
}

// Equal reports whether both are the same selector, bit for bit.
func (s Selector) Equal(o Selector) bool { return s == o }

// Intersect narrows s to what o selects as well (RFC 7296 §2.9). It reports
// false when nothing is left.
func (s Selector) Intersect(o Selector) (Selector, bool) {
	if !s.IsValid() || !o.IsValid() || s.First.BitLen() != o.First.BitLen() {
		return Selector{}, false
	}
	if s.Protocol != 0 && o.Protocol != 0 && s.Protocol != o.Protocol {
		return Selector{}, false
	}
	first, last, ok := s.intersectPorts(o)
	both := Selector{
		First:     maxAddr(s.First, o.First),
		Last:      minAddr(s.Last, o.Last),
		Protocol:  s.Protocol | o.Protocol, // equal, or one of them is 0
		FirstPort: first,
		LastPort:  last,
	}
	if !ok || both.Last.Less(both.First) {
		return Selector{}, false
	}
	return both, true
}

// intersectPorts narrows the ports. OPAQUE is within ANY ("ANY ... also
// encompasses OPAQUE", RFC 4301 §4.4.1.1) and has nothing in common with a range.
func (s Selector) intersectPorts(o Selector) (first, last uint16, ok bool) {
	switch {
	case s.isAnyPort():
		return o.FirstPort, o.LastPort, true
	case o.isAnyPort():
		return s.FirstPort, s.LastPort, true
	case s.isOpaque() || o.isOpaque():
		return opaqueLow, opaqueHigh, s.isOpaque() && o.isOpaque()
	}
	first, last = max(s.FirstPort, o.FirstPort), min(s.LastPort, o.LastPort)
	return first, last, first <= last
}

func minAddr(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}

func maxAddr(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

// Prefixes is the smallest list of prefixes that covers the address range
// exactly, in ascending order; nil for an invalid selector. A range needs at
// most 62 of them for IPv4 and 254 for IPv6.
func (s Selector) Prefixes() []netip.Prefix {
	if !s.IsValid() {
		return nil
	}
	all := netip.IPv6Unspecified()
	if s.First.Is4() {
		all = netip.IPv4Unspecified()
	}
	return appendCover(nil, netip.PrefixFrom(all, 0), s.First, s.Last)
}

// appendCover splits p until its parts lie inside first..last or outside of it.
func appendCover(list []netip.Prefix, p netip.Prefix, first, last netip.Addr) []netip.Prefix {
	low, high := p.Addr(), lastAddr(p)
	switch {
	case high.Less(first) || last.Less(low):
		return list
	case first.Compare(low) <= 0 && high.Compare(last) <= 0:
		return append(list, p)
	}
	lower := netip.PrefixFrom(low, p.Bits()+1)
	upper := netip.PrefixFrom(lastAddr(lower).Next(), p.Bits()+1)
	list = appendCover(list, lower, first, last)
	return appendCover(list, upper, first, last)
}

// lastAddr is the highest address of a masked prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch host := 8*(i+1) - p.Bits(); {
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= 1<<host - 1
		}
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// String is the selector as people type it: "10.6.6.6/32",
// "10.0.0.1-10.0.0.9[tcp/443]", "fd00::/64[icmpv6/128]", "10.0.0.0/8[udp/opaque]".
func (s Selector) String() string {
	addrs := s.First.String() + "-" + s.Last.String()
	if prefixes := s.Prefixes(); len(prefixes) == 1 {
		addrs = prefixes[0].String()
	}
	switch {
	case s.isAnyPort() && s.Protocol == 0:
		return addrs
	case s.isAnyPort():
		return addrs + "[" + s.protocolName() + "]"
	}
	return addrs + "[" + s.protocolName() + "/" + s.portNames() + "]"
}

// Protocols that selectors name (IANA assigned internet protocol numbers).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoICMPv6 = 58
	protoSCTP   = 132
)

func (s Selector) protocolName() string {
	switch s.Protocol {
	case 0:
		return "any"
	case protoICMP:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoGRE:
		return "gre"
	case protoICMPv6:
		return "icmpv6"
	case protoSCTP:
		return "sctp"
	}
	return strconv.Itoa(int(s.Protocol))
}

// portNames writes the port range; for ICMP as "type" or "type.code".
func (s Selector) portNames() string {
	if s.isOpaque() {
		return "opaque"
	}
	name := func(port uint16) string { return strconv.Itoa(int(port)) }
	if isICMP(s.Protocol) {
		if s.FirstPort&0xff == 0 && s.LastPort == s.FirstPort|0xff {
			return name(s.FirstPort >> 8)
		}
		name = func(port uint16) string { return fmt.Sprintf("%d.%d", port>>8, port&0xff) }
	}
	if s.FirstPort == s.LastPort {
		return name(s.FirstPort)
	}
	return name(s.FirstPort) + "-" + name(s.LastPort)
}
