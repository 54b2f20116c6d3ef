package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// TCPResult is what a TCP stream achieved.
type TCPResult struct {
	Bytes       int64 // arrived in order and intact
	Elapsed     time.Duration
	MbitPerS    float64
	Retransmits uint32 // segments, by the sender's kernel
}

const (
	tcpChunk   = 64 << 10
	tcpConnect = 10 * time.Second
)

// BulkTCP sends as much as goes through in the duration. That the received bytes
// are not those sent is an error.
func BulkTCP(ctx context.Context, from, to *NS, src, dst netip.Addr, duration time.Duration) (TCPResult, error) {
	var listener *net.TCPListener
	err := to.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(dst, 0)))
		return err
	})
	if err != nil {
		return TCPResult{}, fmt.Errorf("listen in %s: %w", to.Name, err)
	}
	defer listener.Close()
	chunk := newPattern(tcpChunk).bytes[:tcpChunk]
	received := make(chan tcpReceived, 1)
	go receiveTCP(listener, chunk, received)

	var conn net.Conn
	err = from.Do(func() (err error) {
		dialer := net.Dialer{Timeout: tcpConnect, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0))}
		conn, err = dialer.DialContext(ctx, "tcp", listener.Addr().String())
		return err
	})
	if err != nil {
		return TCPResult{}, fmt.Errorf("connect from %s: %w", from.Name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close(); listener.Close() })
	defer stop()
	return sendTCP(conn.(*net.TCPConn), chunk, duration, received)
}

type tcpReceived struct {
	bytes int64
	err   error
}

func receiveTCP(listener *net.TCPListener, chunk []byte, done chan<- tcpReceived) {
	conn, err := listener.Accept()
	if err != nil {
		done <- tcpReceived{err: err}
		return
	}
	defer conn.Close()
	var total int64
	buf := make([]byte, len(chunk))
	for {
		n, err := io.ReadFull(conn, buf)
		if !bytes.Equal(buf[:n], chunk[:n]) {
			done <- tcpReceived{total, fmt.Errorf("the stream is damaged after byte %d", total)}
			return
		}
		total += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			done <- tcpReceived{bytes: total}
			return
		}
		if err != nil {
			done <- tcpReceived{total, err}
			return
		}
	}
}

func sendTCP(conn *net.TCPConn, chunk []byte, duration time.Duration, received <-chan tcpReceived) (TCPResult, error) {
	start := time.Now()
	if err := conn.SetDeadline(start.Add(duration + tcpConnect)); err != nil {
		return TCPResult{}, err
	}
	for time.Since(start) < duration {
		if _, err := conn.Write(chunk); err != nil {
			return TCPResult{}, fmt.Errorf("send: %w", err)
		}
	}
	again, err := retransmits(conn)
	if err != nil {
		return TCPResult{}, err
	}
	if err := conn.CloseWrite(); err != nil {
		return TCPResult{}, fmt.Errorf("end stream: %w", err)
	}
	select {
	case r := <-received:
		elapsed := time.Since(start)
		return TCPResult{Bytes: r.bytes, Elapsed: elapsed, Retransmits: again,
			MbitPerS: float64(r.bytes) * 8 / 1e6 / elapsed.Seconds()}, r.err
	case <-time.After(tcpConnect):
		return TCPResult{}, errors.New("the end of the stream does not arrive")
	}
}

func retransmits(conn *net.TCPConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	var inner error
	err = raw.Control(func(fd uintptr) { info, inner = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(err, inner); err != nil {
		return 0, fmt.Errorf("read TCP info: %w", err)
	}
	return info.Total_retrans, nil
}
