package sadb

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseSelector reads a selector as people type it and as String prints it: a
// prefix, one address or a range "10.0.0.1-10.0.0.9", and behind it, if not all
// traffic is meant, a protocol with or without ports: "[tcp/443]",
// "[udp/5000-5010]", "[icmp/8]", "[gre]", "[tcp/opaque]".
func ParseSelector(text string) (Selector, error) {
	addrs, protocol, bracket := strings.Cut(text, "[")
	s, err := parseAddresses(addrs)
	if err != nil {
		return Selector{}, err
	}
	s.LastPort = maxPort
	if !bracket {
		return s, nil
	}
	protocol, ends := strings.CutSuffix(protocol, "]")
	if !ends {
		return Selector{}, fmt.Errorf("%q lacks its closing bracket", text)
	}
	if err := s.parseProtocol(protocol); err != nil {
		return Selector{}, err
	}
	return s, nil
}

func parseAddresses(text string) (Selector, error) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		return parseRange(first, last)
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return Selector{}, fmt.Errorf("%q is not a prefix: write for example 10.6.6.0/24 or 2001:db8::/64", text)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case p.Addr().Is4In6():
		v4 := netip.PrefixFrom(p.Addr().Unmap(), max(p.Bits()-96, 0)).Masked()
		return Selector{}, fmt.Errorf("%q: did you mean %s?", text, v4)
	case p != p.Masked():
		return Selector{}, fmt.Errorf("%s has host bits set: did you mean %s?", text, p.Masked())
	}
	return PrefixSelector(p), nil
}

func parseRange(first, last string) (Selector, error) {
	a, errA := netip.ParseAddr(first)
	b, errB := netip.ParseAddr(last)
	switch {
	case errA != nil || errB != nil || a.Zone()+b.Zone() != "":
		return Selector{}, fmt.Errorf("\"%s-%s\" is not a range of addresses: write for example 10.6.6.1-10.6.6.9", first, last)
	case a.Is4In6() || b.Is4In6():
		return Selector{}, fmt.Errorf("\"%s-%s\": did you mean %s-%s?", first, last, a.Unmap(), b.Unmap())
	case a.BitLen() != b.BitLen():
		return Selector{}, fmt.Errorf("\"%s-%s\": the two addresses are of different families", first, last)
	case b.Less(a):
		return Selector{}, fmt.Errorf("\"%s-%s\" ends before it begins: did you mean %s-%s?", first, last, last, first)
	}
	return Selector{First: a, Last: b}, nil
}

// parseProtocol reads what stands between the brackets.
func (s *Selector) parseProtocol(text string) error {
	name, ports, some := strings.Cut(text, "/")
	protocol, ok := protocolNumber(name)
	if !ok {
		return fmt.Errorf("[%s]: %q is no protocol: write tcp, udp, icmp, icmpv6, sctp, gre, any or a number from 1 to 255", text, name)
	}
	s.Protocol = protocol
	if !some {
		return nil
	}
	if !hasPorts(protocol) {
		return fmt.Errorf("[%s]: %s has no ports: write [%s]", text, name, name)
	}
	return s.parsePorts(text, ports)
}

func (s *Selector) parsePorts(text, ports string) error {
	if ports == "opaque" && !isICMP(s.Protocol) {
		s.FirstPort, s.LastPort = opaqueLow, opaqueHigh
		return nil
	}
	low, high, span := strings.Cut(ports, "-")
	first, whole, ok := parsePort(low, s.Protocol)
	last, ok2 := first, true
	if span {
		last, whole, ok2 = parsePort(high, s.Protocol)
	}
	if whole { // an ICMP type without a code is all of its codes
		last |= 0xff
	}
	if !ok || !ok2 || last < first {
		form := "a port or a range such as 80-443"
		if isICMP(s.Protocol) {
			form = "a type or type.code, such as 8 or 3.4"
		}
		return fmt.Errorf("[%s]: %q is not %s", text, ports, form)
	}
	s.FirstPort, s.LastPort = first, last
	return nil
}

// parsePort reads one port, for ICMP a type (in the upper octet, RFC 7296
// §3.13.1) with or without a code.
func parsePort(text string, protocol uint8) (port uint16, whole, ok bool) {
	if !isICMP(protocol) {
		n, err := strconv.ParseUint(text, 10, 16)
		return uint16(n), false, err == nil
	}
	kind, code, some := strings.Cut(text, ".")
	t, err := strconv.ParseUint(kind, 10, 8)
	if !some {
		return uint16(t) << 8, true, err == nil
	}
	c, err2 := strconv.ParseUint(code, 10, 8)
	return uint16(t)<<8 | uint16(c), false, err == nil && err2 == nil
}

// hasPorts reports whether packets of a protocol show what a selector calls ports.
func hasPorts(protocol uint8) bool {
	switch protocol {
	case protoTCP, protoUDP, protoSCTP, protoICMP, protoICMPv6:
		return true
	}
	return false
}

func protocolNumber(name string) (uint8, bool) {
	switch name {
	case "any":
		return 0, true
	case "icmp":
		return protoICMP, true
	case "tcp":
		return protoTCP, true
	case "udp":
		return protoUDP, true
	case "gre":
		return protoGRE, true
	case "icmpv6":
		return protoICMPv6, true
	case "sctp":
		return protoSCTP, true
	}
	n, err := strconv.ParseUint(name, 10, 8)
	return uint8(n), err == nil && n > 0
}
