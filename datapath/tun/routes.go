package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route leads a protected prefix into the device.
type Route struct {
	Prefix netip.Prefix
	// Src is the source address of this host's own packets; it must be a local
	// address, inside the local selectors. The zero Addr leaves the choice to
	// the kernel.
	Src netip.Addr
	// Bypass leaves the prefix to the tables that follow instead: for local
	// networks inside a wider protected prefix such as 0.0.0.0/0, whose
	// decrypted packets would otherwise come straight back.
	Bypass bool
}

// target is where a prefix leads.
type target struct {
	src    netip.Addr
	bypass bool
}

// SetRoutes makes the table hold exactly these routes. What is already right
// stays untouched; new routes come before old ones go. Two routes for the same
// prefix are refused and nothing is changed.
func (d *Device) SetRoutes(routes []Route) error {
	want, err := byPrefix(routes)
	if err != nil {
		return err
	}
	d.routes.Lock()
	defer d.routes.Unlock()
	have, err := d.present()
	if err != nil {
		return err
	}
	var errs []error
	for prefix, to := range want {
		if is, ok := have[prefix]; ok && is == to {
			continue
		}
		if err := d.nl.RouteReplace(d.route(prefix, to)); err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", describe(prefix, to), err))
		}
	}
	for prefix, to := range have {
		if _, ok := want[prefix]; ok {
			continue
		}
		errs = append(errs, d.removeRoute(prefix, to))
	}
	return errors.Join(errs...)
}

func byPrefix(routes []Route) (map[netip.Prefix]target, error) {
	want := make(map[netip.Prefix]target, len(routes))
	for _, r := range routes {
		prefix := r.Prefix.Masked()
		if !prefix.IsValid() {
			return nil, fmt.Errorf("route %s: invalid prefix", r.Prefix)
		}
		if r.Src.IsValid() && r.Src.Is4() != prefix.Addr().Is4() {
			return nil, fmt.Errorf("route %s: source %s is of another family", prefix, r.Src)
		}
		to := target{src: r.Src, bypass: r.Bypass}
		if to.bypass {
			to.src = netip.Addr{}
		}
		if other, ok := want[prefix]; ok && other != to {
			return nil, fmt.Errorf("route %s: given twice, and differently", prefix)
		}
		want[prefix] = to
	}
	return want, nil
}

// present lists our routes as the kernel has them now: it drops routes by
// itself, for instance when somebody sets the device down.
func (d *Device) present() (map[netip.Prefix]target, error) {
	have := map[netip.Prefix]target{}
	filter := &netlink.Route{Table: Table, Protocol: owner}
	for _, family := range families {
		all, err := d.nl.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		if err != nil && !noFamily(err) {
			return nil, fmt.Errorf("list routes of table %d: %w", Table, err)
		}
		for _, r := range all {
			bypass := r.Type == unix.RTN_THROW
			if !bypass && r.LinkIndex != d.index {
				continue
			}
			if prefix, ok := prefixOf(r.Dst, family); ok {
				have[prefix] = target{src: addrOf(r.Src), bypass: bypass}
			}
		}
	}
	return have, nil
}

func (d *Device) route(prefix netip.Prefix, to target) *netlink.Route {
	r := &netlink.Route{
		Dst:       &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())},
		Table:     Table,
		Protocol:  owner,
		Type:      unix.RTN_UNICAST,
		LinkIndex: d.index,
		Scope:     netlink.SCOPE_LINK,
	}
	if to.bypass {
		r.Type, r.LinkIndex, r.Scope = unix.RTN_THROW, 0, netlink.SCOPE_UNIVERSE
	}
	if to.src.IsValid() {
		r.Src = to.src.AsSlice()
	}
	return r
}

func (d *Device) removeRoute(prefix netip.Prefix, to target) error {
	err := d.nl.RouteDel(d.route(prefix, to))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route %s: %w", describe(prefix, to), err)
	}
	return nil
}

// clearBypasses removes what does not disappear with a device: ours on Close,
// those of a process that was killed on Open.
func (d *Device) clearBypasses() error {
	have, err := d.present()
	errs := []error{err}
	for prefix, to := range have {
		if to.bypass {
			errs = append(errs, d.removeRoute(prefix, to))
		}
	}
	return errors.Join(errs...)
}

func describe(prefix netip.Prefix, to target) string {
	switch {
	case to.bypass:
		return prefix.String() + " bypass"
	case to.src.IsValid():
		return prefix.String() + " src " + to.src.String()
	}
	return prefix.String()
}

// prefixOf converts a destination; none is the default route.
func prefixOf(dst *net.IPNet, family int) (netip.Prefix, bool) {
	addr, bits := netip.IPv6Unspecified(), 0
	if dst != nil {
		bits, _ = dst.Mask.Size()
		addr = addrOf(dst.IP)
	}
	if family == unix.AF_INET {
		addr = addr.Unmap() // 0.0.0.0/0 comes in 16 bytes
		if dst == nil {
			addr = netip.IPv4Unspecified()
		}
	}
	return netip.PrefixFrom(addr, bits), addr.IsValid()
}

func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr
}
