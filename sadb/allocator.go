package sadb

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// ErrFull says that every slot holds an SA pair.
var ErrFull = errors.New("all SPI slots are in use")

// Allocator hands out the inbound SPIs of SA pairs. A slot belongs to one pair
// at a time, whichever worker owns it. It is reused as late as possible and
// never with the generation it had before, so that packets still under way to
// a deleted SA meet no other. Not safe for concurrent use.
type Allocator struct {
	workers int
	rand    io.Reader
	next    int // worker of the next allocation that does not ask for one

	fresh *permutation // order in which slots are used the first time
	drawn uint32       // how many of fresh are consumed

	freed []SPI // slots to reuse, oldest first, from head on
	head  int
	last  []SPI  // by slot: the SPI handed out last, 0 for none
	used  []bool // by slot
}

// NewAllocator allocates for workers 0..workers-1, reading generations and the
// order of slots from rand. It panics when the SPI layout has no room for as
// many workers.
func NewAllocator(workers int, rand io.Reader) *Allocator {
	if workers < 1 || workers > MaxWorkers {
		panic(fmt.Sprintf("sadb: allocator for %d workers", workers))
	}
	return &Allocator{
		workers: workers,
		rand:    rand,
		last:    make([]SPI, MaxSlots),
		used:    make([]bool, MaxSlots),
	}
}

// Resize allocates for so many workers from now on. SPIs that are in use stay so,
// also those of workers that are no more. It panics as NewAllocator does.
func (a *Allocator) Resize(workers int) {
	if workers < 1 || workers > MaxWorkers {
		panic(fmt.Sprintf("sadb: allocator for %d workers", workers))
	}
	a.workers, a.next = workers, a.next%workers
}

// Allocate returns an unused SPI owned by worker, modulo how many there are: what
// asks with one number always is with one owner. A negative worker takes the next
// one in turn. The error wraps ErrFull when no slot is left.
func (a *Allocator) Allocate(worker int) (SPI, error) {
	turn := worker < 0
	if turn {
		worker = a.next
	}
	worker %= a.workers
	if err := a.shuffle(); err != nil {
		return 0, fmt.Errorf("allocate SPI: %w", err)
	}
	var random [2]byte
	if _, err := io.ReadFull(a.rand, random[:]); err != nil {
		return 0, fmt.Errorf("allocate SPI: read randomness: %w", err)
	}
	slot, err := a.takeSlot()
	if err != nil {
		return 0, fmt.Errorf("allocate SPI: %w", err)
	}
	if turn {
		a.next = (a.next + 1) % a.workers
	}
	spi := NewSPI(worker, slot, a.generation(slot, random))
	a.last[slot], a.used[slot] = spi, true
	return spi, nil
}

// Reserve marks an SPI as in use that an earlier allocator handed out: one
// that a Dump found in the data path after the control process restarted.
func (a *Allocator) Reserve(spi SPI) error {
	slot := spi.Slot()
	switch {
	case slot == 0 || spi.Worker() >= a.workers:
		return fmt.Errorf("reserve SPI %v: not of this layout with %d workers", spi, a.workers)
	case a.used[slot]:
		return fmt.Errorf("reserve SPI %v: slot is held by %v", spi, a.last[slot])
	}
	a.last[slot], a.used[slot] = spi, true
	return nil
}

// Free returns the SPI's slot. An SPI that is not in use is ignored.
func (a *Allocator) Free(spi SPI) {
	slot := spi.Slot()
	if !a.used[slot] || a.last[slot] != spi {
		return
	}
	a.used[slot] = false
	a.freed = append(a.freed, spi)
}

// takeSlot picks a slot that was never used, else the one that is free longest.
func (a *Allocator) takeSlot() (int, error) {
	for a.drawn < MaxSlots {
		slot := a.fresh.at(a.drawn)
		a.drawn++
		if slot != 0 && a.last[slot] == 0 {
			return slot, nil
		}
	}
	for a.head < len(a.freed) {
		spi := a.freed[a.head]
		a.head++
		a.compact()
		// Reserve may have taken the slot out of turn: then this entry is stale.
		if slot := spi.Slot(); !a.used[slot] && a.last[slot] == spi {
			return slot, nil
		}
	}
	return 0, ErrFull
}

// compact drops the consumed half of the queue.
func (a *Allocator) compact() {
	if a.head*2 >= len(a.freed) {
		a.freed = a.freed[:copy(a.freed, a.freed[a.head:])]
		a.head = 0
	}
}

// generation picks the slot's next generation out of two random bytes.
func (a *Allocator) generation(slot int, random [2]byte) uint8 {
	if a.last[slot] == 0 {
		return random[0]
	}
	// A step of 1..255 from the last generation reaches every other one.
	return uint8(a.last[slot]) + 1 + uint8(uint16(random[1])*255>>8)
}

// shuffle keys the order of fresh slots, once.
func (a *Allocator) shuffle() error {
	if a.fresh != nil {
		return nil
	}
	p := new(permutation)
	if _, err := io.ReadFull(a.rand, p.key[:]); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	a.fresh = p
	return nil
}

// permutation is a keyed order of all slots: a Feistel network over 18 bits,
// so that a random order costs neither a table nor 2^18 random numbers.
type permutation struct{ key [16]byte }

const (
	feistelRounds = 4
	halfBits      = 9 // MaxSlots is 2^18
	halfMask      = 1<<halfBits - 1
)

// at is the slot at position i, i < MaxSlots.
func (p *permutation) at(i uint32) int {
	left, right := i>>halfBits&halfMask, i&halfMask
	for round := range feistelRounds {
		left, right = right, left^p.round(uint8(round), right)
	}
	return int(left<<halfBits | right)
}

func (p *permutation) round(round uint8, half uint32) uint32 {
	b := append(p.key[:], round, byte(half>>8), byte(half))
	sum := sha256.Sum256(b)
	return (uint32(sum[0])<<8 | uint32(sum[1])) & halfMask
}
