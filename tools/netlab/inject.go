package netlab

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Injector puts frames of any content on a link, as the namespace's own.
type Injector struct {
	fd  int
	MAC net.HardwareAddr // of the link
}

// Inject opens a link of the namespace for frames. The caller closes it.
func (n *NS) Inject(link string) (in *Injector, err error) {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", link, n.Name, err)
	}
	in = &Injector{MAC: l.Attrs().HardwareAddr}
	err = n.Do(func() (err error) {
		if in.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		if err := unix.Bind(in.fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
			unix.Close(in.fd)
			return fmt.Errorf("bind packet socket to %s: %w", link, err)
		}
		return nil
	})
	return in, err
}

// Send puts one frame on the link, Ethernet header included.
func (in *Injector) Send(frame []byte) error {
	if _, err := unix.Write(in.fd, frame); err != nil {
		return fmt.Errorf("inject frame of %d bytes: %w", len(frame), err)
	}
	return nil
}

// Close ends it.
func (in *Injector) Close() { unix.Close(in.fd) }

// HardwareAddr is the MAC of a link of the namespace.
func (n *NS) HardwareAddr(link string) (net.HardwareAddr, error) {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", link, n.Name, err)
	}
	return l.Attrs().HardwareAddr, nil
}
