package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

// noAddressGeneration is IN6_ADDR_GEN_MODE_NONE of if_link.h.
const noAddressGeneration = 1

// quietIPv6 keeps the kernel from giving the device a link-local address, and
// so from sending router solicitations and listener reports into the tunnel's
// device. It must come before the device goes up.
func (d *Device) quietIPv6(link netlink.Link) error {
	if _, err := os.Stat("/proc/sys/net/ipv6"); errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	if err := d.nl.LinkSetIP6AddrGenMode(link, noAddressGeneration); err != nil {
		return fmt.Errorf("switch off address generation: %w", err)
	}
	return nil
}

// applySysctls sets what the kernel must do with packets from the device, and
// for this device only.
//
// They were decrypted and matched their SA's selectors, so the reverse path
// filter adds nothing. The kernel takes the larger of the device's value and
// that of conf/all (Documentation/networking/ip-sysctl.rst), so where the host
// filters, a packet passes only if the route to its source leads back into the
// device, also in loose mode, because the device has no address
// (__fib_validate_source in net/ipv4/fib_frontend.c). SetRoutes sees to that.
//
// Packets for a neighbour that is not resolved yet must be forwarded although
// the host as a whole may not be a router. (IPv6 forwarding has no such
// switch: it is the host's.)
func applySysctls(name string) error {
	device := filepath.Join("/proc/sys/net/ipv4/conf", name)
	for _, s := range []struct{ key, value string }{
		{"rp_filter", "0"},
		{"forwarding", "1"},
		{"send_redirects", "0"},
	} {
		if err := setSysctl(filepath.Join(device, s.key), s.value); err != nil {
			return err
		}
	}
	return nil
}

func setSysctl(path, value string) error {
	if is, err := readSysctl(path); err != nil || is == value {
		return err
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set sysctl to %s: %w", value, err)
	}
	return nil
}

func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}
