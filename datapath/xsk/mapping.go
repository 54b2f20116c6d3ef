package xsk

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// layout is the four rings, wherever their memory is.
type layout struct {
	fill       producer[uint64]
	rx         consumer[unix.XDPDesc]
	tx         producer[unix.XDPDesc]
	completion consumer[uint64]
	mapped     [][]byte
}

// mapRings maps the rings of a bound socket. Kernels from 6.6 on allow that
// after bind (xsk_mmap in net/xdp/xsk.c); the index and flag words lie where
// XDP_MMAP_OFFSETS says.
func mapRings(fd int, c Config) (layout, error) {
	var l layout
	var at unix.XDPMmapOffsets
	if err := getsockopt(fd, unix.XDP_MMAP_OFFSETS, &at); err != nil {
		return l, fmt.Errorf("getsockopt XDP_MMAP_OFFSETS: %w", err)
	}
	var failed error
	mem := func(ring string, page int64, o unix.XDPRingOffset, slots int, slot uintptr) []byte {
		if failed != nil {
			return nil
		}
		m, err := unix.Mmap(fd, page, int(o.Desc)+slots*int(slot), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			failed = fmt.Errorf("map %s ring: %w", ring, err)
			return nil
		}
		l.mapped = append(l.mapped, m)
		return m
	}
	const desc, addr = unsafe.Sizeof(unix.XDPDesc{}), unsafe.Sizeof(uint64(0))
	fill := mem("fill", unix.XDP_UMEM_PGOFF_FILL_RING, at.Fr, c.HalfSize, addr)
	completion := mem("completion", unix.XDP_UMEM_PGOFF_COMPLETION_RING, at.Cr, c.HalfSize, addr)
	rx := mem("rx", unix.XDP_PGOFF_RX_RING, at.Rx, c.RXSize, desc)
	tx := mem("tx", unix.XDP_PGOFF_TX_RING, at.Tx, c.TXSize, desc)
	if failed != nil {
		return l, errors.Join(failed, unmap(l.mapped))
	}
	l.fill = producerOn[uint64](fill, at.Fr, c.HalfSize)
	l.completion = consumerOn[uint64](completion, at.Cr, c.HalfSize)
	l.rx = consumerOn[unix.XDPDesc](rx, at.Rx, c.RXSize)
	l.tx = producerOn[unix.XDPDesc](tx, at.Tx, c.TXSize)
	return l, nil
}

// plainRings are rings of that many slots, a power of two, in ordinary memory.
func plainRings(slots int) layout {
	at := unix.XDPRingOffset{Producer: 0, Consumer: 64, Flags: 128, Desc: 192}
	mem := func() []byte {
		// In words, because the indices and descriptors must be aligned.
		words := make([]uint64, 24+2*slots)
		return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))
	}
	return layout{
		fill:       producerOn[uint64](mem(), at, slots),
		completion: consumerOn[uint64](mem(), at, slots),
		rx:         consumerOn[unix.XDPDesc](mem(), at, slots),
		tx:         producerOn[unix.XDPDesc](mem(), at, slots),
	}
}

func producerOn[T any](mem []byte, at unix.XDPRingOffset, slots int) producer[T] {
	r := producer[T]{
		slots: slotsAt[T](mem, at.Desc, slots), mask: uint32(slots - 1),
		shared: wordAt(mem, at.Producer), peer: wordAt(mem, at.Consumer), flags: wordAt(mem, at.Flags),
	}
	r.next, r.seen = r.shared.Load(), r.peer.Load()
	r.published = r.next
	return r
}

func consumerOn[T any](mem []byte, at unix.XDPRingOffset, slots int) consumer[T] {
	r := consumer[T]{
		slots: slotsAt[T](mem, at.Desc, slots), mask: uint32(slots - 1),
		shared: wordAt(mem, at.Consumer), peer: wordAt(mem, at.Producer),
	}
	r.next, r.seen = r.shared.Load(), r.peer.Load()
	r.released = r.next
	return r
}

func wordAt(mem []byte, offset uint64) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&mem[offset]))
}

func slotsAt[T any](mem []byte, offset uint64, n int) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[offset])), n)
}

func unmap(mapped [][]byte) error {
	var errs []error
	for _, m := range mapped {
		if err := unix.Munmap(m); err != nil {
			errs = append(errs, fmt.Errorf("unmap ring: %w", err))
		}
	}
	return errors.Join(errs...)
}
