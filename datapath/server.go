package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"spindle/datapath/esp"
	"spindle/datapath/tun"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// Steering is the part of the XDP program that follows SAs and policies:
// bpf.Steer.
type Steering interface {
	AddSPI(spi uint32) error
	DeleteSPI(spi uint32) error
	AddPrefix(netip.Prefix) error
	DeletePrefix(netip.Prefix) error
	AddHome(netip.Prefix) error
	DeleteHome(netip.Prefix) error
}

// HostRoutes leads this host's own packets into the tunnel device: tun.Device.
type HostRoutes interface {
	SetRoutes([]tun.Route) error
	SetMTU(int) error
	AddAddress(netip.Addr) error
	RemoveAddress(netip.Addr) error
}

// Server does in the data path what the control process asks for. It is the
// only writer of the database; keysock.Serve calls it.
type Server struct {
	DB       *DB
	Group    *Group
	Steering Steering
	Host     HostRoutes
	Routes   Routes
	Crypto   *esp.Crypto                                   // nil for the standard library
	Counters func(emit func(keysock.Counters) error) error // of everything but the group
	SendIKE  func(local, remote netip.AddrPort, message []byte) error

	SendKeepalive func(local, remote netip.AddrPort) error

	mu       sync.Mutex                 // the writer's lock: keysock.Serve and Refresh come from two goroutines
	in       map[int]*inboundSA         // by slot, which is what a new SA takes over
	out      map[sadb.SPI]*outboundSA   // by pair
	sends    map[sadb.SPI][]*outboundSA // by the SPI on the wire, which peers may choose alike
	policies map[sadb.PolicyID]sadb.Policy
	widths   map[int]int // how many tunnels have that inner MTU

	translators map[translation]*translator

	mtu int // of the tunnel device, as last set
}

var _ keysock.Handler = (*Server)(nil)

// roundTimeout bounds the wait for the workers. A worker takes microseconds to
// come round; one that does not is broken.
const roundTimeout = time.Second

