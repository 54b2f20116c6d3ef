package wire

import (
	"fmt"
	"net/netip"
)

// Values of configuration attributes (RFC 7296 §3.15.1, RFC 8598 §3). An empty
// value asks for one; which type an address goes under depends on its family
// and use, so the constructors choose.

// ConfigAddress gives an inside address to the client: INTERNAL_IP4_ADDRESS, or
// INTERNAL_IP6_ADDRESS with the prefix length of prefix.
func ConfigAddress(prefix netip.Prefix) ConfigAttribute {
	if prefix.Addr().Is4() {
		return ConfigAttribute{ConfigIP4Address, prefix.Addr().AsSlice()}
	}
	return ConfigAttribute{ConfigIP6Address, append(prefix.Addr().AsSlice(), byte(prefix.Bits()))}
}

// ConfigDNS names a server: INTERNAL_IP4_DNS or INTERNAL_IP6_DNS.
func ConfigDNS(server netip.Addr) ConfigAttribute {
	if server.Is4() {
		return ConfigAttribute{ConfigIP4DNS, server.AsSlice()}
	}
	return ConfigAttribute{ConfigIP6DNS, server.AsSlice()}
}

// ConfigSubnet is a network behind the gateway, for split tunnels:
// INTERNAL_IP4_SUBNET with its mask or INTERNAL_IP6_SUBNET with its length.
func ConfigSubnet(prefix netip.Prefix) ConfigAttribute {
	if prefix.Addr().Is4() {
		mask := netmask(prefix.Bits())
		return ConfigAttribute{ConfigIP4Subnet, append(prefix.Addr().AsSlice(), mask[:]...)}
	}
	return ConfigAttribute{ConfigIP6Subnet, append(prefix.Addr().AsSlice(), byte(prefix.Bits()))}
}

// ConfigDomain is a domain to resolve through the tunnel: INTERNAL_DNS_DOMAIN.
func ConfigDomain(name string) ConfigAttribute {
	return ConfigAttribute{ConfigDNSDomain, []byte(name)}
}

func netmask(bits int) (mask [4]byte) {
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// Prefix reads an address or a subnet: INTERNAL_IP4_ADDRESS (as /32),
// INTERNAL_IP6_ADDRESS, INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET. The length
// of an IPv6 address is not applied to it: it keeps its host part. An empty
// value is no error and gives the zero Prefix.
func (a ConfigAttribute) Prefix() (netip.Prefix, error) {
	if len(a.Value) == 0 {
		return netip.Prefix{}, nil
	}
	r := a.reader()
	var p netip.Prefix
	switch a.Type {
	case ConfigIP4Address:
		p = netip.PrefixFrom(r.address(4, "address"), 32)
	case ConfigIP6Address, ConfigIP6Subnet:
		addr := r.address(16, "address")
		p = netip.PrefixFrom(addr, int(r.uint8("prefix length")))
	case ConfigIP4Subnet:
		addr := r.address(4, "address")
		p = netip.PrefixFrom(addr, maskBits(r.uint32("netmask")))
	default:
		r.fail("attribute %d holds no prefix: %w", a.Type, ErrValue)
	}
	if r.err == nil && !p.IsValid() {
		r.fail("prefix length: %w", ErrValue)
	}
	return p, r.done(a)
}

// Addr reads a single address: of a DNS, NBNS or DHCP server, or a netmask. An
// empty value is no error and gives the zero Addr.
func (a ConfigAttribute) Addr() (netip.Addr, error) {
	if len(a.Value) == 0 {
		return netip.Addr{}, nil
	}
	r := a.reader()
	size := 4
	switch a.Type {
	case ConfigIP4Address, ConfigIP4Netmask, ConfigIP4DNS, ConfigIP4NBNS, ConfigIP4DHCP:
	case ConfigIP6DNS, ConfigIP6DHCP:
		size = 16
	default:
		r.fail("attribute %d holds no address: %w", a.Type, ErrValue)
	}
	addr := r.address(size, "address")
	return addr, r.done(a)
}

// maskBits is the length of a netmask, -1 if it has holes.
func maskBits(mask uint32) int {
	bits := 0
	for ; mask&(1<<31) != 0; mask <<= 1 {
		bits++
	}
	if mask != 0 {
		return -1
	}
	return bits
}

func (a ConfigAttribute) reader() *reader {
	r := newReader(a.Value)
	r.payload = PayloadCP
	return &r
}

// done demands that the value was read to its end.
func (r *reader) done(a ConfigAttribute) error {
	if r.more() {
		r.fail("%d octets: %w", len(r.s), ErrTrailing)
	}
	if r.err != nil {
		return fmt.Errorf("configuration attribute %d: %w", a.Type, r.err)
	}
	return nil
}
