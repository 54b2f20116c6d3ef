package datapath

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"spindle/bpf"
	"spindle/datapath/fib"
	"spindle/datapath/xsk"
	"spindle/sadb/keysock"
)

// Link is a network interface that is to become a port.
type Link struct {
	net.Interface
	Port            int // our own number for it, from 0
	Outside, Inside bool
	Queues          int  // RX queues in use
	Software        bool // veth, tap, virtio: its peers leave checksums to hardware that is not there
}

// FindLinks looks up the configured interfaces in the current network
// namespace. A name in both lists becomes one port with both roles.
func FindLinks(outside, inside []string) ([]Link, error) {
	var links []Link
	for _, name := range append(slices.Clone(outside), inside...) {
		if slices.ContainsFunc(links, func(l Link) bool { return l.Name == name }) {
			continue
		}
		l := Link{Port: len(links), Outside: slices.Contains(outside, name), Inside: slices.Contains(inside, name)}
		found, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("port %s: no such interface in this network namespace, correct `outside` or `inside`: %w", name, err)
		}
		l.Interface = *found
		if len(l.HardwareAddr) != 6 || l.Flags&net.FlagLoopback != 0 {
			return nil, fmt.Errorf("port %s: not an Ethernet interface", name)
		}
		if l.Queues, l.Software, err = describeLink(name); err != nil {
			return nil, fmt.Errorf("port %s: %w", name, err)
		}
		links = append(links, l)
	}
	if len(links) == 0 {
		return nil, errors.New("no ports: name at least one interface under `outside` or `inside`")
	}
	return links, sameQueues(links)
}

// sameQueues refuses ports between which a worker could not forward: worker n
// owns queue n of each.
func sameQueues(links []Link) error {
	for _, l := range links[1:] {
		if first := links[0]; l.Queues != first.Queues {
			return fmt.Errorf("port %s has %d receive queues and port %s has %d: give both the same number with `ethtool -L`",
				first.Name, first.Queues, l.Name, l.Queues)
		}
	}
	return nil
}

// ethtoolChannels is struct ethtool_channels (linux/ethtool.h).
type ethtoolChannels struct {
	cmd                                      uint32
	maxRX, maxTX, maxOther, maxCombined      uint32
	rxCount, txCount, otherCount, inCombined uint32
}

// describeLink asks the driver how many RX queues are in use and who it is. A
// driver that does not tell has one queue. A worker sends by the TX queue of its
// number, so there must be as many of those: without, the kernel answers ENXIO.
func describeLink(name string) (queues int, software bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false, err
	}
	defer unix.Close(fd)
	if info, err := unix.IoctlGetEthtoolDrvinfo(fd, name); err == nil {
		driver := unix.ByteSliceToString(info.Driver[:])
		software = slices.Contains([]string{"veth", "tun", "virtio_net"}, driver)
	}
	channels := ethtoolChannels{cmd: unix.ETHTOOL_GCHANNELS}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is 40 bytes
	}{data: unsafe.Pointer(&channels)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 1, software, nil
	}
	queues = max(1, int(channels.rxCount+channels.inCombined))
	if tx := max(1, int(channels.txCount+channels.inCombined)); tx < queues {
		return 0, false, fmt.Errorf("%d receive queues and only %d transmit queues: give it the same number of both with `ethtool -L`", queues, tx)
	}
	return queues, software, nil
}

// SameQueues looks whether the links still have as many receive queues as when they
// were found (`ethtool -L`): frames of a new queue would find no worker. The kernel
// itself refuses to take away a queue that has a socket.
func SameQueues(links []Link) error {
	for _, l := range links {
		if now, _, err := describeLink(l.Name); err == nil && now != l.Queues {
			return fmt.Errorf("port %s has %d receive queues now and had %d: opening the ports anew", l.Name, now, l.Queues)
		}
	}
	return nil
}

// FIBPorts are the links as the route mirror numbers them.
func FIBPorts(links []Link) []fib.Port {
	ports := make([]fib.Port, len(links))
	for i, l := range links {
		ports[i] = fib.Port{Ifindex: l.Index, Index: l.Port}
	}
	return ports
}

// Ports are the opened ports: the XDP program attached and an AF_XDP socket on
// each queue.
type Ports struct {
	Modes    []string // for the operator, one a port: "eth1: native XDP, zero-copy, 4 queues, 2 MiB pages"
	steer    *bpf.Steer
	links    []Link
	attached int             // how many of links have the program
	sockets  [][]*xsk.Socket // by port, then by queue
}

