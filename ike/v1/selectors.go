package v1

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

const (
	maxPort = 1<<16 - 1
)

// pair is what one quick mode can select: one selector on each side. A child
// with several of them becomes several child SAs (RFC 2409 §5.5).
type pair struct{ local, remote sadb.Selector }

// everywhere stands for a side that the configuration leaves to mode config, which
// narrows it.
func everywhere() sadb.Selector {
	return sadb.PrefixSelector(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
}

// pairs are all combinations of a child's selectors.
func pairs(conf *session.Child) []pair {
	open := func(list []sadb.Selector) []sadb.Selector {
		if len(list) == 0 {
			return []sadb.Selector{everywhere()}
		}
		return list
	}
	var list []pair
	for _, l := range open(conf.Local) {
		for _, r := range open(conf.Remote) {
			if l.First.BitLen() == r.First.BitLen() {
				list = append(list, pair{l, r})
			}
		}
	}
	return list
}

// carries reports whether a packet is within; the zero flow is any.
func (p pair) carries(flow sadb.Flow) bool {
	return flow == sadb.Flow{} ||
		p.local.Matches(flow.Src, flow.Protocol, flow.SrcPort) && p.remote.Matches(flow.Dst, flow.Protocol, flow.DstPort)
}

func (p pair) contains(o pair) bool { return p.local.Contains(o.local) && p.remote.Contains(o.remote) }

func (p pair) String() string { return fmt.Sprintf("%v to %v", p.local, p.remote) }

// toID writes a selector as an ID payload (RFC 2407 §4.6.2): an address, a
// subnet or else a range. IKEv1 has one port or all of them.
func toID(s sadb.Selector) (wire.V1ID, error) {
	id := wire.V1ID{Protocol: s.Protocol}
	switch {
	case s.FirstPort == 0 && s.LastPort == maxPort:
	case s.FirstPort == s.LastPort:
		id.Port = s.FirstPort
	default:
		return id, fmt.Errorf("selector %v: IKEv1 has no port ranges (configuration keys: children.local, children.remote)", s)
	}
	six := s.First.Is6()
	pick := func(four, other wire.IDType) wire.IDType {
		if six {
			return other
		}
		return four
	}
	mask, prefix := maskOf(s)
	switch {
	case s.First == s.Last:
		id.Type, id.Data = pick(wire.IDIPv4Addr, wire.IDIPv6Addr), s.First.AsSlice()
	case prefix:
		id.Type, id.Data = pick(wire.V1IDIPv4Subnet, wire.V1IDIPv6Subnet), append(s.First.AsSlice(), mask...)
	default:
		id.Type, id.Data = pick(wire.V1IDIPv4Range, wire.V1IDIPv6Range), append(s.First.AsSlice(), s.Last.AsSlice()...)
	}
	return id, nil
}

// maskOf is the netmask of a range that is a whole prefix.
func maskOf(s sadb.Selector) ([]byte, bool) {
	first, last := s.First.AsSlice(), s.Last.AsSlice()
	mask := make([]byte, len(first))
	inside := false // past the prefix: the rest is all zeros to all ones
	for i := range first {
		differ := first[i] ^ last[i]
		if inside && differ != 0xff || differ&(differ+1) != 0 || first[i]&differ != 0 {
			return nil, false
		}
		mask[i] = ^differ
		inside = inside || differ != 0
	}
	return mask, true
}

// fromID reads a selector. A mask must be one of a prefix.
func fromID(id wire.V1ID) (sadb.Selector, error) {
	s := sadb.Selector{Protocol: id.Protocol, FirstPort: id.Port, LastPort: id.Port}
	if id.Port == 0 {
		s.LastPort = maxPort
	}
	var half int
	switch id.Type {
	case wire.IDIPv4Addr, wire.IDIPv6Addr:
		half = len(id.Data)
	default:
		half = len(id.Data) / 2
	}
	want := map[wire.IDType]int{wire.IDIPv4Addr: 4, wire.IDIPv6Addr: 16, wire.V1IDIPv4Subnet: 8, wire.V1IDIPv6Subnet: 32,
		wire.V1IDIPv4Range: 8, wire.V1IDIPv6Range: 32}[id.Type]
	if want == 0 || len(id.Data) != want {
		return s, fmt.Errorf("selector of type %v with %d octets", id.Type, len(id.Data))
	}
	first, _ := netip.AddrFromSlice(id.Data[:half])
	s.First, s.Last = first, first
	switch id.Type {
	case wire.V1IDIPv4Range, wire.V1IDIPv6Range:
		s.Last, _ = netip.AddrFromSlice(id.Data[half:])
	case wire.V1IDIPv4Subnet, wire.V1IDIPv6Subnet:
		ones, ok := prefixLength(id.Data[half:])
		if !ok {
			return s, fmt.Errorf("selector with mask %x", id.Data[half:])
		}
		whole := sadb.PrefixSelector(netip.PrefixFrom(first, ones))
		s.First, s.Last = whole.First, whole.Last
	}
	if !s.IsValid() {
		return s, fmt.Errorf("selector from %v to %v", s.First, s.Last)
	}
	return s, nil
}

// prefixLength counts the ones of a mask that has no holes.
func prefixLength(mask []byte) (int, bool) {
	ones, ended := 0, false
	for _, b := range mask {
		n := bits.LeadingZeros8(^b)
		if ended && b != 0 || b != byte(0xff<<(8-n)) {
			return 0, false
		}
		ones += n
		ended = ended || n < 8
	}
	return ones, true
}

// hosts is the pair that a quick mode without ID payloads means: RFC 2409 §5.5,
// the addresses of the peers themselves.
func (s *SA) hosts() pair {
	whole := func(a netip.Addr) sadb.Selector { return sadb.PrefixSelector(netip.PrefixFrom(a, a.BitLen())) }
	return pair{whole(s.local.Addr()), whole(s.remote.Addr())}
}

// choosePairs finds what to ask for when a packet or the operator wants a child.
func choosePairs(conf *session.Child, flow sadb.Flow) []pair {
	return slices.DeleteFunc(pairs(conf), func(p pair) bool { return !p.carries(flow) })
}
