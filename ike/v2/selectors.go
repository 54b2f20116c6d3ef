package v2

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"spindle/ike/wire"
	"spindle/sadb"
)

// narrow intersects what a peer offers with what is configured: RFC 7296 §2.9,
// "the responder is allowed to narrow the choices by selecting a subset of the
// traffic". The result names no traffic twice over and is empty when nothing is
// common.
func narrow(offered, configured []sadb.Selector) []sadb.Selector {
	if within(configured, offered) {
		return slices.Clone(configured)
	}
	var common []sadb.Selector
	for _, o := range offered {
		for _, c := range configured {
			if s, ok := intersect(o, c); ok {
				common = insert(common, s)
			}
		}
	}
	return common
}

// within reports whether each selector of inner lies in one of outer.
func within(inner, outer []sadb.Selector) bool {
	for _, i := range inner {
		if !slices.ContainsFunc(outer, func(o sadb.Selector) bool { return contains(o, i) }) {
			return false
		}
	}
	return len(inner) > 0
}

// insert adds a selector unless it is in the set already, and drops those that
// it makes redundant.
func insert(set []sadb.Selector, s sadb.Selector) []sadb.Selector {
	if slices.ContainsFunc(set, func(have sadb.Selector) bool { return contains(have, s) }) {
		return set
	}
	set = slices.DeleteFunc(set, func(have sadb.Selector) bool { return contains(s, have) })
	return append(set, s)
}

// contains reports whether inner is part of outer.
func contains(outer, inner sadb.Selector) bool {
	common, ok := intersect(outer, inner)
	return ok && common == inner
}

// intersect is the traffic that both selectors match.
func intersect(a, b sadb.Selector) (sadb.Selector, bool) {
	if a.First.Is4() != b.First.Is4() {
		return sadb.Selector{}, false
	}
	s := a
	if a.First.Less(b.First) {
		s.First = b.First
	}
	if b.Last.Less(a.Last) {
		s.Last = b.Last
	}
	if s.Last.Less(s.First) {
		return sadb.Selector{}, false
	}
	switch {
	case a.Protocol == 0:
		s.Protocol = b.Protocol
	case b.Protocol != 0 && b.Protocol != a.Protocol:
		return sadb.Selector{}, false
	}
	var ok bool
	s.FirstPort, s.LastPort, ok = intersectPorts(a, b)
	return s, ok
}

// intersectPorts knows that OPAQUE (65535..0) is a range of its own, which only
// "any" takes in (RFC 4301 §4.4.1.1: "the ANY value also matches OPAQUE").
func intersectPorts(a, b sadb.Selector) (first, last uint16, ok bool) {
	whole := func(s sadb.Selector) bool { return s.FirstPort == 0 && s.LastPort == 65535 }
	opaque := func(s sadb.Selector) bool { return s.FirstPort > s.LastPort }
	switch {
	case whole(a):
		return b.FirstPort, b.LastPort, true
	case whole(b):
		return a.FirstPort, a.LastPort, true
	case opaque(a) || opaque(b):
		return a.FirstPort, a.LastPort, opaque(a) && opaque(b)
	}
	first, last = max(a.FirstPort, b.FirstPort), min(a.LastPort, b.LastPort)
	return first, last, first <= last
}

// ofFlow is the selector of one packet's end: RFC 7296 §2.9, "the initiator
// SHOULD include as the first Traffic Selector in each of TSi and TSr a very
// specific Traffic Selector including the addresses in the packet triggering
// the request".
func ofFlow(flow sadb.Flow) (local, remote sadb.Selector) {
	local = sadb.Selector{First: flow.Src, Last: flow.Src, Protocol: flow.Protocol, LastPort: 65535}
	remote = sadb.Selector{First: flow.Dst, Last: flow.Dst, Protocol: flow.Protocol, LastPort: 65535}
	if flow.Protocol == protocolTCP || flow.Protocol == protocolUDP {
		local.FirstPort, local.LastPort = flow.SrcPort, flow.SrcPort
		remote.FirstPort, remote.LastPort = flow.DstPort, flow.DstPort
	}
	return local, remote
}

const (
	protocolTCP = 6
	protocolUDP = 17
)

// toWire writes selectors for a TS payload.
func toWire(list []sadb.Selector) []wire.TrafficSelector {
	var selectors []wire.TrafficSelector
	for _, s := range list {
		t := wire.TSIPv4AddrRange
		if s.First.Is6() {
			t = wire.TSIPv6AddrRange
		}
		selectors = append(selectors, wire.TrafficSelector{
			Type: t, Protocol: s.Protocol, StartPort: s.FirstPort, EndPort: s.LastPort, Start: s.First, End: s.Last,
		})
	}
	return selectors
}

// fromWire reads those selectors of a TS payload that are of a known type. One
// with an empty port range that is not OPAQUE matches nothing.
func fromWire(list []wire.TrafficSelector) []sadb.Selector {
	var selectors []sadb.Selector
	for _, t := range list {
		opaque := t.StartPort == 65535 && t.EndPort == 0
		if !t.Start.IsValid() || !t.End.IsValid() || t.StartPort > t.EndPort && !opaque {
			continue
		}
		selectors = append(selectors, sadb.Selector{
			First: t.Start, Last: t.End, Protocol: t.Protocol, FirstPort: t.StartPort, LastPort: t.EndPort,
		})
	}
	return selectors
}

// formatSelectors writes selectors for the operator: "10.1.0.0/24 10.2.0.1/32[6/443]".
func formatSelectors(list []sadb.Selector) string {
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = formatRange(s.First, s.Last)
		if s.Protocol != 0 || s.FirstPort != 0 || s.LastPort != 65535 {
			words[i] += fmt.Sprintf("[%d/%s]", s.Protocol, formatPorts(s.FirstPort, s.LastPort))
		}
	}
	return strings.Join(words, " ")
}

func formatRange(first, last netip.Addr) string {
	for bits := first.BitLen(); bits >= 0; bits-- {
		prefix, err := first.Prefix(bits)
		if err != nil || prefix.Addr() != first {
			break
		}
		if lastOf(prefix) == last {
			return prefix.String()
		}
	}
	return first.String() + "-" + last.String()
}

func lastOf(prefix netip.Prefix) netip.Addr {
	b := prefix.Addr().AsSlice()
	for i := prefix.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func formatPorts(first, last uint16) string {
	switch {
	case first == 0 && last == 65535:
		return "any"
	case first > last:
		return "opaque"
	case first == last:
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}
