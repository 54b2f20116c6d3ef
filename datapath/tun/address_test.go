package tun_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"spindle/datapath/tun"
)

// TestAddresses: what a peer assigns is on the device, twice or not, and goes again.
func TestAddresses(t *testing.T) {
	enter(t)
	d, err := tun.Open("spindle0", 1400)
	must(t, err)
	defer d.Close()
	for _, a := range []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")} {
		must(t, d.AddAddress(a))
		must(t, d.AddAddress(a))
		if got := addressesOf(t, "spindle0"); !slices.Contains(got, netip.PrefixFrom(a, a.BitLen()).String()) {
			t.Errorf("%v is not on the device: %v", a, got)
		}
		must(t, d.RemoveAddress(a))
		must(t, d.RemoveAddress(a))
		if got := addressesOf(t, "spindle0"); slices.Contains(got, netip.PrefixFrom(a, a.BitLen()).String()) {
			t.Errorf("%v is still on the device: %v", a, got)
		}
	}
}

func addressesOf(t *testing.T, name string) (list []string) {
	t.Helper()
	all, err := netlink.AddrList(linkByName(t, name), netlink.FAMILY_ALL)
	must(t, err)
	for _, a := range all {
		list = append(list, a.IPNet.String())
	}
	return list
}
