package datapath

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

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
}

// HostRoutes leads this host's own packets into the tunnel device: tun.Device.
type HostRoutes interface {
	SetRoutes([]tun.Route) error
	SetMTU(int) error
}

// Server does in the data path what the control process asks for. It is the
// only writer of the database; keysock.Serve calls it.
type Server struct {
	DB       *DB
	Group    *Group
	Steering Steering
	Host     HostRoutes
	Routes   Routes
	Counters func(emit func(keysock.Counters) error) error // of everything but the workers
	SendIKE  func(local, remote netip.AddrPort, message []byte) error

	mu       sync.Mutex              // the writer's lock: keysock.Serve and Refresh come from two goroutines
	in       map[sadb.SPI]*inboundSA // by pair
	out      map[sadb.SPI]*outboundSA
	policies map[sadb.PolicyID]sadb.Policy
	mtu      int // of the tunnel device, as last set
}

var _ keysock.Handler = (*Server)(nil)

// addTimeout bounds the wait for the workers. A worker takes microseconds to come
// round; one that does not is broken, and the SA is not acknowledged.
const addTimeout = time.Second

// Add installs an SA and returns once every worker sees it.
func (s *Server) Add(sa sadb.SA) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if sa.Direction == sadb.Inbound {
		err = s.addInbound(sa)
	} else {
		err = s.addOutbound(sa)
	}
	if err != nil {
		return err
	}
	s.DB.Publish()
	s.Group.Rouse()
	ctx, cancel := context.WithTimeout(context.Background(), addTimeout)
	defer cancel()
	if err := s.DB.Wait(ctx); err != nil {
		return fmt.Errorf("sa %v: a worker did not come round within %v: %w", sa.SPI, addTimeout, err)
	}
	return nil
}

func (s *Server) addInbound(sa sadb.SA) error {
	if sa.SPI.Worker() >= len(s.Group.Workers) || sa.SPI.Slot() == 0 {
		return fmt.Errorf("sa %v: its SPI names no worker and slot of this data path (%d workers)", sa.SPI, len(s.Group.Workers))
	}
	in, err := newInboundSA(sa)
	if err != nil {
		return err
	}
	if old := s.in[sa.SPI]; old != nil {
		s.DB.Retire(old.Wipe)
	}
	if err := s.Steering.AddSPI(uint32(sa.SPI)); err != nil {
		return err
	}
	s.DB.AddInbound(sa.SPI, in)
	put(&s.in, sa.SPI, in)
	return nil
}

func (s *Server) addOutbound(sa sadb.SA) error {
	if sa.Pair.Worker() >= len(s.Group.Workers) {
		return fmt.Errorf("sa %v: its pair %v names no worker of this data path (%d workers)", sa.SPI, sa.Pair, len(s.Group.Workers))
	}
	out, err := newOutboundSA(sa)
	if err != nil {
		return err
	}
	if old := s.DB.DeleteOutbound(sa.Pair); old != nil {
		s.DB.Retire(old.Wipe)
	}
	s.DB.BindOutbound(sa.Pair, sa.Policy, out)
	put(&s.out, sa.Pair, out)
	return s.fitMTU()
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
		return err
	}
	out.held.sa.Local, out.held.sa.Remote, out.held.sa.Encap = u.Local, u.Remote, u.Encap
	return s.fitMTU()
}

// Delete removes one direction of an SA pair; its key is wiped when the last
// worker has left it.
func (s *Server) Delete(d keysock.Delete) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Direction == sadb.Outbound {
		return s.deleteOutbound(d.Pair)
	}
	return s.deleteInbound(d.Pair)
}

func (s *Server) deleteInbound(spi sadb.SPI) error {
	in := s.DB.DeleteInbound(spi)
	if in == nil {
		return fmt.Errorf("delete sa %v: no such inbound SA", spi)
	}
	delete(s.in, spi)
	s.DB.Retire(in.Wipe)
	s.DB.Publish()
	s.Group.Rouse()
	return s.Steering.DeleteSPI(uint32(spi))
}

func (s *Server) deleteOutbound(pair sadb.SPI) error {
	out := s.DB.DeleteOutbound(pair)
	if out == nil {
		return fmt.Errorf("delete sa pair %v: no outbound SA", pair)
	}
	delete(s.out, pair)
	s.DB.Retire(out.Wipe)
	s.DB.Publish()
	s.Group.Rouse()
	return s.fitMTU()
}

// Flush removes all SAs and policies.
func (s *Server) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, pair := range slices.Collect(maps.Keys(s.out)) {
		errs = append(errs, s.deleteOutbound(pair))
	}
	for _, spi := range slices.Collect(maps.Keys(s.in)) {
		errs = append(errs, s.deleteInbound(spi))
	}
	for _, id := range slices.Collect(maps.Keys(s.policies)) {
		errs = append(errs, s.deletePolicy(id))
	}
	return errors.Join(errs...)
}

// Dump emits every SA of the data path.
func (s *Server) Dump(emit func(keysock.Usage) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.in {
		if err := emit(in.held.usage(in.Usage())); err != nil {
			return err
		}
	}
	for _, out := range s.out {
		if err := emit(out.held.usage(out.Usage())); err != nil {
			return err
		}
	}
	return nil
}

// Stats emits the counters of every worker, then those of the ports.
func (s *Server) Stats(emit func(keysock.Counters) error) error {
	for _, w := range s.Group.Workers {
		names, values := w.Counters()
		if err := emit(keysock.Counters{Source: fmt.Sprintf("worker %d", w.id), Names: names, Values: values}); err != nil {
			return err
		}
	}
	return s.Counters(emit)
}

// Inject sends an IKE datagram. An error is the network's: IKE sends again.
func (s *Server) Inject(m keysock.Inject) { _ = s.SendIKE(m.Local, m.Remote, m.Data) }
