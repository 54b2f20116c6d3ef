package esp

import (
	"encoding/binary"

	"spindle/sadb"
)

// Window is the replay window for its own tests.
type Window = window

func NewWindow(size uint32, esn bool) (Window, error) { return newWindow(size, esn) }

func (w *Window) Complete(low uint32) (uint64, bool) { return w.complete(low) }
func (w *Window) Fresh(seq uint64) bool              { return w.fresh(seq) }
func (w *Window) Commit(seq uint64)                  { w.commit(seq) }
func (w *Window) Top() uint64                        { return w.top }
func (w *Window) SetTop(seq uint64)                  { w.top = seq }

// SetTop places an inbound SA in the middle of its life.
func (in *Inbound) SetTop(seq uint64) { in.window.top = seq }

// SetSequence places an outbound SA near its end.
func (o *Outbound) SetSequence(seq uint64) { o.sequence = seq }

// Unprotect runs a suite alone, for vectors whose plaintext is no IP packet or
// whose SPI is reserved.
func (c *Crypto) Unprotect(sa *sadb.SA, packet []byte, seq uint64) ([]byte, bool) {
	s, _ := Find(sa.Suite)
	p, err := s.protector(sa, c, new(kernel))
	if err != nil {
		return nil, false
	}
	defer p.wipe()
	dst := make([]byte, len(packet)-HeaderLen-s.IVLen-s.ICVLen, len(packet))
	return dst, p.open(dst, packet, seq)
}

// Protect seals a plaintext with its trailer under a sequence number.
func (c *Crypto) Protect(sa *sadb.SA, plain []byte, seq uint64) ([]byte, error) {
	s, _ := Find(sa.Suite)
	p, err := s.protector(sa, c, new(kernel))
	if err != nil {
		return nil, err
	}
	defer p.wipe()
	esp := make([]byte, HeaderLen+s.IVLen+len(plain)+s.ICVLen)
	binary.BigEndian.PutUint32(esp, uint32(sa.SPI))
	binary.BigEndian.PutUint32(esp[4:], uint32(seq))
	copy(esp[HeaderLen+s.IVLen:], plain)
	p.seal(esp, seq)
	return esp, nil
}
