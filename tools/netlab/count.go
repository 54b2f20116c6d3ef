package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	packetIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING, linux/if_packet.h
	sampleBuffer         = 64 << 10
)

// Tally is a number of frames and their bytes, Ethernet header included.
type Tally struct{ Frames, Bytes uint64 }

// Counts is what was seen, exactly: the kernel counts while it receives, and no
// frame has to reach a buffer.
type Counts struct {
	Total     Tally
	ESP       Tally // IP protocol 50
	ESPinUDP  Tally // port 4500 without the marker
	IKE       Tally // port 500, or port 4500 with the marker
	Keepalive Tally // port 4500, one byte
	ARP       Tally
	ND        Tally // IPv6 neighbour discovery, routers included
	Multicast Tally // IGMP and MLD
	Fragment  Tally // of UDP, beyond the first: the ports are not in it
	Other     Tally // not IP
	Clear     Tally // any other IP, and all from or to protected prefixes
	Short     uint64
}

func (c Counts) String() string {
	var b strings.Builder
	for _, t := range []struct {
		name string
		n    uint64
	}{
		{"esp", c.ESP.Frames}, {"esp-in-udp", c.ESPinUDP.Frames}, {"ike", c.IKE.Frames}, {"keepalive", c.Keepalive.Frames},
		{"arp", c.ARP.Frames}, {"nd", c.ND.Frames}, {"multicast", c.Multicast.Frames}, {"fragment", c.Fragment.Frames},
		{"other", c.Other.Frames}, {"clear", c.Clear.Frames}, {"short", c.Short},
	} {
		if t.n > 0 {
			fmt.Fprintf(&b, "%s=%d ", t.name, t.n)
		}
	}
	return strings.TrimSpace(b.String())
}

// Counter counts frames that arrive at interfaces. Frames that leave by them are
// not counted, so on a bridge each frame counts once, where it comes in.
type Counter struct {
	mu      sync.Mutex
	sockets []int
	counts  *ebpf.Map
	program *ebpf.Program
	samples [][]byte
}

const maxSamples = 32

// Count starts counting at the interfaces of the namespace.
func (n *NS) Count(protected []netip.Prefix, interfaces ...string) (*Counter, error) {
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: uint32(classes)})
	if err != nil {
		return nil, fmt.Errorf("make count map: %w", err)
	}
	c := &Counter{counts: counts}
	c.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "netlab_count", Type: ebpf.SocketFilter, License: "MIT", Instructions: classify(counts.FD(), protected),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load counter: %w", err), c.Close())
	}
	for _, name := range interfaces {
		if err := n.Do(func() error { return c.listen(n, name) }); err != nil {
			return nil, errors.Join(fmt.Errorf("count at %s:%s: %w", n.Name, name, err), c.Close())
		}
	}
	return c, nil
}

// listen attaches the filter before it binds, so that no frame goes past it.
func (c *Counter) listen(n *NS, name string) error {
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	c.sockets = append(c.sockets, fd)
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_ATTACH_BPF, c.program.FD()},
		{unix.SOL_PACKET, packetIgnoreOutgoing, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, sampleBuffer},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("socket option %d: %w", o.name, err)
		}
	}
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
}

// Read returns the counts so far.
func (c *Counter) Read() (Counts, error) {
	var raw [classes]Tally
	for k := range classes {
		if err := c.counts.Lookup(uint32(k), &raw[k]); err != nil {
			return Counts{}, fmt.Errorf("read counts: %w", err)
		}
	}
	seen := uint64(0)
	for k := classESP; k < classes; k++ {
		seen += raw[k].Frames
	}
	// Classes are read after the total, so a frame in between must not make a
	// negative number of short ones.
	short := max(raw[classTotal].Frames, seen) - seen
	return Counts{
		Total: raw[classTotal], ESP: raw[classESP], ESPinUDP: raw[classESPinUDP], IKE: raw[classIKE],
		Keepalive: raw[classKeepalive], ARP: raw[classARP], ND: raw[classND], Multicast: raw[classMulticast],
		Fragment: raw[classFragment], Other: raw[classOther], Clear: raw[classClear], Short: short,
	}, nil
}

// Samples are the beginnings of some clear frames, the earliest ones.
func (c *Counter) Samples() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf := make([]byte, sampleBytes)
	for _, fd := range c.sockets {
		for len(c.samples) < maxSamples {
			n, err := unix.Read(fd, buf)
			if err != nil {
				break
			}
			c.samples = append(c.samples, append([]byte(nil), buf[:n]...))
		}
	}
	return append([][]byte(nil), c.samples...)
}

// Close stops counting.
func (c *Counter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, fd := range c.sockets {
		unix.Close(fd)
	}
	c.sockets = nil
	var program error
	if c.program != nil {
		program = c.program.Close()
	}
	return errors.Join(program, c.counts.Close())
}
