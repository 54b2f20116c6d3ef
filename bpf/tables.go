package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// RegisterSocket lets the AF_XDP socket fd take the frames that queue of the
// port with that index receives. The socket must be bound to that device and
// queue. The kernel takes it out by itself when it is closed.
func (s *Steer) RegisterSocket(port, queue, fd int) error {
	if port < 0 || port >= MaxPorts || queue < 0 || queue >= MaxQueues {
		return fmt.Errorf("register xsk of port %d queue %d: at most %d ports of %d queues, lower the queue count with `ethtool -L`", port, queue, MaxPorts, MaxQueues)
	}
	if err := s.objects.Xsks.Put(uint32(port*MaxQueues+queue), uint32(fd)); err != nil {
		return fmt.Errorf("register xsk of port %d queue %d: %w", port, queue, err)
	}
	return nil
}

// SetLocalAddrs makes addrs the addresses at which ESP and IKE are ours. Only
// what changed is written, additions first.
func (s *Steer) SetLocalAddrs(addrs []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		if !a.IsValid() {
			return errors.New("set local addresses: one of them is the zero address")
		}
		want[a.Unmap().WithZone("")] = true
	}
	if len(want) > MaxLocalAddrs {
		return fmt.Errorf("set local addresses: %d addresses, at most %d are possible", len(want), MaxLocalAddrs)
	}
	return s.replaceLocals(want)
}

func (s *Steer) replaceLocals(want map[netip.Addr]bool) error {
	// A full table cannot take additions first; there deletions make room.
	add := func() error {
		for a := range want {
			if err := s.addLocal(a); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(); err != nil && !errors.Is(err, unix.E2BIG) {
		return err
	}
	for a := range s.locals {
		if want[a] {
			continue
		}
		if err := s.objects.Locals.Delete(address(a)); err != nil {
			return fmt.Errorf("delete local address %s: %w", a, err)
		}
		delete(s.locals, a)
	}
	return add()
}

func (s *Steer) addLocal(a netip.Addr) error {
	if s.locals[a] {
		return nil
	}
	if err := s.objects.Locals.Put(address(a), uint8(1)); err != nil {
		return fmt.Errorf("add local address %s: %w", a, err)
	}
	s.locals[a] = true
	return nil
}

// slot is where an SPI of ours lives: 18 bits above an 8-bit generation.
func slot(spi uint32) uint32 { return spi >> 8 & (1<<18 - 1) }

// AddSPI makes an inbound SPI known. A slot holds one: a younger generation
// takes the place of the older.
func (s *Steer) AddSPI(spi uint32) error {
	if slot(spi) == 0 {
		return fmt.Errorf("add spi 0x%08x: slot 0 is reserved", spi)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.objects.Spis.Put(slot(spi), spi); err != nil {
		return fmt.Errorf("add spi 0x%08x: %w", spi, err)
	}
	return nil
}

// DeleteSPI makes an SPI unknown. It does nothing if its slot holds another.
func (s *Steer) DeleteSPI(spi uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held uint32
	if err := s.objects.Spis.Lookup(slot(spi), &held); err != nil {
		return fmt.Errorf("delete spi 0x%08x: %w", spi, err)
	}
	if held != spi {
		return nil
	}
	if err := s.objects.Spis.Put(slot(spi), uint32(0)); err != nil {
		return fmt.Errorf("delete spi 0x%08x: %w", spi, err)
	}
	return nil
}

// AddPrefix makes what arrives on inside ports for these destinations go to the
// sockets. Policies may share a prefix: it stays until each has deleted it.
func (s *Steer) AddPrefix(p netip.Prefix) error { return s.hold(s.objects.Prefixes, s.prefixes, p) }

// DeletePrefix takes back one AddPrefix.
func (s *Steer) DeletePrefix(p netip.Prefix) error {
	return s.release(s.objects.Prefixes, s.prefixes, p)
}

// AddHome makes what arrives unprotected on outside ports for these destinations,
// from a source that AddPrefix named, go to the sockets: the data path knows
// whether it may. Policies may share a prefix here too.
func (s *Steer) AddHome(p netip.Prefix) error { return s.hold(s.objects.Homes, s.homes, p) }

// DeleteHome takes back one AddHome.
func (s *Steer) DeleteHome(p netip.Prefix) error { return s.release(s.objects.Homes, s.homes, p) }

func (s *Steer) hold(trie *ebpf.Map, held map[netip.Prefix]int, p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("add prefix: %s is not one", p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p = p.Masked()
	if held[p] == 0 {
		err := trie.Put(prefix(p), uint8(1))
		if errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("add prefix %s: the table is full at %d, aggregate prefixes: %w", p, MaxPrefixes, err)
		}
		if err != nil {
			return fmt.Errorf("add prefix %s: %w", p, err)
		}
	}
	held[p]++
	return nil
}

func (s *Steer) release(trie *ebpf.Map, held map[netip.Prefix]int, p netip.Prefix) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p = p.Masked()
	switch held[p] {
	case 0:
		return fmt.Errorf("delete prefix %s: nobody holds it", p)
	case 1:
		if err := trie.Delete(prefix(p)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete prefix %s: %w", p, err)
		}
		delete(held, p)
	default:
		held[p]--
	}
	return nil
}

func address(a netip.Addr) steerAddress {
	if a.Is4() {
		v4 := a.As4()
		key := steerAddress{Family: 4}
		copy(key.Bytes[:], v4[:])
		return key
	}
	return steerAddress{Family: 6, Bytes: a.As16()}
}

func prefix(p netip.Prefix) steerPrefix {
	return steerPrefix{Bits: 32 + uint32(p.Bits()), Address: address(p.Addr())}
}
