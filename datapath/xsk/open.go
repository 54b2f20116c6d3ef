package xsk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// busyLimit bounds the wait for a queue that was in use a moment ago: the
// kernel frees it from a work queue, some milliseconds after the last
// reference is gone (xp_release_deferred in net/xdp/xsk_buff_pool.c).
const busyLimit = time.Second

// Opener creates an AF_XDP socket with its UMEM and binds it to a queue. An
// error for a queue in use wraps unix.EBUSY.
type Opener interface {
	Open(Config) (*Bound, error)
}

// Bound is what an Opener hands over. Nobody else uses the socket or maps its
// rings.
type Bound struct {
	FD       int
	UMEM     []byte
	PageSize int          // of the pages UMEM lies on, bytes
	Close    func() error // closes FD, then frees UMEM
}

// Open binds a socket to a queue of a device. Zero-copy is tried first; Mode
// says what was obtained. The caller attaches the XDP program and registers
// FD in its XSKMAP.
func Open(o Options) (*Socket, error) {
	c, err := o.config()
	if err != nil {
		return nil, fmt.Errorf("open xsk %s:%d: %w", o.deviceName(), o.Queue, err)
	}
	opener := o.Opener
	if opener == nil {
		opener = Asavie{}
	}
	bound, err := openWhenFree(opener, c)
	if err != nil {
		return nil, fmt.Errorf("bind xsk %s:%d: %w", c.Name, c.Queue, err)
	}
	s, err := start(bound, c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open xsk %s:%d: %w", c.Name, c.Queue, err), bound.Close())
	}
	return s, nil
}

func (o Options) deviceName() string {
	if o.Ifindex != 0 && o.Name == "" {
		return fmt.Sprintf("ifindex %d", o.Ifindex)
	}
	return o.Name
}

func openWhenFree(opener Opener, c Config) (*Bound, error) {
	deadline := time.Now().Add(busyLimit)
	for pause := 2 * time.Millisecond; ; pause *= 2 {
		bound, err := opener.Open(c)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return bound, explain(err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, fmt.Errorf("another socket holds this queue: %w", err)
		}
		time.Sleep(min(pause, left))
	}
}

// explain names the usual cause of an errno that does not speak for itself.
func explain(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w (does the device have that queue?)", err)
	}
	return err
}

// start maps the rings of a bound socket and gives the kernel the RX frames.
func start(bound *Bound, c Config) (*Socket, error) {
	layout, err := mapRings(bound.FD, c)
	if err != nil {
		return nil, err
	}
	options, err := unix.GetsockoptInt(bound.FD, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("getsockopt XDP_OPTIONS: %w", err), unmap(layout.mapped))
	}
	s := newSocket(bound.UMEM, layout, c)
	s.fd, s.bound, s.pageSize = bound.FD, bound, bound.PageSize
	s.mode = "copy"
	if options&unix.XDP_OPTIONS_ZEROCOPY != 0 {
		s.mode = "zero-copy"
	}
	s.setTXBudget(c.txBudget)
	s.wakeRX()
	// A zero-copy driver may answer ENXIO until its program is attached.
	s.fault, s.paused, s.counts = nil, false, Counts{}
	return s, nil
}

// newSocket puts an engine on mapped rings and gives it its frames: the RX
// half to the fill ring, the TX half to the free list.
func newSocket(umem []byte, l layout, c Config) *Socket {
	s := &Socket{
		fill: l.fill, rx: l.rx, tx: l.tx, completion: l.completion,
		umem: umem, mapped: l.mapped,
		frameSize: uint64(c.FrameSize),
		txBase:    uint64(len(umem) / 2),
		free:      make([]uint64, 0, c.Frames/2),
		maxKicks:  c.TXSize/kernelTXBudget + 1,
		fd:        -1,
	}
	for a := uint64(0); a < s.txBase; a += s.frameSize {
		s.fill.put(a)
		s.free = append(s.free, s.txBase+a)
	}
	s.fill.publish()
	return s
}

// kernelTXBudget is what the kernel sends per call unless told otherwise
// (MAX_PER_SOCKET_BUDGET, TX_BATCH_SIZE in net/xdp/xsk.c).
const kernelTXBudget = 32

// setTXBudget lifts that; kernels before 6.17 do not know the option and get
// more calls instead.
func (s *Socket) setTXBudget(frames int) {
	_ = unix.SetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, frames)
}

// detach leaves an engine without memory of the kernel's: empty rings, no frames.
func (s *Socket) detach() {
	l := plainRings(1)
	s.fill, s.rx, s.tx, s.completion = l.fill, l.rx, l.tx, l.completion
	s.frameSize = 1
}
