package xsk

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Counts are what the engine itself saw since the socket was opened.
type Counts struct {
	TXCompleted    uint64 // frames the kernel has finished with
	TXFull         uint64 // Reserve returned nil
	BadSubmits     uint64 // Submit without a reserved frame, or with an impossible length
	BadDescriptors uint64 // the kernel handed over an address outside its half of the UMEM

	TXKicks, RXKicks uint64 // wake-up calls

	// Their outcomes, where not success.
	Again       uint64 // EAGAIN: more left than the TX budget
	Busy        uint64 // EBUSY: the device's queue refused a frame
	Interrupted uint64 // EINTR
	NoBuffers   uint64 // ENOBUFS
	NetDown     uint64 // ENETDOWN: the device is down
	Gone        uint64 // ENXIO: the device is deleted
	OtherErrors uint64
}

// Stats are the counts, and the kernel's own (XDP_STATISTICS).
type Stats struct {
	Counts
	Kernel unix.XDPStatistics
}

// Stats reads both. It is called by the goroutine that owns the socket.
func (s *Socket) Stats() (Stats, error) {
	out := Stats{Counts: s.counts}
	if s.fd < 0 {
		return out, nil
	}
	var err error
	out.Kernel, err = s.KernelStats()
	return out, err
}

// KernelStats reads the kernel's own. Any goroutine may call it, until Close.
func (s *Socket) KernelStats() (stats unix.XDPStatistics, err error) {
	if err := getsockopt(s.fd, unix.XDP_STATISTICS, &stats); err != nil {
		return stats, fmt.Errorf("getsockopt XDP_STATISTICS: %w", err)
	}
	return stats, nil
}

// getsockopt reads a structure of the SOL_XDP level.
func getsockopt[T any](fd, option int, into *T) error {
	size := uint32(unsafe.Sizeof(*into))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(unsafe.Pointer(into)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
