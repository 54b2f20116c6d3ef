package keysock

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrRefused is the cause of an error that the data path answered.
var ErrRefused = errors.New("refused by the data path")

// Client is the control process's end. Its methods may be called from any
// goroutine.
type Client struct {
	conn    *Conn
	sending chan struct{} // held while a request goes out, so that the wait for it can end with a context
	events  *queue

	mu     sync.Mutex
	seq    uint32
	calls  map[uint32]*call
	failed error // why there will be no more answers
}

// call is one request under way. It is touched under Client.mu until done is closed.
type call struct {
	answers []Message // Usage, Counters, Translation
	err     error
	done    chan struct{}
}

// NewClient takes the connection over and starts to receive. Close ends it.
func NewClient(c *Conn) *Client {
	client := &Client{
		conn:    c,
		sending: make(chan struct{}, 1),
		events:  newQueue(),
		calls:   map[uint32]*call{},
	}
	go client.receive()
	return client
}

// Close closes the connection; calls under way fail with ErrClosed.
func (c *Client) Close() error { return c.conn.Close() }

// Events gives what the data path reports on its own: Hello, Addresses, Acquire, Expire,
// Punt and UnknownSPI. It is closed when the data path is gone. A reader that
// is too slow loses the ones that the network can cause, never Hello or Expire.
func (c *Client) Events() <-chan Message { return c.events.out }

// EventsDropped counts the events lost to a slow reader.
func (c *Client) EventsDropped() uint64 { return c.events.lost() }

// Call sends a request and waits for its Ack. The error wraps ErrRefused when
// the data path could not do it, ErrClosed when the data path is gone; a
// context that ends leaves open whether it was done.
func (c *Client) Call(ctx context.Context, m Message) error {
	_, err := c.exchange(ctx, m)
	return err
}

// Dump collects all SAs of the data path.
func (c *Client) Dump(ctx context.Context) ([]Usage, error) {
	return collect[Usage](c.exchange(ctx, Dump{}))
}

// Stats collects all counters of the data path.
func (c *Client) Stats(ctx context.Context) ([]Counters, error) {
	return collect[Counters](c.exchange(ctx, Stats{}))
}

// Translations collects the state of all translators of the data path.
func (c *Client) Translations(ctx context.Context) ([]Translation, error) {
	return collect[Translation](c.exchange(ctx, Translations{}))
}

func collect[T Message](answers []Message, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	list := make([]T, 0, len(answers))
	for _, m := range answers {
		if t, ok := m.(T); ok {
			list = append(list, t)
		}
	}
	return list, nil
}

// Inject sends an IKE datagram. Nobody answers it.
func (c *Client) Inject(ctx context.Context, m Inject) error { return c.send(ctx, 0, m) }

// Keepalive sends a NAT keepalive where one is needed. Nobody answers it.
func (c *Client) Keepalive(ctx context.Context, m Keepalive) error { return c.send(ctx, 0, m) }

func (c *Client) exchange(ctx context.Context, m Message) ([]Message, error) {
	seq, pending, err := c.register()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", m.verb(), err)
	}
	if err := c.send(ctx, seq, m); err != nil {
		c.forget(seq)
		return nil, fmt.Errorf("%v: %w", m.verb(), err)
	}
	select {
	case <-pending.done:
	case <-ctx.Done():
		c.forget(seq)
		return nil, fmt.Errorf("%v: wait for the data path: %w", m.verb(), ctx.Err())
	}
	if pending.err != nil {
		return nil, fmt.Errorf("%v: %w", m.verb(), pending.err)
	}
	return pending.answers, nil
}

func (c *Client) send(ctx context.Context, seq uint32, m Message) error {
	select {
	case c.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.sending }()
	return c.conn.sendWithin(ctx, seq, m)
}

// register starts a call under a number that no other one has.
func (c *Client) register() (uint32, *call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return 0, nil, c.failed
	}
	c.seq++
	for c.seq == 0 || c.calls[c.seq] != nil {
		c.seq++
	}
	pending := &call{done: make(chan struct{})}
	c.calls[c.seq] = pending
	return c.seq, pending, nil
}

func (c *Client) forget(seq uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, seq)
}

// receive sorts what arrives until the socket is closed. It never waits for
// anybody: the data path could be waiting for it.
func (c *Client) receive() {
	defer c.events.close()
	for {
		seq, m, err := c.conn.Receive()
		switch {
		case errors.Is(err, ErrMalformed):
			c.finish(seq, err)
		case err != nil:
			c.fail(err)
			return
		default:
			c.dispatch(seq, m)
		}
	}
}

func (c *Client) dispatch(seq uint32, m Message) {
	switch m := m.(type) {
	case Ack:
		var err error
		if m.Err != "" {
			err = fmt.Errorf("%w: %s", ErrRefused, m.Err)
		}
		c.finish(seq, err)
	case Usage, Counters, Translation:
		c.mu.Lock()
		defer c.mu.Unlock()
		if pending := c.calls[seq]; pending != nil {
			pending.answers = append(pending.answers, m)
		}
	case Hello, Addresses, Acquire, Expire, Silence, Moved, Punt, UnknownSPI:
		c.events.put(m)
	}
}

func (c *Client) finish(seq uint32, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pending := c.calls[seq]; pending != nil {
		delete(c.calls, seq)
		pending.err = err
		close(pending.done)
	}
}

// fail ends all calls, and those to come.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
	for seq, pending := range c.calls {
		delete(c.calls, seq)
		pending.err = err
		close(pending.done)
	}
}
