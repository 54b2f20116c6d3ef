package bpf

import (
	"errors"

	"github.com/cilium/ebpf"
)

// MapLimits lets the tests compare Go's constants with the object's.
func MapLimits() (map[string]uint32, error) {
	spec, err := loadSteer()
	if err != nil {
		return nil, err
	}
	limits := map[string]uint32{}
	for name, m := range spec.Maps {
		limits[name] = m.MaxEntries
	}
	return limits, nil
}

// Configure makes an interface a port for test runs, without attaching.
func (s *Steer) Configure(ifindex int, port PortConfig) error {
	s.rows[port.Index] = true
	return s.objects.Ports.Put(uint32(ifindex),
		steerPort{Mac: [6]uint8(port.MAC), Index: uint8(port.Index), Roles: uint8(port.Role)})
}

// Unconfigure undoes Configure.
func (s *Steer) Unconfigure(ifindex int) error { return s.objects.Ports.Delete(uint32(ifindex)) }

// Run executes the program once on a frame: as received by the loopback
// interface, or by ifindex and queue if ifindex is not 0.
func (s *Steer) Run(frame []byte, ifindex, queue int) (uint32, error) {
	opts := ebpf.RunOptions{Data: frame}
	if ifindex != 0 {
		opts.Context = &struct{ Data, DataEnd, DataMeta, Ifindex, Queue, Egress uint32 }{
			DataEnd: uint32(len(frame)), Ifindex: uint32(ifindex), Queue: uint32(queue)}
	}
	return s.objects.Steer.Run(&opts)
}

// Entries counts the entries of a table in the kernel.
func (s *Steer) Entries(table string) int {
	m := map[string]*ebpf.Map{"locals": s.objects.Locals, "prefixes": s.objects.Prefixes}[table]
	n := 0
	var key, value []byte
	for it := m.Iterate(); it.Next(&key, &value); {
		n++
	}
	return n
}

// Crash does what the kernel does for a process that is killed: it closes every
// descriptor and unpins nothing. The returned function reads the counts of a port
// as the program that may live on keeps them.
func (s *Steer) Crash() (func(row int) (Counts, error), error) {
	counters, err := s.objects.Counters.Clone()
	errs := []error{err}
	for _, a := range s.ports {
		errs = append(errs, a.link.Close())
	}
	errs = append(errs, s.objects.Close())
	s.objects.Counters = counters
	return s.readCounts, errors.Join(errs...)
}
