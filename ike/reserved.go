package ike

import (
	"spindle/ike/session"
	"spindle/sadb"
)

// reserved hands out SPIs and knows those whose SA does not stand yet. A responder
// may send with one as soon as it has answered (RFC 7296 §2.8 has only rekeys wait):
// such ESP may overtake the answer, and is no sign of an SA that we lost.
type reserved struct {
	session.SPIs
	pending map[sadb.SPI]struct{}
}

func reserve(from session.SPIs) *reserved {
	return &reserved{from, make(map[sadb.SPI]struct{})}
}

func (r *reserved) Allocate(worker int) (sadb.SPI, error) {
	spi, err := r.SPIs.Allocate(worker)
	if err == nil {
		r.pending[spi] = struct{}{}
	}
	return spi, err
}

func (r *reserved) Free(spi sadb.SPI) {
	delete(r.pending, spi)
	r.SPIs.Free(spi)
}

// stands notes that the SA was installed.
func (r *reserved) stands(spi sadb.SPI) { delete(r.pending, spi) }

// awaits reports whether an SA with that SPI is being negotiated.
func (r *reserved) awaits(spi sadb.SPI) bool {
	_, ok := r.pending[spi]
	return ok
}
