package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress gives the device an address of this host: one that a peer assigned
// to us. It is no error if the device has it.
func (d *Device) AddAddress(a netip.Addr) error {
	err := d.nl.AddrAdd(d.link(), address(a))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tun %s: add address %s: %w", d.name, a, err)
	}
	return nil
}

// RemoveAddress takes it away. It is no error if the device does not have it.
func (d *Device) RemoveAddress(a netip.Addr) error {
	err := d.nl.AddrDel(d.link(), address(a))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("tun %s: remove address %s: %w", d.name, a, err)
	}
	return nil
}

func (d *Device) link() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: d.index, Name: d.name}}
}

// address is of a host alone: no route to a network comes with it. In IPv6 it
// can be used at once: nobody else is on the device to have it.
func address(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}
