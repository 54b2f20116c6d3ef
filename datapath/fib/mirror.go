package fib

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	settle        = 3 * time.Millisecond // changes come in bursts; one table answers all of them
	retry         = 250 * time.Millisecond
	stopPoll      = 200 * time.Millisecond
	receiveBuffer = 4 << 20
)

var errClosed = errors.New("fib mirror is closed")

// Mirror follows the kernel. Its methods may be called from any goroutine.
type Mirror struct {
	ports   []Port
	handle  *netlink.Handle
	events  *nl.NetlinkSocket
	table   atomic.Pointer[Table]
	changes chan struct{}
	lost    atomic.Uint64

	mu      sync.Mutex // guards what follows
	state   *snapshot
	managed map[neighKey]bool // neighbours that we asked the kernel to keep resolved
	closed  bool
}

// New opens the netlink sockets in the calling thread's network namespace; the
// mirror stays in it. The table is empty until Sync or Run.
func New(ports []Port) (*Mirror, error) {
	events, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe rtnetlink: %w", err)
	}
	// Best effort: with the default size a burst costs a resync, nothing more.
	_ = events.SetReceiveBufferSize(receiveBuffer, true)
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		events.Close()
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	m := &Mirror{
		ports: slices.Clone(ports), handle: handle, events: events,
		changes: make(chan struct{}, 1), managed: map[neighKey]bool{}, state: &snapshot{},
	}
	m.table.Store(&Table{})
	return m, nil
}

// Table is the newest snapshot, never nil.
func (m *Mirror) Table() *Table { return m.table.Load() }

// Changes receives a value after a new table was published; several
// publications may share one value. It is for a single reader.
func (m *Mirror) Changes() <-chan struct{} { return m.changes }

// Lost counts how often the kernel had more events than the socket could hold;
// each time everything was read again.
func (m *Mirror) Lost() uint64 { return m.lost.Load() }

// Sync reads everything from the kernel and publishes it.
func (m *Mirror) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	state, err := dump(m.handle)
	if err != nil {
		return err
	}
	m.state = state
	m.forgetManaged()
	m.publish()
	return nil
}

// publish compiles the state and lets the kernel know which neighbours matter.
func (m *Mirror) publish() {
	c := compile(m.state, m.ports)
	m.table.Store(c.table)
	m.manage(c)
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

// pending is what the events since the last publication ask for.
type pending struct {
	dump, publish bool
	due           time.Time
}

// Run follows the kernel until the context ends, which returns nil. Neighbour
// events are applied as they come. All else is dumped again: the kernel removes
// IPv4 routes without a word when a link goes down, and events cannot tell which
// of several equal routes a replacement replaced.
func (m *Mirror) Run(ctx context.Context) error {
	p := pending{dump: true}
	for ctx.Err() == nil {
		if (p.dump || p.publish) && !time.Now().Before(p.due) {
			p = m.apply(ctx, p)
		}
		if err := m.receive(&p); err != nil {
			return err
		}
	}
	return nil
}

// apply does what is pending and paces the next time: a table so large that its
// dump takes long must not be dumped without a pause.
func (m *Mirror) apply(ctx context.Context, p pending) pending {
	start := time.Now()
	if !p.dump {
		m.mu.Lock()
		m.publish()
		m.mu.Unlock()
	} else if err := m.Sync(ctx); err != nil {
		return pending{dump: true, due: time.Now().Add(retry)}
	}
	return pending{due: time.Now().Add(3 * time.Since(start))}
}

// receive waits for events and notes what they ask for.
func (m *Mirror) receive(p *pending) error {
	wait := stopPoll
	if p.dump || p.publish {
		wait = min(wait, max(time.Until(p.due), time.Millisecond))
	}
	tv := unix.NsecToTimeval(int64(wait))
	if err := m.events.SetReceiveTimeout(&tv); err != nil {
		return fmt.Errorf("set rtnetlink timeout: %w", err)
	}
	messages, from, err := m.events.Receive()
	was := p.dump || p.publish
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case errors.Is(err, unix.ENOBUFS): // events were lost
		m.lost.Add(1)
		p.dump = true
	case err != nil:
		return fmt.Errorf("receive rtnetlink: %w", err)
	case from.Pid == 0: // from the kernel, not from another process
		m.note(messages, p)
	}
	if soon := time.Now().Add(settle); !was && p.due.Before(soon) {
		p.due = soon
	}
	return nil
}

func (m *Mirror) note(messages []syscall.NetlinkMessage, p *pending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range messages {
		switch t := messages[i].Header.Type; t {
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if m.noteNeigh(t, messages[i].Data) {
				p.publish = true
			}
		default:
			p.dump = true
		}
	}
}

// Close releases the neighbours and the sockets. Run must have returned.
func (m *Mirror) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	err := m.releaseAll()
	m.handle.Close()
	m.events.Close()
	return err
}
