package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/supervise"
)

// process is what the data path and the control process have in common: they
// were started by run, are told everything on one channel, and end on SIGTERM.
type process struct {
	log     *slog.Logger
	channel *supervise.Channel
	start   *supervise.Message
	// messages are those after start. It is closed when the supervisor is gone,
	// which ends ctx as well.
	messages chan *supervise.Message
}

var errOrphaned = errors.New("the supervisor is gone")

// childCommand is a command that only run starts. join does the work of the
// process until ctx ends.
func childCommand(name, short string, join func(context.Context, *process) error) *cobra.Command {
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Long:  short + ".\nIt is started by spindle run, which gives it all it needs: it cannot be run by hand.",
		Args:  noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := newLog(c, c.ErrOrStderr())
			if err != nil {
				return err
			}
			return enter(c.Context(), log, join)
		},
	}
	logFlags(c)
	return c
}

// enter is the life of a child process.
func enter(ctx context.Context, log *slog.Logger, join func(context.Context, *process) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	channel, err := supervise.Attach()
	if err != nil {
		return err
	}
	defer channel.Close()
	p := &process{log: log, channel: channel, messages: make(chan *supervise.Message, 4)}
	if err := p.begin(); err != nil {
		return p.failed(err)
	}
	defer p.start.Close()
	ctx, orphaned := context.WithCancelCause(ctx)
	defer orphaned(nil)
	go p.listen(ctx, orphaned)
	if err := join(ctx, p); err != nil {
		return p.failed(err)
	}
	if errors.Is(context.Cause(ctx), errOrphaned) {
		return errOrphaned
	}
	return nil
}

func (p *process) begin() error {
	if err := supervise.Harden(); err != nil {
		return err
	}
	m, err := p.channel.Receive()
	if err != nil {
		return fmt.Errorf("wait for the supervisor: %w", err)
	}
	if m.Kind != supervise.Start {
		m.Close()
		return fmt.Errorf("wait for the supervisor: unexpected message %s", m.Kind)
	}
	p.start = m
	return nil
}

func (p *process) listen(ctx context.Context, orphaned context.CancelCauseFunc) {
	defer close(p.messages)
	for {
		m, err := p.channel.Receive()
		if err != nil {
			orphaned(errOrphaned)
			return
		}
		select {
		case p.messages <- m:
		case <-ctx.Done():
			m.Close()
			return
		}
	}
}

// ready tells the supervisor that this process serves now.
func (p *process) ready() error { return p.channel.Send(supervise.Message{Kind: supervise.Ready}) }

// failed leaves it to the supervisor to say why, if it still listens.
func (p *process) failed(err error) error {
	if p.channel.Send(supervise.Message{Kind: supervise.Failed, Error: err.Error()}) != nil {
		return err
	}
	return errSaid
}
