package xsk

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"
)

// Asavie opens sockets with github.com/asavie/xdp v0.3.3: a UMEM of ordinary
// pages, one per socket. Of that library only NewSocket, FD, GetFrame and
// Close are used. Its ring code has no memory ordering, ignores need-wakeup
// and panics when the link goes down; its program code replaces whatever
// program is attached.
type Asavie struct{}

// asavieMutex guards the library's bind flags, which are a global variable,
// and the comparison of the process's mappings before and after.
var asavieMutex sync.Mutex

// Open implements [Opener].
func (Asavie) Open(c Config) (*Bound, error) {
	asavieMutex.Lock()
	defer asavieMutex.Unlock()
	before, err := ringMappings()
	if err != nil {
		return nil, err
	}
	socket, err := newAsavieSocket(c)
	if err != nil {
		return nil, errors.Join(restoreErrno(err), unmapStrays(before))
	}
	if err := unmapRings(socket.FD()); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return &Bound{
		FD:       socket.FD(),
		UMEM:     socket.GetFrame(xdp.Desc{Len: uint32(c.Frames * c.FrameSize)}),
		PageSize: os.Getpagesize(),
		Close:    socket.Close,
	}, nil
}

func newAsavieSocket(c Config) (*xdp.Socket, error) {
	was := xdp.DefaultSocketFlags
	defer func() { xdp.DefaultSocketFlags = was }()
	xdp.DefaultSocketFlags = c.BindFlags
	return xdp.NewSocket(c.Ifindex, c.Queue, &xdp.SocketOptions{
		NumFrames:              c.Frames,
		FrameSize:              c.FrameSize,
		FillRingNumDescs:       c.HalfSize,
		CompletionRingNumDescs: c.HalfSize,
		RxRingNumDescs:         c.RXSize,
		TxRingNumDescs:         c.TXSize,
	})
}

func bindFlags(copyMode bool) uint16 {
	// Neither XDP_COPY nor XDP_ZEROCOPY: the kernel tries zero-copy and falls
	// back by itself (xp_assign_dev in net/xdp/xsk_buff_pool.c).
	flags := uint16(unix.XDP_USE_NEED_WAKEUP)
	if copyMode {
		flags |= unix.XDP_COPY
	}
	return flags
}

// restoreErrno puts back the errno that the library has turned into text, for
// those that somebody branches on.
func restoreErrno(err error) error {
	for _, errno := range []unix.Errno{unix.EBUSY, unix.EINVAL, unix.EPERM, unix.ENOMEM, unix.ENODEV, unix.ENETDOWN} {
		if text, found := strings.CutSuffix(err.Error(), ": "+errno.Error()); found {
			return fmt.Errorf("%s: %w", text, errno)
		}
	}
	return err
}

// mapping is one line of /proc/self/maps that belongs to a socket.
type mapping struct {
	start, end, offset uint64
	inode              uint64
}

// unmapRings removes the library's own mappings of the rings, which it never
// unmaps and which would keep the queue taken after Close.
func unmapRings(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("stat xsk: %w", err)
	}
	all, err := ringMappings()
	if err != nil {
		return err
	}
	return all.unmapIf(func(inode uint64) bool { return inode == stat.Ino })
}

// unmapStrays removes what an attempt that failed left mapped: sockets that
// were not there before and have a fill ring, as only AF_XDP has.
func unmapStrays(before mappings) error {
	after, err := ringMappings()
	if err != nil {
		return err
	}
	known, stray := map[uint64]bool{}, map[uint64]bool{}
	for _, m := range before {
		known[m.inode] = true
	}
	for _, m := range after {
		if !known[m.inode] && m.offset == unix.XDP_UMEM_PGOFF_FILL_RING {
			stray[m.inode] = true
		}
	}
	return after.unmapIf(func(inode uint64) bool { return stray[inode] })
}

type mappings []mapping

func (all mappings) unmapIf(belongs func(inode uint64) bool) error {
	for _, m := range all {
		if !belongs(m.inode) {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MUNMAP, uintptr(m.start), uintptr(m.end-m.start), 0); errno != 0 {
			return fmt.Errorf("unmap ring of socket %d: %w", m.inode, errno)
		}
	}
	return nil
}

// ringMappings lists this process's mappings of sockets.
func ringMappings() (mappings, error) {
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("list mappings: %w", err)
	}
	var found mappings
	for line := range strings.Lines(string(text)) {
		if m, ok := parseMapping(line); ok {
			found = append(found, m)
		}
	}
	return found, nil
}

// parseMapping reads "start-end perms offset dev inode socket:[inode]"
// (proc_pid_maps(5)).
func parseMapping(line string) (m mapping, ok bool) {
	fields := strings.Fields(line)
	if len(fields) != 6 || !strings.HasPrefix(fields[5], "socket:[") {
		return m, false
	}
	start, end, _ := strings.Cut(fields[0], "-")
	var errs [4]error
	m.start, errs[0] = strconv.ParseUint(start, 16, 64)
	m.end, errs[1] = strconv.ParseUint(end, 16, 64)
	m.offset, errs[2] = strconv.ParseUint(fields[2], 16, 64)
	m.inode, errs[3] = strconv.ParseUint(fields[4], 10, 64)
	return m, errors.Join(errs[:]...) == nil
}
