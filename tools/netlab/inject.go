package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Injector puts frames of any content on a link, as the namespace's own.
type Injector struct {
	fd, ifindex int
	MAC         net.HardwareAddr // of the link
}

// Inject opens a link of the namespace for frames. The caller closes it.
func (n *NS) Inject(link string) (in *Injector, err error) {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", link, n.Name, err)
	}
	in = &Injector{MAC: l.Attrs().HardwareAddr, ifindex: l.Attrs().Index}
	err = n.Do(func() (err error) {
		if in.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		if err := unix.Bind(in.fd, &unix.SockaddrLinklayer{Ifindex: in.ifindex}); err != nil {
			unix.Close(in.fd)
			return fmt.Errorf("bind packet socket to %s: %w", link, err)
		}
		return nil
	})
	return in, err
}

// Send puts one frame on the link, Ethernet header included.
func (in *Injector) Send(frame []byte) error {
	if _, err := unix.Write(in.fd, frame); err != nil {
		return fmt.Errorf("inject frame of %d bytes: %w", len(frame), err)
	}
	return nil
}

// Flood sends so many frames at a steady rate, frame by frame as next makes them,
// until it has or ctx is done. It returns how many it sent.
func (in *Injector) Flood(ctx context.Context, count, perSecond int, next func(i int) []byte) (sent int, err error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); sent < count; {
		select {
		case <-ctx.Done():
			return sent, ctx.Err()
		case <-tick.C:
		}
		due := min(count, int(time.Since(start).Seconds()*float64(perSecond)), sent+maxBurst)
		for ; sent < due; sent++ {
			if err := in.Send(next(sent)); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}

// Await returns the next frame that comes in by the link and is wanted.
func (in *Injector) Await(ctx context.Context, limit time.Duration, wanted func(frame []byte) bool) ([]byte, error) {
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	if err := unix.Bind(in.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: in.ifindex}); err != nil {
		return nil, fmt.Errorf("listen on link: %w", err)
	}
	buf := make([]byte, 1<<16)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && ctx.Err() == nil; {
		n, from, err := unix.Recvfrom(in.fd, buf, unix.MSG_DONTWAIT)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype != packetOutgoing && wanted(buf[:n]) {
			return append([]byte(nil), buf[:n]...), nil
		}
	}
	return nil, errors.New("no such frame came in")
}

// Close ends it.
func (in *Injector) Close() { unix.Close(in.fd) }

// HardwareAddr is the MAC of a link of the namespace.
func (n *NS) HardwareAddr(link string) (net.HardwareAddr, error) {
	l, err := n.nl.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", link, n.Name, err)
	}
	return l.Attrs().HardwareAddr, nil
}
