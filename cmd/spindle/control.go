package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/supervise"
)

func controlCommand() *cobra.Command {
	return childCommand("control", "The unprivileged process of IKE and the API", joinControl)
}

// joinControl serves the API and drives the engine over one keysock after the
// other: a new one comes whenever the data path was started again.
func joinControl(ctx context.Context, p *process) error {
	cfg, err := p.start.Config()
	if err != nil {
		return err
	}
	listener, err := p.start.Listener()
	if err != nil {
		return err
	}
	defer listener.Close()
	p.log.Info("configuration", "summary", cfg.Summary())
	if err := p.ready(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-p.messages:
			if !ok {
				return nil
			}
			if err := controlMessage(p, m); err != nil {
				return err
			}
		}
	}
}

func controlMessage(p *process, m *supervise.Message) error {
	defer m.Close()
	switch m.Kind {
	case supervise.Keysock:
		p.log.Debug("new keysock")
	case supervise.Config:
		cfg, err := m.Config()
		if err != nil {
			return fmt.Errorf("take over configuration: %w", err)
		}
		p.log.Info("configuration", "summary", cfg.Summary())
	}
	return nil
}
