package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Role says what a port faces. A one-port gateway's port has both.
type Role uint8

const (
	Outside Role = 1 << iota // the untrusted network
	Inside                   // protected networks: the prefixes apply
)

// Mode is where the program runs: in the driver, or after the kernel has built
// its own packet, which works on every interface, slowly, and after GRO.
type Mode string

const (
	Auto    Mode = "auto" // native, else generic
	Native  Mode = "native"
	Generic Mode = "generic"
)

// PortConfig is one port as the program knows it.
type PortConfig struct {
	Index int // below MaxPorts: the port's row in the socket table
	Role  Role
	MAC   net.HardwareAddr // frames to any other are left to the kernel
	Mode  Mode
}

// attachment is one port's link, and the row it counts in.
type attachment struct {
	link link.Link
	row  int
}

// Attach puts the program on an interface and returns the mode obtained:
// "native", "generic", or "generic, because native: " and the driver's refusal.
// Tables filled before are in force from the first frame on.
func (s *Steer) Attach(ifindex int, port PortConfig) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkPort(ifindex, port); err != nil {
		return "", err
	}
	value := steerPort{Mac: [6]uint8(port.MAC), Index: uint8(port.Index), Roles: uint8(port.Role)}
	if err := s.objects.Ports.Put(uint32(ifindex), value); err != nil {
		return "", fmt.Errorf("configure xdp port %s: %w", name(ifindex), err)
	}
	l, obtained, err := s.attach(ifindex, port.Mode)
	if err != nil {
		return "", errors.Join(err, s.objects.Ports.Delete(uint32(ifindex)))
	}
	s.ports[ifindex] = &attachment{link: l, row: port.Index}
	s.rows[port.Index] = true
	return obtained, nil
}

// Detach takes the program off an interface. The counters stay.
func (s *Steer) Detach(ifindex int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports[ifindex] == nil {
		return fmt.Errorf("detach xdp from %s: it is not attached", name(ifindex))
	}
	return s.detach(ifindex)
}

// Sweep detaches what a previous process with the same PinDir left on
// interfaces that are no port any more. Call it once every port is attached.
func (s *Steer) Sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinDir == "" {
		return nil
	}
	pins, err := filepath.Glob(filepath.Join(s.pinDir, "xdp-*"))
	for _, pin := range pins {
		field := strings.Split(filepath.Base(pin), "-")[1]
		if ifindex, convErr := strconv.Atoi(field); convErr == nil && s.ports[ifindex] == nil {
			err = errors.Join(err, os.Remove(pin))
		}
	}
	return err
}

func (s *Steer) checkPort(ifindex int, port PortConfig) error {
	if _, err := net.InterfaceByIndex(ifindex); err != nil {
		return fmt.Errorf("attach xdp to %s: no such interface in this network namespace: %w", name(ifindex), err)
	}
	if port.Index < 0 || port.Index >= MaxPorts {
		return fmt.Errorf("attach xdp to %s: port index %d, at most %d ports are possible", name(ifindex), port.Index, MaxPorts)
	}
	if len(port.MAC) != 6 {
		return fmt.Errorf("attach xdp to %s: MAC address %q has %d bytes, need an Ethernet interface with 6", name(ifindex), port.MAC, len(port.MAC))
	}
	if port.Mode != Auto && port.Mode != Native && port.Mode != Generic {
		return fmt.Errorf("attach xdp to %s: mode %q, use auto, native or generic", name(ifindex), port.Mode)
	}
	if s.ports[ifindex] != nil {
		return fmt.Errorf("attach xdp to %s: it is attached already", name(ifindex))
	}
	for other, a := range s.ports {
		if a.row == port.Index {
			return fmt.Errorf("attach xdp to %s: port index %d belongs to %s", name(ifindex), port.Index, name(other))
		}
	}
	return nil
}

