package sadb

import "fmt"

// SPI is a security parameters index (RFC 4303 §2.1). Those that Spindle
// hands out say who owns the SA:
//
//	 31        26 25                               8 7              0
//	+------------+----------------------------------+----------------+
//	| worker (6) |            slot (18)             | generation (8) |
//	+------------+----------------------------------+----------------+
//
// so a worker finds the SA by shift and index, without a hash. Slot 0 is never
// used, which keeps every SPI above the reserved range 0..255. An SPI that a
// peer chose is a plain number: do not ask it for its worker or slot.
type SPI uint32

// Limits of the SPI layout.
const (
	MaxWorkers = 1 << 6
	MaxSlots   = 1 << 18 // per database, slot 0 is reserved
)

// NewSPI composes an SPI. It panics when worker or slot is outside the layout
// or slot is 0: the allocator has lost count, and nothing safe can follow.
func NewSPI(worker, slot int, generation uint8) SPI {
	if uint(worker) >= MaxWorkers || slot <= 0 || slot >= MaxSlots {
		panic(fmt.Sprintf("sadb: no SPI for worker %d slot %d", worker, slot))
	}
	return SPI(uint32(worker)<<26 | uint32(slot)<<8 | uint32(generation))
}

// Worker is the index of the worker that owns both directions of the SA pair.
func (s SPI) Worker() int { return int(s >> 26) }

// Slot is the index of the SA pair in the database.
func (s SPI) Slot() int { return int(s>>8) & (MaxSlots - 1) }

func (s SPI) String() string { return fmt.Sprintf("0x%08x", uint32(s)) }
