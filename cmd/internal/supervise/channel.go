// Package supervise runs the two processes of a gateway: it starts them with
// nothing but a channel to itself, gives them their configuration and the two
// ends of a keysock over it, restarts the one that dies while the other goes on,
// and ends both in the right order.
//
// A child inherits these descriptors, and no other:
//
//	0, 1  /dev/null
//	2     the log, which is the supervisor's own standard error
//	3     the channel: a SEQPACKET socket, one JSON Message a packet
//	4     the lock of the runtime directory, held as long as any of the three lives
//
// Everything else arrives on the channel as SCM_RIGHTS:
//
//	datapath <- start   {datapath settings}
//	control  <- start   {config, listener}
//	both     <- keysock {keysock}  whenever both run; a new one replaces the old
//	control  <- config  {config}   the operator changed the file
//	control  <- reloaded           answers reload: empty error is success
//	both     -> ready              serving now
//	both     -> failed             why it is about to exit
//	control  -> reload             the operator asks for it through the API
//
// A child whose channel ends has lost its supervisor and exits. SIGTERM is the
// request to stop.
package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"spindle/cmd/internal/config"
)

// Descriptor numbers in a child.
const (
	channelFD = 3
	lockFD    = 4
)

// Kind is what a Message is about.
type Kind string

const (
	Start    Kind = "start"
	Keysock  Kind = "keysock"
	Config   Kind = "config"
	Ready    Kind = "ready"
	Failed   Kind = "failed"
	Reload   Kind = "reload"
	Reloaded Kind = "reloaded"
)

// Names of the descriptors that a Message carries.
const (
	keysockFile  = "keysock"
	configFile   = "config"
	listenerFile = "listener"
)

// Message is one packet on the channel.
type Message struct {
	Kind     Kind             `json:"kind"`
	Request  uint64           `json:"request,omitempty"` // chosen by who asks, repeated in the answer
	Error    string           `json:"error,omitempty"`
	Datapath *config.Datapath `json:"datapath,omitempty"`
	Carries  []string         `json:"carries,omitempty"` // the names of files, in order

	files []*os.File
}

// File takes the descriptor of that name out of the message: the caller closes it.
func (m *Message) File(name string) (*os.File, error) {
	i := slices.Index(m.Carries, name)
	if i < 0 || i >= len(m.files) || m.files[i] == nil {
		return nil, fmt.Errorf("message %s carries no %s", m.Kind, name)
	}
	f := m.files[i]
	m.files[i] = nil
	return f, nil
}

// Close closes the descriptors that nobody took.
func (m *Message) Close() {
	for _, f := range m.files {
		if f != nil {
			_ = f.Close()
		}
	}
	m.files = nil
}

// Keysock is the end of the socket pair that the message brought.
func (m *Message) Keysock() (*os.File, error) { return m.File(keysockFile) }

// Config reads the configuration that the message brought.
func (m *Message) Config() (*config.Config, error) {
	f, err := m.File(configFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return config.Decode(data)
}

// Listener is the API's socket that the message brought.
func (m *Message) Listener() (net.Listener, error) {
	f, err := m.File(listenerFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over listener: %w", err)
	}
	return l, nil
}

func (m *Message) carry(name string, f *os.File) {
	m.Carries = append(m.Carries, name)
	m.files = append(m.files, f)
}

// Channel is one end. Send and Receive may be called from two goroutines.
type Channel struct{ conn *net.UnixConn }

// Limits of one packet.
const (
	maxMessage = 64 << 10
	maxFiles   = 4
	sendWithin = 2 * time.Second // a child that does not read must not hold the supervisor
)

// Attach takes over the channel that this process was started with.
func Attach() (*Channel, error) {
	kind, err := unix.GetsockoptInt(channelFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return nil, errors.New("no supervisor on descriptor 3: this command is started by spindle run, not by hand")
	}
	unix.CloseOnExec(lockFD) // its number is reserved: nobody here uses it
	return newChannel(os.NewFile(channelFD, "supervisor"))
}

// newChannel takes f over.
func newChannel(f *os.File) (*Channel, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("open channel: a %T is no Unix socket", c)
	}
	return &Channel{u}, nil
}

// Send writes m with its files, which stay open here.
func (c *Channel) Send(m Message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	if len(text) > maxMessage {
		return fmt.Errorf("send %s: %d bytes are more than a message holds", m.Kind, len(text))
	}
	var rights []byte
	if len(m.files) > 0 {
		fds := make([]int, len(m.files))
		for i, f := range m.files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	if _, _, err := c.conn.WriteMsgUnix(text, rights, nil); err != nil {
		return fmt.Errorf("send %s: %w", m.Kind, err)
	}
	return nil
}

// Receive waits for the next message. io.EOF says that the other side is gone.
func (c *Channel) Receive() (*Message, error) {
	text := make([]byte, maxMessage)
	control := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, cn, flags, _, err := c.conn.ReadMsgUnix(text, control)
	if errors.Is(err, unix.ECONNRESET) {
		// It died without reading all of ours. The kernel says so once, before
		// what it had sent itself (unix_release_sock in net/unix/af_unix.c).
		n, cn, flags, _, err = c.conn.ReadMsgUnix(text, control)
	}
	if err != nil {
		return nil, err
	}
	m := &Message{}
	m.files, err = filesOf(control[:cn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("truncated")
	}
	if err == nil {
		err = json.Unmarshal(text[:n], m)
	}
	if err == nil && len(m.files) != len(m.Carries) {
		err = fmt.Errorf("%d descriptors for %d names", len(m.files), len(m.Carries))
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("receive message: %w", err)
	}
	return m, nil
}

func filesOf(control []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // some other ancillary data
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// Close ends the channel; the other side's Receive returns io.EOF.
func (c *Channel) Close() error { return c.conn.Close() }
