package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Size is the length of an Ethernet frame without frame check sequence, in
// bytes, before encapsulation; or IMIX.
type Size int

// IMIX is a mix of 28 frames of 64 bytes, 16 of 570 and 4 of 1400, the
// proportions of FD.io CSIT; its largest frame of 1518 would not fit a tunnel
// over the same MTU.
const IMIX Size = 0

// Sizes are the ones that are run when none is named.
func Sizes() []Size { return []Size{64, 256, 512, 1024, 1400, IMIX} }

const (
	minSize = 64
	maxSize = 1400
)

// ParseSize reads "imix" or a number of bytes.
func ParseSize(s string) (Size, error) {
	if s == "imix" {
		return IMIX, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < minSize || n > maxSize {
		return 0, fmt.Errorf("size %q: write imix, or %d to %d bytes", s, minSize, maxSize)
	}
	return Size(n), nil
}

func (s Size) String() string {
	if s == IMIX {
		return "imix"
	}
	return strconv.Itoa(int(s))
}

// MarshalJSON makes a number of it, or "imix".
func (s Size) MarshalJSON() ([]byte, error) {
	if s == IMIX {
		return json.Marshal("imix")
	}
	return json.Marshal(int(s))
}

// frames are the frame lengths in the order of sending. The sizes of a mix are
// spread evenly, so that no batch is of one size alone.
func (s Size) frames() []int {
	if s != IMIX {
		return []int{int(s)}
	}
	type share struct {
		place float64
		n     int
	}
	var mix []share
	for _, part := range []struct{ count, n int }{{28, 64}, {16, 570}, {4, 1400}} {
		for i := range part.count {
			mix = append(mix, share{(float64(i) + 0.5) / float64(part.count), part.n})
		}
	}
	slices.SortStableFunc(mix, func(a, b share) int {
		switch {
		case a.place < b.place:
			return -1
		case a.place > b.place:
			return 1
		}
		return 0
	})
	lengths := make([]int, len(mix))
	for i, m := range mix {
		lengths[i] = m.n
	}
	return lengths
}
