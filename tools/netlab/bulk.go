package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// BulkOptions describe a UDP stream. Give Packets or Duration, and Window or
// Rate or both.
type BulkOptions struct {
	Src, Dst netip.Addr
	Packets  int           // 0: until Duration is over
	Duration time.Duration // 0: until Packets are sent
	Size     int           // of the IP packet in bytes; 0: 1000

	// Window bounds how many packets are on their way (closed loop): the sender
	// waits for acknowledgements, so that it cannot overrun a veth ring of 256.
	// 0 with a Rate: no bound; 0 without: 64.
	Window int
	Rate   int // packets per second (open loop, paced); 0: as fast as the window lets
}

// BulkResult accounts for every packet.
type BulkResult struct {
	Sent, Received uint64 // received counts each packet once
	Lost           uint64
	Duplicated     uint64
	Reordered      uint64 // arrived after one sent later
	Corrupted      uint64 // of ours by its number, but not as it was sent
	Stalls         uint64 // how often the window got no acknowledgement in time
	SendErrors     uint64
	ChecksumErrors uint64 // UDP, counted by the receiving kernel
	BufferErrors   uint64 // receive socket overrun, counted by the receiving kernel
	Elapsed        time.Duration
	PacketsPerS    float64
	MbitPerS       float64 // of IP packets received
	LastError      error   // of sending
}

const (
	socketBuffer = 8 << 20
	stallAfter   = 200 * time.Millisecond
	giveUpAfter  = 25 // stalls in a row without any acknowledgement
	drainQuiet   = 500 * time.Millisecond
	defaultSize  = 1000
	window       = 64
)

func (o BulkOptions) withDefaults() (BulkOptions, error) {
	if o.Size == 0 {
		o.Size = defaultSize
	}
	if o.Window == 0 && o.Rate == 0 {
		o.Window = window
	}
	if o.Packets == 0 && o.Duration == 0 {
		return o, errors.New("bulk: neither packets nor duration")
	}
	if smallest := o.headers() + bulkHeader; o.Size < smallest || o.Size > 65535 {
		return o, fmt.Errorf("bulk: size %d is not in %d..65535", o.Size, smallest)
	}
	return o, nil
}

// headers are the bytes of IP and UDP header.
func (o BulkOptions) headers() int {
	if o.Dst.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// Bulk sends a stream from one namespace to another and accounts for every
// packet. Loss is a result; an error is a fault of the lab.
func Bulk(ctx context.Context, from, to *NS, o BulkOptions) (BulkResult, error) {
	o, err := o.withDefaults()
	if err != nil {
		return BulkResult{}, err
	}
	rx, err := listenUDP(to, o.Dst)
	if err != nil {
		return BulkResult{}, fmt.Errorf("bulk receiver in %s: %w", to.Name, err)
	}
	defer rx.Close()
	tx, err := dialUDP(from, o.Src, rx.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		return BulkResult{}, fmt.Errorf("bulk sender in %s: %w", from.Name, err)
	}
	defer tx.Close()
	before, err := readUDPErrors(to, o.Dst)
	if err != nil {
		return BulkResult{}, err
	}

	pattern := newPattern(o.Size - o.headers())
	receiver := newReceiver(rx, pattern)
	go receiver.run()
	sender := &sender{conn: tx, pattern: pattern, o: o}
	go sender.collectAcks()
	result := sender.run(ctx)
	receiver.drain(ctx, result.Sent)
	rx.Close()
	tx.Close()
	<-receiver.done

	receiver.account(&result, o)
	after, err := readUDPErrors(to, o.Dst)
	result.ChecksumErrors = after.checksum - before.checksum
	result.BufferErrors = after.buffer - before.buffer
	return result, errors.Join(err, ctx.Err())
}

func listenUDP(ns *NS, addr netip.Addr) (conn *net.UDPConn, err error) {
	err = ns.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, forceBuffer(conn, unix.SO_RCVBUFFORCE)
}

func dialUDP(ns *NS, src netip.Addr, dst netip.AddrPort) (conn *net.UDPConn, err error) {
	err = ns.Do(func() error {
		conn, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, 0)), net.UDPAddrFromAddrPort(dst))
		return err
	})
	return conn, err
}

// forceBuffer goes beyond net.core.rmem_max: a late receiver must not look like
// a lossy tunnel.
func forceBuffer(conn *net.UDPConn, option int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, socketBuffer)
	})
	return errors.Join(err, inner)
}
