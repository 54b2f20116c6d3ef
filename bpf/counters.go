package bpf

import (
	"fmt"
	"slices"
)

// NoPort is the Port of the counts of interfaces that are none.
const NoPort = -1

// Counts are frames since Load, by Reason, summed over the CPUs.
type Counts struct {
	Port   int // PortConfig.Index, or NoPort
	Frames [Reasons]uint64
}

// Counters reads the counters of every port that was ever attached, in the order
// of their indices, and of NoPort, last.
func (s *Steer) Counters() ([]Counts, error) {
	s.mu.Lock()
	rows := make([]int, 0, len(s.rows)+1)
	for row := range s.rows {
		rows = append(rows, row)
	}
	s.mu.Unlock()
	slices.Sort(rows)

	all := make([]Counts, 0, len(rows)+1)
	for _, row := range append(rows, MaxPorts) {
		counts, err := s.readCounts(row)
		if err != nil {
			return nil, err
		}
		all = append(all, counts)
	}
	return all, nil
}

func (s *Steer) readCounts(row int) (Counts, error) {
	sum := Counts{Port: row}
	if row == MaxPorts {
		sum.Port = NoPort
	}
	var perCPU []steerCounts
	if err := s.objects.Counters.Lookup(uint32(row), &perCPU); err != nil {
		return sum, fmt.Errorf("read xdp counters of port %d: %w", sum.Port, err)
	}
	for _, cpu := range perCPU {
		for r, n := range cpu.Reasons {
			sum.Frames[r] += n
		}
	}
	return sum, nil
}
