package keysock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrClosed says that the socket is closed: by Close, or because the
	// process at the other end is gone.
	ErrClosed = errors.New("key socket is closed")
	// ErrFull says that a message was dropped because the other process does
	// not keep up. Only messages that may be lost meet it.
	ErrFull = errors.New("key socket is full")
)

// sendBuffer is what Pair asks for: room for some hundred datagrams.
const sendBuffer = 1 << 20

// Pair makes the socket pair that joins the two processes. Each of them gets
// one file as an inherited descriptor.
func Pair() (*os.File, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open key socket pair: %w", err)
	}
	for _, fd := range fds {
		// Beyond wmem_max only with CAP_NET_ADMIN; a smaller buffer works too.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		}
	}
	return os.NewFile(uintptr(fds[0]), "keysock"), os.NewFile(uintptr(fds[1]), "keysock"), nil
}

// Conn is one end of the key socket. Any number of goroutines may send, one
// receives.
type Conn struct {
	socket *net.UnixConn
	raw    syscall.RawConn
	limit  int // bytes under way above which messages that may be lost are

	buffers  sync.Pool // of *[MaxMessage]byte, to send from
	received [MaxMessage]byte
	dropped  [verbs]atomic.Uint64
}

// New takes over one file of a Pair; f is closed in any case.
func New(f *os.File) (*Conn, error) {
	defer f.Close()
	fc, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open key socket: %w", err)
	}
	socket, ok := fc.(*net.UnixConn)
	if !ok || socket.LocalAddr().Network() != "unixpacket" {
		fc.Close()
		return nil, errors.New("open key socket: not a Unix SEQPACKET socket")
	}
	c := &Conn{socket: socket, buffers: sync.Pool{New: func() any { return new([MaxMessage]byte) }}}
	if c.raw, err = socket.SyscallConn(); err == nil {
		err = c.measure()
	}
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("open key socket: %w", err)
	}
	return c, nil
}

// measure sets the limit. The kernel wakes a blocked sender when less than a
// quarter of the buffer is under way (unix_writable in net/unix/af_unix.c).
// What may be lost stays below half of that, so a flood of it can never keep
// an Ack waiting.
func (c *Conn) measure() error {
	var size int
	var err error
	if ctl := c.raw.Control(func(fd uintptr) {
		size, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	}); ctl != nil {
		return ctl
	}
	c.limit = size / 8
	return err
}

// Close ends the conversation; the other process gets ErrClosed once it has
// read what was sent.
func (c *Conn) Close() error { return c.socket.Close() }

// SetReadDeadline and SetWriteDeadline bound Receive and blocking Sends, also
// those under way, which then fail with os.ErrDeadlineExceeded.
func (c *Conn) SetReadDeadline(t time.Time) error  { return c.socket.SetReadDeadline(t) }
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.socket.SetWriteDeadline(t) }

// mayDrop tells the messages that the network can cause without end. Their
// senders are workers, which never wait.
func (v verb) mayDrop() bool {
	return v == verbPunt || v == verbUnknownSPI || v == verbAcquire || v == verbSilence
}

// Send sends one message; seq is 0 for those that are no part of a request. A
// Punt, UnknownSPI or Acquire is dropped with ErrFull instead of waiting for
// room, all others wait. ErrClosed says that the other process is gone.
func (c *Conn) Send(seq uint32, m Message) error {
	buffer := c.buffers.Get().(*[MaxMessage]byte)
	defer c.buffers.Put(buffer)
	b, err := Append(buffer[:0], seq, m)
	if err != nil {
		return err
	}
	defer clear(b) // it may hold a key
	if m.verb().mayDrop() {
		err = c.sendNow(b)
	} else {
		_, err = c.socket.Write(b)
	}
	if errors.Is(err, ErrFull) {
		c.dropped[m.verb()].Add(1)
	}
	if err != nil {
		return fmt.Errorf("send %v: %w", m.verb(), sentinel(err))
	}
	return nil
}

// sendNow sends without waiting, nor for the lock that a waiting Send holds:
// RawConn.Control takes none, and the kernel queues a packet whole or not at all.
func (c *Conn) sendNow(b []byte) error {
	var err error
	ctl := c.raw.Control(func(fd uintptr) {
		var queued int
		if queued, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			return
		}
		if err = ErrFull; queued <= c.limit {
			err = unix.Send(int(fd), b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
	})
	switch {
	case ctl != nil:
		return ctl
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS):
		return ErrFull
	}
	return err
}

// Receive waits for the next message. An error that wraps ErrMalformed concerns
// this message only, and seq is its number; after any other one except a
// deadline the socket is of no use.
func (c *Conn) Receive() (seq uint32, m Message, err error) {
	n, _, flags, _, err := c.socket.ReadMsgUnix(c.received[:], nil)
	if err != nil {
		return 0, nil, fmt.Errorf("receive: %w", sentinel(err))
	}
	defer clear(c.received[:n])
	if flags&unix.MSG_TRUNC != 0 {
		return 0, nil, fmt.Errorf("receive: %w: longer than %d bytes", ErrMalformed, MaxMessage)
	}
	return Parse(c.received[:n])
}

// Drops are the messages dropped with ErrFull so far.
type Drops struct{ Punt, UnknownSPI, Acquire uint64 }

// Dropped counts what Send has dropped.
func (c *Conn) Dropped() Drops {
	return Drops{
		Punt:       c.dropped[verbPunt].Load(),
		UnknownSPI: c.dropped[verbUnknownSPI].Load(),
		Acquire:    c.dropped[verbAcquire].Load(),
	}
}

// sentinel turns the many ways in which a socket is gone into ErrClosed.
func sentinel(err error) error {
	for _, gone := range []error{io.EOF, net.ErrClosed, unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN, os.ErrClosed} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w (%w)", ErrClosed, err)
		}
	}
	return err
}

// sendWithin is Send bounded by a context. The caller is the only sender that
// uses write deadlines.
func (c *Conn) sendWithin(ctx context.Context, seq uint32, m Message) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetWriteDeadline(time.Unix(1, 0))
		close(ended)
	})
	err := c.Send(seq, m)
	if !stop() {
		<-ended
		_ = c.SetWriteDeadline(time.Time{}) // for the next sender
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
