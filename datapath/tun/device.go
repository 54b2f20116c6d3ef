package tun

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is a TUN device that is up. Read and Write carry one IP packet each,
// without any header before it, and may run in different goroutines.
type Device struct {
	file  *os.File
	fd    int
	name  string
	index int
	nl    *netlink.Handle // bound to the network namespace of Open
	ruled bool            // the rules and the table are ours to clear

	routes sync.Mutex
	once   sync.Once
	closed error
}

// Open creates the device in the caller's network namespace, sets its MTU,
// brings it up, and installs the rules that consult its routing table. Rules
// and routes that a killed process left behind are taken over or removed.
func Open(name string, mtu int) (*Device, error) {
	d, err := create(name)
	if err != nil {
		return nil, fmt.Errorf("open tun %s: %w", name, err)
	}
	if err := d.configure(mtu); err != nil {
		return nil, errors.Join(fmt.Errorf("open tun %s: %w", d.name, err), d.Close())
	}
	return d, nil
}

func create(name string) (*Device, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return nil, errors.Join(explain(err), unix.Close(fd))
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// Only now: a descriptor without a device polls as an error, and Go's
	// poller would remember that.
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	return &Device{file: file, fd: fd, name: ifr.Name(), nl: nl}, nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("another process has this device: %w", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("a device of this name exists and is no tun, or the name is invalid: %w", err)
	}
	return err
}

func (d *Device) configure(mtu int) error {
	link, err := d.nl.LinkByName(d.name)
	if err != nil {
		return err
	}
	d.index = link.Attrs().Index
	if err := d.nl.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set mtu %d: %w", mtu, err)
	}
	if err := d.quietIPv6(link); err != nil {
		return err
	}
	if err := applySysctls(d.name); err != nil {
		return err
	}
	if err := d.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	d.ruled = true
	if err := d.clearBypasses(); err != nil {
		return err
	}
	return d.installRules()
}

// Name is the device's name.
func (d *Device) Name() string { return d.name }

// Index is the device's interface index.
func (d *Device) Index() int { return d.index }

// FD is for polling. It is non-blocking and valid until Close.
func (d *Device) FD() int { return d.fd }

// Read waits for a packet that the kernel routed into the device. A packet
// longer than b is cut off. It returns os.ErrClosed after Close.
func (d *Device) Read(b []byte) (int, error) { return d.file.Read(b) }

// Write hands a packet to the kernel, as if received on the device. It does
// not wait. The kernel refuses what is neither IPv4 nor IPv6.
func (d *Device) Write(b []byte) (int, error) { return d.file.Write(b) }

// SetMTU changes the device's MTU, in bytes of IP packet.
func (d *Device) SetMTU(mtu int) error {
	link, err := d.nl.LinkByIndex(d.index)
	if err != nil {
		return fmt.Errorf("tun %s: %w", d.name, err)
	}
	if err := d.nl.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("tun %s: set mtu %d: %w", d.name, mtu, err)
	}
	return nil
}

// Close removes the rules, the routes and the device, and ends a Read.
func (d *Device) Close() error {
	d.once.Do(func() {
		d.routes.Lock()
		defer d.routes.Unlock()
		d.closed = errors.Join(d.removeTable(), d.file.Close())
		d.nl.Close()
	})
	return d.closed
}
