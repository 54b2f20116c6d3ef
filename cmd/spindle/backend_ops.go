package main

import (
	"context"
	"fmt"
	"time"

	"spindle/cmd/internal/api"
	"spindle/ike/session"
)

// Follow turns on the trace of IKE messages while somebody wants to see them.
func (b *backend) Follow(ctx context.Context, f api.Follow, deliver func(api.Event, int) error) error {
	if f.Peer.IsValid() {
		if err := b.do(ctx, func() error { f.Conn = b.connectionsByPeer()[f.Peer]; return nil }); err != nil {
			return err
		}
	}
	if f.Debug {
		if err := b.debug(ctx, 1); err != nil {
			return err
		}
		defer func() {
			// The follower may be gone; the loop still has to hear of it, if it runs.
			last, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = b.debug(last, -1)
		}()
	}
	return b.events.Subscribe(ctx, f, deliver)
}

func (b *backend) debug(ctx context.Context, more int) error {
	return b.do(ctx, func() error {
		b.debuggers += more
		b.step(session.Trace{On: b.tracing()})
		return nil
	})
}

// Clear counts what is there before, since the peer's answers come later.
func (b *backend) Clear(ctx context.Context, which api.Clear) (done api.Cleared, err error) {
	in := session.Clear{Local: which.Local, LocalPort: which.LocalPort, Remote: which.Remote, RemotePort: which.RemotePort,
		Children: which.Children, Silent: which.Silent}
	err = b.status(ctx, func(s session.Status) error {
		for _, sa := range s.IKE {
			if in.Matches(sa.Local, sa.Remote) && !which.Children {
				done.IKE++
			}
		}
		for _, c := range s.Children {
			if c.State == "installed" && in.Matches(c.Local, c.Remote) {
				done.Children++
			}
		}
		if done == (api.Cleared{}) && (which.Local.IsValid() || which.Remote.IsValid()) {
			return fmt.Errorf("%w: no SA between these addresses: spindle show crypto session lists them", api.ErrNotFound)
		}
		b.step(in)
		return nil
	})
	return done, err
}
