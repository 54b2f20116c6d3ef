package fib

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxAdopted bounds how many on-link neighbours are kept resolved. It stays
// below the kernel's gc_thresh3 of 1024, at which it refuses new neighbours.
// Gateways do not count: there are as many as routes name.
const maxAdopted = 512

// noteNeigh applies a neighbour event and tells whether it changes the table.
// Most events only say that a neighbour was confirmed again.
func (m *Mirror) noteNeigh(kind uint16, data []byte) bool {
	if len(data) < unix.SizeofNdMsg {
		return false
	}
	n, err := netlink.NeighDeserialize(data)
	if err != nil {
		return false
	}
	key, ok := keyOf(n)
	if !ok || m.state.neighs == nil {
		return false
	}
	was := m.state.neighs[key]
	if kind == unix.RTM_DELNEIGH {
		delete(m.state.neighs, key)
		asked := m.managed[key]
		delete(m.managed, key)
		return was.valid || asked
	}
	now := neighOf(n)
	m.state.neighs[key] = now
	ours := m.managed[key] && was.failed != now.failed
	return ours || was.valid != now.valid || was.mac != now.mac
}

// manage asks the kernel to resolve the next hops of the table and to keep them
// so: it sees no traffic to them and would let them age. A gateway is asked for
// as long as a route names it, another neighbour as long as it answers.
func (m *Mirror) manage(c *compiler) {
	wanted := make(map[neighKey]bool, len(c.gateways))
	for _, key := range c.gateways {
		wanted[key] = true
	}
	slices.SortFunc(c.adopted, func(a, b neighKey) int { return a.addr.Compare(b.addr) })
	for _, key := range c.adopted[:min(len(c.adopted), maxAdopted)] {
		wanted[key] = true
	}
	for key := range m.managed {
		if !wanted[key] && m.release(key) == nil {
			delete(m.managed, key)
		}
	}
	for key := range wanted {
		n := m.state.neighs[key]
		// The kernel takes the permanence away from what it manages; and what
		// somebody else has it manage is not ours to release.
		if n.fixed || n.managed || m.managed[key] {
			continue
		}
		if m.ask(key, n, netlink.NTF_EXT_MANAGED) == nil {
			m.managed[key] = true
		}
	}
}

// ask sends a request that leaves address and state of the neighbour as they
// are and starts its resolution if it has none.
func (m *Mirror) ask(key neighKey, n neigh, extended int) error {
	flags := netlink.NTF_USE
	if n.router {
		flags |= netlink.NTF_ROUTER
	}
	err := m.handle.NeighSet(&netlink.Neigh{
		LinkIndex: key.ifindex, IP: key.addr.AsSlice(), Flags: flags, FlagsExt: extended,
	})
	if err != nil {
		return fmt.Errorf("manage neighbour %s: %w", key.addr, err)
	}
	return nil
}

// release gives a neighbour back to the kernel's ageing. One that failed is
// removed: asking for it would start its resolution again.
func (m *Mirror) release(key neighKey) error {
	n, ok := m.state.neighs[key]
	if !ok {
		return nil
	}
	var err error
	if n.valid {
		err = m.ask(key, n, 0)
	} else {
		err = m.handle.NeighDel(&netlink.Neigh{LinkIndex: key.ifindex, IP: key.addr.AsSlice()})
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENETDOWN) {
		return nil // it is gone already, with its link
	}
	return err
}

// forgetManaged drops what a dump shows to be gone, so that it is asked for again.
func (m *Mirror) forgetManaged() {
	for key := range m.managed {
		if _, ok := m.state.neighs[key]; !ok {
			delete(m.managed, key)
		}
	}
}

func (m *Mirror) releaseAll() error {
	var all []error
	for key := range m.managed {
		all = append(all, m.release(key))
	}
	clear(m.managed)
	return errors.Join(all...)
}
