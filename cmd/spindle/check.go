package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/config"
)

func checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check a configuration without applying it",
		Long: `Check reads a configuration and the key files it names, and says everything that
is wrong with it, one FILE:LINE:COLUMN a line. It opens no interface and needs no
privilege but to read the files.`,
		Example: "  spindle check --config /etc/spindle/spindle.yaml",
		Args:    noArguments,
		RunE:    check,
	}
	configFlag(c)
	return c
}

func check(c *cobra.Command, _ []string) error {
	path, err := configPath(c)
	if err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		fmt.Fprintf(c.ErrOrStderr(), "warning: %v\n", w)
	}
	fmt.Fprintf(c.OutOrStdout(), "ok: %s\n", cfg.Summary())
	for i := range cfg.Connections {
		conn, recovered := &cfg.Connections[i], "a lost SPI is recovered (static peer)"
		if reason := conn.Unrecoverable(); reason != "" {
			recovered = "a lost SPI is not recovered: " + reason
		}
		fmt.Fprintf(c.OutOrStdout(), "connection %s: %s\n", conn.Name, recovered)
	}
	return nil
}
