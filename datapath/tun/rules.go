package tun

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// Table is the routing table that holds the routes into the device.
	Table = 220
	// Priority is that of the rule that consults Table: before main (32766).
	Priority = 220
	// Mark exempts a socket's packets from Table (SO_MARK). Every kernel
	// socket that sends to a peer sets it.
	Mark = 0x5350

	// owner marks rules and routes as ours (the protocol field of rtnetlink,
	// unassigned in rtnetlink.h), so that nobody else's are removed.
	owner = 83
)

var families = [...]int{unix.AF_INET, unix.AF_INET6}

// rule is "not fwmark 0x5350 lookup 220".
func rule(family int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family = family
	r.Priority = Priority
	r.Table = Table
	r.Mark = Mark
	r.Invert = true
	r.Protocol = owner
	return r
}

// installRules adds one rule per family. The same rule left by a process that
// was killed is taken over as it stands: between a removal and an addition,
// protected traffic would leave in the clear.
func (d *Device) installRules() error {
	for _, family := range families {
		err := d.nl.RuleAdd(rule(family))
		if err != nil && !errors.Is(err, unix.EEXIST) && !noFamily(err) {
			return fmt.Errorf("add rule for table %d: %w", Table, err)
		}
	}
	return nil
}

// removeTable clears away the rules and what stands in the table without a
// device; unless Open did not get that far, for then they may be another's.
func (d *Device) removeTable() error {
	if !d.ruled {
		return nil
	}
	return errors.Join(d.removeRules(), d.clearBypasses())
}

// removeRules removes every rule of ours.
func (d *Device) removeRules() error {
	var errs []error
	for _, family := range families {
		all, err := d.nl.RuleList(family)
		if err != nil && !noFamily(err) {
			errs = append(errs, fmt.Errorf("list rules: %w", err))
		}
		for i := range all {
			if r := &all[i]; r.Protocol == owner && r.Table == Table {
				errs = append(errs, d.removeRule(family))
			}
		}
	}
	return errors.Join(errs...)
}

func (d *Device) removeRule(family int) error {
	if err := d.nl.RuleDel(rule(family)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rule for table %d: %w", Table, err)
	}
	return nil
}

// noFamily reports a kernel without this address family.
func noFamily(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}
