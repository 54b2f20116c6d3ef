package xsk

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HugePages opens sockets with system calls of its own, their UMEM on 2 MiB
// pages that the host has reserved (Documentation/admin-guide/mm/hugetlbpage.rst).
// A frame is then found with one entry of the TLB for a thousand of them. It takes
// no privilege beyond that of the socket, and the pages go back with the process.
type HugePages struct{}

const hugePageSize = 2 << 20

// NoHugePagesError says that the host has not enough of them left.
type NoHugePagesError struct {
	Want           int  // for one queue
	Free, Reserved int  // in the whole host
	Denied         bool // those that are free are not for this process
}

func (e *NoHugePagesError) Error() string {
	text := fmt.Sprintf("no room for the umem: %d pages of 2 MiB are needed for this queue, and %d of the %d that the host has reserved are free",
		e.Want, e.Free, e.Reserved)
	if e.Denied {
		text += ", but not for this process: see hugetlb.2MB.max of its cgroup, and the NUMA nodes it may use"
	}
	return text
}

// Open implements [Opener].
func (HugePages) Open(c Config) (_ *Bound, err error) {
	umem, err := mapHugePages(c.Frames * c.FrameSize)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket AF_XDP: %w", err), unix.Munmap(umem))
	}
	closeBoth := func() error { return errors.Join(unix.Close(fd), unix.Munmap(umem)) }
	if err := register(fd, umem, c); err != nil {
		return nil, errors.Join(err, closeBoth())
	}
	at := &unix.SockaddrXDP{Flags: c.BindFlags, Ifindex: uint32(c.Ifindex), QueueID: uint32(c.Queue)}
	if err := unix.Bind(fd, at); err != nil {
		return nil, errors.Join(fmt.Errorf("bind: %w", err), closeBoth())
	}
	return &Bound{FD: fd, UMEM: umem[:c.Frames*c.FrameSize], PageSize: hugePageSize, Close: closeBoth}, nil
}

// register tells the kernel where frames are and how long its rings.
func register(fd int, umem []byte, c Config) error {
	area := unix.XDPUmemReg{
		Addr: uint64(uintptr(unsafe.Pointer(&umem[0]))), Len: uint64(c.Frames * c.FrameSize), Size: uint32(c.FrameSize),
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&area)), unsafe.Sizeof(area), 0)
	if errno != 0 {
		return fmt.Errorf("setsockopt XDP_UMEM_REG: %w", errno)
	}
	for _, ring := range []struct {
		name          string
		option, slots int
	}{
		{"XDP_UMEM_FILL_RING", unix.XDP_UMEM_FILL_RING, c.HalfSize},
		{"XDP_UMEM_COMPLETION_RING", unix.XDP_UMEM_COMPLETION_RING, c.HalfSize},
		{"XDP_RX_RING", unix.XDP_RX_RING, c.RXSize},
		{"XDP_TX_RING", unix.XDP_TX_RING, c.TXSize},
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, ring.option, ring.slots); err != nil {
			return fmt.Errorf("setsockopt %s: %w", ring.name, err)
		}
	}
	return nil
}

// mapHugePages maps n bytes, rounded up. Without MAP_NORESERVE the pages are
// counted off at once, so a host that has too few refuses here and not later with
// a signal (hugetlb_reserve_pages in mm/hugetlb.c). A cgroup, or the NUMA nodes that
// are allowed, may still refuse one when it is touched: MAP_POPULATE would not tell.
func mapHugePages(n int) ([]byte, error) {
	pages := (n + hugePageSize - 1) / hugePageSize
	none := func(denied bool) error {
		return &NoHugePagesError{Want: pages, Free: hugePages("free_hugepages"), Reserved: hugePages("nr_hugepages"), Denied: denied}
	}
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | unix.MAP_HUGE_2MB
	umem, err := unix.Mmap(-1, 0, pages*hugePageSize, unix.PROT_READ|unix.PROT_WRITE, flags)
	switch {
	case errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT): // the latter two: a kernel without this size
		return nil, none(false)
	case err != nil:
		return nil, fmt.Errorf("map umem on 2 MiB pages: %w", err)
	}
	if unix.Madvise(umem, unix.MADV_POPULATE_WRITE) != nil {
		return nil, errors.Join(none(true), unix.Munmap(umem))
	}
	return umem, nil
}

// hugePages reads one of the host's counts of 2 MiB pages; 0 if there is none.
func hugePages(count string) int {
	text, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/" + count)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}
