package session

import "spindle/sadb"

// SPIs hands out the SPIs of inbound child SAs. *sadb.Allocator is one.
type SPIs interface {
	// Allocate returns an unused SPI whose SA pair the given worker owns, modulo
	// how many there are; a negative worker takes the next one in turn.
	Allocate(worker int) (sadb.SPI, error)
	// Free gives the SPI back once the data path was told to delete the SA.
	Free(sadb.SPI)
}