func (s *Steer) attach(ifindex int, mode Mode) (link.Link, string, error) {
	if l, got := s.adopt(ifindex, mode); l != nil {
		return l, string(got), nil
	}
	if mode == Generic {
		l, err := s.attachMode(ifindex, Generic)
		return l, string(Generic), err
	}
	l, err := s.attachMode(ifindex, Native)
	if err == nil || mode == Native || !driverRefused(err) {
		return l, string(Native), err
	}
	refusal := err
	if l, err = s.attachMode(ifindex, Generic); err != nil {
		return nil, "", err
	}
	return l, fmt.Sprintf("%s, because native: %v", Generic, refusal), nil
}

func (s *Steer) attachMode(ifindex int, mode Mode) (link.Link, error) {
	flags := link.XDPDriverMode
	if mode == Generic {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: s.objects.Steer, Interface: ifindex, Flags: flags})
	if err != nil {
		return nil, explainAttach(ifindex, mode, err)
	}
	if s.pinDir == "" {
		return l, nil
	}
	if err := l.Pin(s.pin(ifindex, mode)); err != nil {
		return nil, errors.Join(fmt.Errorf("pin xdp of %s: %s must be a directory on a mounted bpffs: %w", name(ifindex), s.pinDir, err), l.Close())
	}
	return l, nil
}

// adopt takes over the pinned attachment of a process that died: the kernel
// swaps program and tables between two frames. What cannot be taken over (the
// interface went away, another mode is wanted) is unpinned and attached anew.
func (s *Steer) adopt(ifindex int, want Mode) (link.Link, Mode) {
	if s.pinDir == "" {
		return nil, ""
	}
	for _, mode := range []Mode{Native, Generic} {
		l, err := link.LoadPinnedLink(s.pin(ifindex, mode), nil)
		if err != nil {
			continue
		}
		if want == Auto || want == mode {
			if l.Update(s.objects.Steer) == nil {
				return l, mode
			}
		}
		_ = l.Unpin() // what is left of it shows when attaching anew
		_ = l.Close()
	}
	return nil, ""
}

func (s *Steer) pin(ifindex int, mode Mode) string {
	return filepath.Join(s.pinDir, fmt.Sprintf("xdp-%d-%s", ifindex, mode))
}

func (s *Steer) detach(ifindex int) error {
	a := s.ports[ifindex]
	delete(s.ports, ifindex)
	var errs []error
	if s.pinDir != "" {
		errs = append(errs, a.link.Unpin())
	}
	errs = append(errs, a.link.Close(), s.objects.Ports.Delete(uint32(ifindex)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach xdp from %s: %w", name(ifindex), err)
	}
	return nil
}

// driverRefused tells a driver that cannot from a system that may not: only the
// former is reason to try generic mode. EINVAL and ERANGE are what drivers say to
// an MTU or a queue layout that XDP cannot work with.
func driverRefused(err error) bool {
	for _, errno := range []error{unix.EOPNOTSUPP, unix.EINVAL, unix.ERANGE, unix.ENOMEM, unix.ENOSPC} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// explainAttach says what to change, where the kernel's refusal has one reason.
func explainAttach(ifindex int, mode Mode, err error) error {
	port := name(ifindex)
	what := fmt.Sprintf("attach xdp to %s, %s mode", port, mode)
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: another xdp program is attached, stop its owner or run `ip link set dev %s xdp off`: %w", what, port, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: CAP_NET_ADMIN and CAP_BPF are needed, run as root or grant both: %w", what, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s: no such interface in this network namespace: %w", what, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%s: the driver has no xdp, set `xdp: auto` or `xdp: generic`: %w", what, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return fmt.Errorf("%s: the driver refuses, lower the MTU (usually to 3498 or less) or switch LRO off: %w", what, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// name is what the operator calls an interface; its number if it is gone.
func name(ifindex int) string {
	if ifc, err := net.InterfaceByIndex(ifindex); err == nil {
		return ifc.Name
	}
	return fmt.Sprintf("ifindex %d", ifindex)
}
