package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/config"
	"spindle/cmd/internal/supervise"
)

func runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Run the gateway in the foreground",
		Long: `Run starts the data path and the control process, restarts the one that dies
while the other goes on, and logs to standard error.

SIGTERM and SIGINT tell the peers and stop; a second one stops at once. SIGHUP
reads the configuration again: one with an error in it changes nothing.`,
		Example: `  spindle run --config /etc/spindle/spindle.yaml
  spindle run --config r6.yaml --runtime-dir /run/spindle-r6 --log-format json`,
		Args: noArguments,
		RunE: runGateway,
	}
	configFlag(c)
	logFlags(c)
	return c
}

func runGateway(c *cobra.Command, _ []string) error {
	path, err := configPath(c)
	if err != nil {
		return err
	}
	log, err := newLog(c, c.ErrOrStderr())
	if err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("run needs root: it attaches XDP programs and gives the privilege up for its control process")
	}
	dir, err := supervise.OpenDir(runtimeDir(c))
	if err != nil {
		return err
	}
	defer dir.Close()
	if cfg.CrashSecret, err = dir.Secret(); err != nil {
		return err
	}
	supervise.LogWarnings(log, cfg)

	ctx, forget := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer forget()
	go func() { <-ctx.Done(); forget() }() // the second signal has its usual effect
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	return supervise.Run(ctx, supervise.Options{
		Dir:    dir,
		Config: cfg,
		Load: func() (*config.Config, error) {
			next, err := config.Load(path)
			if err == nil {
				next.CrashSecret = cfg.CrashSecret
			}
			return next, err
		},
		Reload:   hangup,
		Log:      log,
		Datapath: logArguments(c, "datapath"),
		Control:  logArguments(c, "control"),
	})
}
