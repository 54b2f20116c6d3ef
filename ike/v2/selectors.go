package v2

import (
	"slices"

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
			if s, ok := o.Intersect(c); ok {
				common = insert(common, s)
			}
		}
	}
	return common
}

// within reports whether each selector of inner lies in one of outer.
func within(inner, outer []sadb.Selector) bool {
	for _, i := range inner {
		if !slices.ContainsFunc(outer, func(o sadb.Selector) bool { return o.Contains(i) }) {
			return false
		}
	}
	return len(inner) > 0
}

// insert adds a selector unless it is in the set already, and drops those that
// it makes redundant.
func insert(set []sadb.Selector, s sadb.Selector) []sadb.Selector {
	if slices.ContainsFunc(set, func(have sadb.Selector) bool { return have.Contains(s) }) {
		return set
	}
	set = slices.DeleteFunc(set, func(have sadb.Selector) bool { return s.Contains(have) })
	return append(set, s)
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

// fromWire reads those selectors of a TS payload that are of a known type and
// match anything at all.
func fromWire(list []wire.TrafficSelector) []sadb.Selector {
	var selectors []sadb.Selector
	for _, t := range list {
		s := sadb.Selector{First: t.Start, Last: t.End, Protocol: t.Protocol, FirstPort: t.StartPort, LastPort: t.EndPort}
		if s.IsValid() {
			selectors = append(selectors, s)
		}
	}
	return selectors
}