// OpenPorts attaches the steering program to the links and opens their sockets, on
// the pages that umem asks for (see xsk.OpenerFor). Until a socket is there the
// kernel keeps the frames of its queue.
func OpenPorts(links []Link, steer *bpf.Steer, mode bpf.Mode, umem string) (_ *Ports, err error) {
	opener, err := xsk.OpenerFor(umem)
	if err != nil {
		return nil, err
	}
	p := &Ports{steer: steer, links: links}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	for _, l := range links {
		xdp, err := steer.Attach(l.Index, bpf.PortConfig{Index: l.Port, Role: l.role(), MAC: l.HardwareAddr, Mode: mode})
		if err != nil {
			return nil, err
		}
		p.attached++
		if err := p.openQueues(l, opener); err != nil {
			return nil, p.enoughPages(err)
		}
		sockets := p.sockets[l.Port]
		p.Modes = append(p.Modes, fmt.Sprintf("%s: %s XDP, %s, %d queues, %s", l.Name, xdp, sockets[0].Mode(), l.Queues, xsk.Pages(sockets)))
	}
	return p, nil
}

func (l Link) role() (r bpf.Role) {
	if l.Outside {
		r |= bpf.Outside
	}
	if l.Inside {
		r |= bpf.Inside
	}
	return r
}

// enoughPages adds to a refusal for want of 2 MiB pages how many it takes in all.
func (p *Ports) enoughPages(err error) error {
	none := (*xsk.NoHugePagesError)(nil)
	if !errors.As(err, &none) || none.Denied {
		return err
	}
	ours := 0
	for _, queues := range p.sockets {
		ours += len(queues)
	}
	all := none.Want * len(p.links) * p.links[0].Queues
	others := none.Reserved - none.Free - none.Want*ours
	return fmt.Errorf("umem: hugepages: %w; all ports take %d: set `sysctl vm.nr_hugepages=%d`, or write umem: auto", err, all, others+all)
}

func (p *Ports) openQueues(l Link, opener xsk.Opener) error {
	p.sockets = append(p.sockets, nil)
	for queue := range l.Queues {
		s, err := xsk.Open(xsk.Options{Ifindex: l.Index, Queue: queue, Opener: opener})
		if err != nil {
			return err
		}
		p.sockets[l.Port] = append(p.sockets[l.Port], s)
		if err := p.steer.RegisterSocket(l.Port, queue, s.FD()); err != nil {
			return err
		}
	}
	return nil
}

// Workers is how many workers it takes: one for each queue.
func (p *Ports) Workers() int { return p.links[0].Queues }

// Queues lists the ports as worker n sees them, for NewGroup.
func (p *Ports) Queues() [][]Port {
	workers := make([][]Port, p.Workers())
	for n := range workers {
		for _, l := range p.links {
			workers[n] = append(workers[n], Port{
				Name: l.Name, Outside: l.Outside, Inside: l.Inside,
				RepairChecksum: l.Software, Queue: p.sockets[l.Port][n],
			})
		}
	}
	return workers
}

// Name is the interface name of a port; bpf.NoPort counts frames of none.
func (p *Ports) Name(port int) string {
	if port < 0 || port >= len(p.links) {
		return "elsewhere"
	}
	return p.links[port].Name
}

// Counters emits what the kernel dropped between the steering program and the
// workers, a set for each socket: frames that found the RX ring full because the
// worker was late, and frames for which there was no room in the UMEM.
func (p *Ports) Counters(emit func(keysock.Counters) error) error {
	for _, l := range p.links {
		for queue, s := range p.sockets[l.Port] {
			stats, err := s.KernelStats()
			if err != nil {
				return fmt.Errorf("port %s queue %d: %w", l.Name, queue, err)
			}
			err = emit(keysock.Counters{
				Source: fmt.Sprintf("xsk %s queue %d", l.Name, queue),
				Names:  []string{"drop_rx_ring_full", "drop_rx_no_frame", "drop_bad_descriptor"},
				Values: []uint64{stats.Rx_ring_full, stats.Rx_dropped, stats.Rx_invalid_descs + stats.Tx_invalid_descs},
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Close detaches the program and closes the sockets. The workers must have
// stopped. A second Close does nothing.
func (p *Ports) Close() error {
	var errs []error
	for _, l := range p.links[:p.attached] {
		errs = append(errs, p.steer.Detach(l.Index))
	}
	p.attached = 0
	for _, queues := range p.sockets {
		for _, s := range queues {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
