package xsk

import (
	"fmt"
	"math/bits"
	"net"
)

const (
	defaultRingSize = 2048
	defaultTXBudget = 64

	smallFrame = 2048
	largeFrame = 4096

	// What the kernel takes away from a frame: XDP_PACKET_HEADROOM in front,
	// and an Ethernet header, two VLAN tags and the frame check sequence
	// beside the MTU (xp_assign_dev in net/xdp/xsk_buff_pool.c, and drivers).
	headroom     = 256
	linkOverhead = 14 + 2*4 + 4
)

// Options say which queue to open and how much memory to give it. The zero
// value of every size asks for the default.
type Options struct {
	Ifindex int    // the device, or
	Name    string // its name; Ifindex goes first
	Queue   int

	RingSize  int  // slots of the RX and of the TX ring, a power of two; default 2048
	Frames    int  // of the UMEM, one half RX and one half TX, a power of two; default 2 × RingSize
	FrameSize int  // bytes, 2048 or 4096; default: the smallest that carries the device's MTU
	TXBudget  int  // frames the kernel sends per wake-up in copy mode, 32..RingSize; default 64
	Copy      bool // do not try zero-copy

	Opener Opener // default: [Asavie]
}

// Config is what an [Opener] gets: options with every default filled in.
type Config struct {
	Ifindex   int
	Name      string
	Queue     int
	RXSize    int // slots of the RX ring
	TXSize    int // slots of the TX ring
	HalfSize  int // slots of the fill and of the completion ring: one for each frame of a half
	Frames    int
	FrameSize int
	BindFlags uint16 // XDP_USE_NEED_WAKEUP, XDP_COPY

	txBudget int
}

// MaxMTU is the largest MTU whose packets fit frames of frameSize bytes.
func MaxMTU(frameSize int) int { return frameSize - headroom - linkOverhead }

func (o Options) config() (Config, error) {
	link, err := o.link()
	if err != nil {
		return Config{}, err
	}
	c := Config{Ifindex: link.Index, Name: link.Name, Queue: o.Queue}
	if o.Queue < 0 {
		return c, fmt.Errorf("queue %d: must not be negative", o.Queue)
	}
	if err := o.sizes(&c); err != nil {
		return c, err
	}
	if c.FrameSize, err = frameSizeFor(link.MTU, o.FrameSize); err != nil {
		return c, err
	}
	c.BindFlags = bindFlags(o.Copy)
	return c, nil
}

func (o Options) link() (*net.Interface, error) {
	if o.Ifindex != 0 {
		return net.InterfaceByIndex(o.Ifindex)
	}
	return net.InterfaceByName(o.Name)
}

func (o Options) sizes(c *Config) error {
	ring := orDefault(o.RingSize, defaultRingSize)
	c.RXSize, c.TXSize = ring, ring
	c.Frames = orDefault(o.Frames, 2*ring)
	c.HalfSize = c.Frames / 2
	c.txBudget = orDefault(o.TXBudget, min(defaultTXBudget, ring))
	switch {
	case !powerOfTwo(ring) || ring < 64 || ring > 1<<15:
		return fmt.Errorf("ring size %d: must be a power of two, 64 to 32768", ring)
	case !powerOfTwo(c.Frames) || c.Frames < 128 || c.Frames > 1<<16:
		return fmt.Errorf("frames %d: must be a power of two, 128 to 65536", c.Frames)
	case c.txBudget < 32 || c.txBudget > ring:
		return fmt.Errorf("tx budget %d: must be 32 to the ring size, %d", c.txBudget, ring)
	}
	return nil
}

// frameSizeFor chooses the frame size for an MTU, or checks the wanted one.
// Larger packets would need multi-buffer descriptors, which are not used.
func frameSizeFor(mtu, wanted int) (int, error) {
	if mtu > MaxMTU(largeFrame) {
		return 0, fmt.Errorf("mtu %d is larger than the %d that one frame carries: set the device's mtu to %d or less",
			mtu, MaxMTU(largeFrame), MaxMTU(largeFrame))
	}
	switch {
	case wanted == 0 && mtu <= MaxMTU(smallFrame):
		return smallFrame, nil
	case wanted == 0:
		return largeFrame, nil
	case wanted != smallFrame && wanted != largeFrame:
		return 0, fmt.Errorf("frame size %d: must be %d or %d", wanted, smallFrame, largeFrame)
	case mtu > MaxMTU(wanted):
		return 0, fmt.Errorf("mtu %d is larger than the %d that frames of %d bytes carry: use frames of %d bytes, or lower the mtu",
			mtu, MaxMTU(wanted), wanted, largeFrame)
	}
	return wanted, nil
}

func orDefault(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func powerOfTwo(n int) bool { return n > 0 && bits.OnesCount(uint(n)) == 1 }