// Add installs an SA and returns once every worker sees it. The key is cleared
// in any case.
func (s *Server) Add(sa sadb.SA) error {
	defer clear(sa.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	add := s.addInbound
	if sa.Direction == sadb.Outbound {
		add = s.addOutbound
	}
	if err := add(sa); err != nil {
		return err
	}
	return s.publish()
}

// publish shows the workers what has changed and waits until none of them works
// with what was before; then the keys of what was deleted are wiped.
func (s *Server) publish() error {
	s.DB.Publish()
	s.Group.Rouse()
	ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
	defer cancel()
	if err := s.DB.Wait(ctx); err != nil {
		return fmt.Errorf("a worker did not come round within %v: %w", roundTimeout, err)
	}
	return nil
}

func (s *Server) addInbound(sa sadb.SA) error {
	if sa.SPI.Worker() >= len(s.Group.Workers) || sa.SPI.Slot() == 0 {
		return fmt.Errorf("sa %v: its SPI names no worker and slot of this data path (%d workers)", sa.SPI, len(s.Group.Workers))
	}
	if sa.Pair != sa.SPI {
		return fmt.Errorf("sa %v: its pair %v is another inbound SA", sa.SPI, sa.Pair)
	}
	in, err := newInboundSA(sa, s.Crypto)
	if err != nil {
		return err
	}
	if in.nat, err = s.translate(&sa); err != nil {
		in.Wipe()
		return err
	}
	if err := s.Steering.AddSPI(uint32(sa.SPI)); err != nil {
		s.untranslate(in)
		in.Wipe()
		return err
	}
	s.DB.AddInbound(sa.SPI, in)
	if old := s.in[sa.SPI.Slot()]; old != nil {
		s.untranslate(old)
		s.DB.Retire(old.Wipe)
	}
	put(&s.in, sa.SPI.Slot(), in)
	return nil
}

func (s *Server) addOutbound(sa sadb.SA) error {
	if sa.Pair.Worker() >= len(s.Group.Workers) {
		return fmt.Errorf("sa %v: its pair %v names no worker of this data path (%d workers)", sa.SPI, sa.Pair, len(s.Group.Workers))
	}
	partner := s.in[sa.Pair.Slot()]
	if partner != nil && partner.held.sa.SPI != sa.Pair {
		partner = nil // the slot has another holder, which another worker may own
	}
	if sa.Translate.IsValid() && (partner == nil || partner.held.sa.Translate != sa.Translate) {
		return fmt.Errorf("sa %v: its pair %v does not translate to %v", sa.SPI, sa.Pair, sa.Translate)
	}
	out, err := newOutboundSA(sa, partner, s.Crypto)
	if err != nil {
		return err
	}
	old := s.DB.DeleteOutbound(sa.Pair)
	s.DB.BindOutbound(sa.Pair, sa.Policy, out)
	if old != nil {
		s.DB.Retire(old.Wipe)
		s.unmeasure(old)
		s.unindex(old)
	}
	put(&s.out, sa.Pair, out)
	put(&s.sends, sa.SPI, append(s.sends[sa.SPI], out))
	s.measure(out)
	_ = s.fitMTU() // Refresh tries again, and tells
	return nil
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// Update moves the peer's endpoint of an SA pair.
func (s *Server) Update(u keysock.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, ok := s.out[u.Pair]
	if !ok {
		return fmt.Errorf("update sa pair %v: no outbound SA", u.Pair)
	}
	if err := out.Rebind(u.Local, u.Remote, u.Encap); err != nil {
		return fmt.Errorf("update sa pair %v: %w", u.Pair, err)
	}
	out.held.move(u)
	if in := s.in[u.Pair.Slot()]; in != nil && in.held.sa.SPI == u.Pair {
		in.held.move(u)
	}
	s.unmeasure(out)
	s.measure(out)
	_ = s.fitMTU()
	return nil
}

// Delete removes one direction of an SA pair; its key is wiped when the last
// worker has left it.
func (s *Server) Delete(d keysock.Delete) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	remove := s.deleteInbound
	if d.Direction == sadb.Outbound {
		remove = s.deleteOutbound
	}
	if err := remove(d.Pair); err != nil {
		return err
	}
	return s.publish()
}

func (s *Server) deleteInbound(spi sadb.SPI) error {
	in := s.DB.DeleteInbound(spi)
	if in == nil {
		return fmt.Errorf("delete sa %v: no such inbound SA", spi)
	}
	delete(s.in, spi.Slot())
	s.untranslate(in)
	s.DB.Retire(in.Wipe)
	return s.Steering.DeleteSPI(uint32(spi))
}

func (s *Server) deleteOutbound(pair sadb.SPI) error {
	out := s.DB.DeleteOutbound(pair)
	if out == nil {
		return fmt.Errorf("delete sa pair %v: no outbound SA", pair)
	}
	delete(s.out, pair)
	s.DB.Retire(out.Wipe)
	s.unmeasure(out)
	s.unindex(out)
	_ = s.fitMTU()
	return nil
}

// Flush removes all SAs and policies.
func (s *Server) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for pair := range s.out {
		errs = append(errs, s.deleteOutbound(pair))
	}
	for _, in := range s.in {
		errs = append(errs, s.deleteInbound(in.held.sa.SPI))
	}
	for id, p := range s.policies {
		delete(s.policies, id)
		s.DB.DeletePolicy(id)
		errs = append(errs, s.unsteer(p))
	}
	return errors.Join(append(errs, s.publish(), s.setRoutes())...)
}

// Wipe overwrites all keys. The workers must have stopped.
func (s *Server) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.in {
		in.Wipe()
	}
	for _, out := range s.out {
		out.Wipe()
	}
}

// Dump emits every SA of the data path.
func (s *Server) Dump(emit func(keysock.Usage) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.in {
		if err := emit(in.usage()); err != nil {
			return err
		}
	}
	for _, out := range s.out {
		if err := emit(out.usage()); err != nil {
			return err
		}
	}
	return nil
}

// Stats emits the counters of every worker, of what never reached one, and those
// of the ports.
func (s *Server) Stats(emit func(keysock.Counters) error) error {
	for _, w := range s.Group.Workers {
		names, values := w.Counters()
		if err := emit(keysock.Counters{Source: fmt.Sprintf("worker %d", w.id), Names: names, Values: values}); err != nil {
			return err
		}
	}
	if err := s.Group.preferred(emit); err != nil {
		return err
	}
	if err := emit(s.Group.Counters()); err != nil {
		return err
	}
	return s.Counters(emit)
}

// Inject sends an IKE datagram. An error is the network's: IKE sends again.
func (s *Server) Inject(m keysock.Inject) { _ = s.SendIKE(m.Local, m.Remote, m.Data) }
