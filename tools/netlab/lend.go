package netlab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Priorities of the rules that let a namespace own an address and still forward
// to the host that really has it. The kernel's own are 0, 32766 and 32767,
// strongSwan's is 220.
const (
	lentRule  = 50
	localRule = 100
)

func (n *NS) hasAddress(within netip.Prefix) (bool, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := n.nl.AddrList(nil, family)
		if err != nil {
			return false, fmt.Errorf("list addresses in %s: %w", n.Name, err)
		}
		for _, a := range addrs {
			if addr, ok := netip.AddrFromSlice(a.IP); ok && within.Contains(addr.Unmap()) {
				return true, nil
			}
		}
	}
	return false, nil
}

// lend gives the loopback an address that stays another host's: rules send
// packets for it to the main table before the local one is asked.
func (n *NS) lend(addr netip.Addr) error {
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, rule := range []*netlink.Rule{
		newRule(addr, localRule, unix.RT_TABLE_LOCAL, false),
		newRule(addr, lentRule, unix.RT_TABLE_MAIN, true),
	} {
		if err := n.nl.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %d: %w", rule.Priority, err)
		}
	}
	first := newRule(addr, 0, unix.RT_TABLE_LOCAL, false)
	if err := n.nl.RuleDel(first); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rule 0: %w", err)
	}
	return n.nl.AddrAdd(lo, &netlink.Addr{IPNet: hostNet(addr)})
}

// unlend takes the address back. The rules may stay, they are harmless.
func (n *NS) unlend(addr netip.Addr) error {
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return n.nl.AddrDel(lo, &netlink.Addr{IPNet: hostNet(addr)})
}

func newRule(addr netip.Addr, priority, table int, only bool) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table = netlink.FAMILY_V4, priority, table
	if addr.Is6() {
		r.Family = netlink.FAMILY_V6
	}
	if only {
		r.Dst = hostNet(addr)
	}
	return r
}
