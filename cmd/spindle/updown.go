package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

// upWait is how long up waits for a peer: longer than a negotiation that nobody
// answers takes to fail.
const upWait = 40 * time.Second

func upCommand() *cobra.Command {
	c := targetCommand("up", "Bring a connection or one child up", "coming up", (*api.Client).Up)
	c.Long = c.Short + `.
It waits until the child SAs stand, or says why they do not. With --no-wait it
returns once the negotiation has begun.`
	c.Example += "\n  spindle up r8 --no-wait"
	c.Flags().Bool("no-wait", false, "return once the negotiation has begun")
	c.Flags().Duration("wait", upWait, "how long to wait at most")
	begin := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if no, _ := c.Flags().GetBool("no-wait"); no {
			return begin(c, args)
		}
		t, err := parseTarget(args[0])
		if err != nil {
			return err
		}
		client, began := api.NewClient(runtimeDir(c)), time.Now()
		if err := client.Up(c.Context(), t); err != nil {
			return err
		}
		limit, _ := c.Flags().GetDuration("wait")
		if err := awaitUp(c.Context(), client, t, began, limit); err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: up\n", args[0])
		return nil
	}
	return c
}

// awaitUp polls until every child that was asked for stands, or the first failure
// since the beginning.
func awaitUp(ctx context.Context, client *api.Client, t api.Target, began time.Time, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		up, reason, err := progress(ctx, client, t, began)
		switch {
		case up:
			return nil
		case reason != "":
			return fmt.Errorf("%s is not up: %s", t.Conn, reason)
		case err != nil && ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not up after %v: spindle why %s says what is known", t.Conn, limit, t.Conn)
		case <-tick.C:
		}
	}
}

// progress tells whether the target stands, or why it cannot.
func progress(ctx context.Context, client *api.Client, t api.Target, began time.Time) (up bool, reason string, err error) {
	var children []api.ChildSA
	if err := client.Table(ctx, api.ChildSAs, &children); err != nil {
		return false, "", err
	}
	var conns []api.Connection
	if err := client.Table(ctx, api.Connections, &conns); err != nil {
		return false, "", err
	}
	i := slices.IndexFunc(conns, func(c api.Connection) bool { return c.Name == t.Conn })
	if i < 0 {
		return false, "it is not configured any more", nil
	}
	missing := slices.Clone(conns[i].Configured)
	if t.Child != "" {
		missing = []string{t.Child}
	}
	missing = slices.DeleteFunc(missing, func(child string) bool {
		return slices.ContainsFunc(children, func(sa api.ChildSA) bool {
			return sa.Conn == t.Conn && sa.Child == child && sa.State == "installed"
		})
	})
	if len(missing) > 0 && conns[i].Since.After(began) {
		reason = conns[i].LastError
	}
	return len(missing) == 0, reason, nil
}

func downCommand() *cobra.Command {
	return targetCommand("down", "Take a connection or one child down, telling the peer", "going down", (*api.Client).Down)
}

func rekeyCommand() *cobra.Command {
	return targetCommand("rekey", "Replace the keys of a connection's IKE SA, or of one child, now", "being rekeyed", (*api.Client).Rekey)
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
