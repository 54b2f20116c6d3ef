package xsk

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrGone says that the socket has lost its device for good: the link was
// deleted, or its driver let go of the queue. Only Close and Open help.
var ErrGone = errors.New("xsk: device gone")

// kickTX and kickRX use RawSyscall: the calls do not block (MSG_DONTWAIT) and
// are too short for the scheduler to take the processor away.

func (s *Socket) kickTX() {
	s.counts.TXKicks++
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	s.settle(errno)
}

func (s *Socket) kickRX() {
	s.counts.RXKicks++
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	s.settle(errno)
}

// Check asks the kernel whether the socket still has its device, for a worker
// that has nothing to send: poll does not report a deleted link. It returns
// what Flush would.
func (s *Socket) Check() error {
	if s.fd >= 0 {
		s.kickRX()
	}
	return s.fault
}

// settle counts the outcome of a kick. What the kernel reports as busy or out
// of memory passes by itself: the descriptors are still in the ring, or
// completed unsent, and the next loop goes on (xsk_generic_xmit in
// net/xdp/xsk.c). ENXIO is xsk_is_bound false, ENETDOWN a device not up.
func (s *Socket) settle(errno syscall.Errno) {
	s.paused, s.fault = errno == unix.ENETDOWN, nil
	switch errno {
	case 0:
	case unix.EAGAIN:
		s.counts.Again++
	case unix.EBUSY:
		s.counts.Busy++
	case unix.EINTR:
		s.counts.Interrupted++
	case unix.ENOBUFS:
		s.counts.NoBuffers++
	case unix.ENETDOWN:
		s.counts.NetDown++
	case unix.ENXIO:
		s.counts.Gone++
		s.fault = ErrGone
	default:
		s.counts.OtherErrors++
		s.fault = errno
	}
}
