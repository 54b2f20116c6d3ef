package xsk

import (
	"golang.org/x/sys/unix"
)

// minFrame is an Ethernet header: anything shorter is refused by the kernel,
// and a refused descriptor never comes back through the completion ring.
const minFrame = 14

// Socket is one queue of a device, bound and ready. It has the methods of
// datapath.Queue. All of them belong to one goroutine, except Mode.
type Socket struct {
	// RX, in the order a frame travels.
	fill producer[uint64]
	rx   consumer[unix.XDPDesc]

	// TX.
	tx         producer[unix.XDPDesc]
	completion consumer[uint64]
	free       []uint64 // TX frames neither reserved nor with the kernel; last out, first in, for warm caches
	inFlight   uint32   // TX frames with the kernel
	lent       []byte   // by Reserve, until Submit
	reserved   uint64   // where it lies in the UMEM

	umem      []byte
	frameSize uint64
	txBase    uint64 // where the TX half of the UMEM begins
	maxKicks  int

	fd     int
	paused bool
	fault  error
	counts Counts

	mode     string
	pageSize int
	mapped   [][]byte
	bound    *Bound
}

// FD is polled for received frames; -1 once closed.
func (s *Socket) FD() int { return s.fd }

// Mode is how frames cross between the driver and the UMEM: "zero-copy" or "copy".
func (s *Socket) Mode() string { return s.mode }

// FrameSize is the length in bytes of what Reserve returns.
func (s *Socket) FrameSize() int { return int(s.frameSize) }

// Paused reports whether the device is down. Frames submitted meanwhile wait
// in the TX ring until it is up again.
func (s *Socket) Paused() bool { return s.paused }

// Close frees the queue, so that it can be opened again. Frames still in the
// worker's hands must not be touched any more; the methods do nothing.
func (s *Socket) Close() error {
	if s.bound == nil {
		return nil
	}
	bound := s.bound
	mapped := s.mapped
	*s = Socket{fd: -1, counts: s.counts, mode: s.mode, pageSize: s.pageSize}
	s.detach()
	// The mappings hold a reference to the socket: while one is left, the
	// queue stays taken although the descriptor is closed.
	err := unmap(mapped)
	if cerr := bound.Close(); err == nil {
		err = cerr
	}
	return err
}
