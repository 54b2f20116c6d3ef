package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

func upCommand() *cobra.Command {
	return targetCommand("up", "Bring a connection or one child up", "coming up", (*api.Client).Up)
}

func downCommand() *cobra.Command {
	return targetCommand("down", "Take a connection or one child down, telling the peer", "going down", (*api.Client).Down)
}

func targetCommand(name, short, done string, act func(*api.Client, context.Context, api.Target) error) *cobra.Command {
	return &cobra.Command{
		Use:     name + " CONN[/CHILD]",
		Short:   short,
		Long:    short + ".\nIt returns once the work has begun: spindle show connections follows it.",
		Example: fmt.Sprintf("  spindle %s r8\n  spindle %s r8/lan", name, name),
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("%s needs one CONN or CONN/CHILD", c.CommandPath())
			}
			_, err := parseTarget(args[0])
			return err
		},
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			if err := act(api.NewClient(runtimeDir(c)), c.Context(), t); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", args[0], done)
			return nil
		},
	}
}

func parseTarget(s string) (api.Target, error) {
	conn, child, named := strings.Cut(s, "/")
	if conn == "" || named && (child == "" || strings.Contains(child, "/")) {
		return api.Target{}, usagef("%q is not CONN or CONN/CHILD", s)
	}
	return api.Target{Conn: conn, Child: child}, nil
}

func reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Short:   "Make the gateway read its configuration again",
		Long:    "Reload does what SIGHUP does, and says what is wrong when the file is refused.\nWhat the change does not touch stays up.",
		Example: "  spindle reload",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := api.NewClient(runtimeDir(c)).Reload(c.Context()); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "reloaded")
			return nil
		},
	}
}
