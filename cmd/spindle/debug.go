package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

func debugCommand() *cobra.Command {
	c := &cobra.Command{Use: "debug", Short: "Follow what the gateway does, live", Args: noArguments, RunE: needsCommand}
	crypto := &cobra.Command{Use: "crypto", Short: "In the words of Cisco IOS", Args: noArguments, RunE: needsCommand}
	isakmp := &cobra.Command{
		Use:   "isakmp [peer IP]",
		Short: "Follow IKE with one peer, or with all: every message and event, until Ctrl-C",
		Long: `Follow IKE with one peer, or with all: every message in and out with its payloads,
and every event, as they happen. Keys are never shown. Ctrl-C ends it. The log of
spindle run does not change.`,
		Example: "  spindle debug crypto isakmp\n  spindle debug crypto isakmp peer 192.0.2.8 -o json",
		Args: func(_ *cobra.Command, args []string) error {
			_, err := parsePeer(args)
			return err
		},
		RunE: func(c *cobra.Command, args []string) error {
			peer, err := parsePeer(args)
			if err != nil {
				return err
			}
			return follow(c, api.Follow{Debug: true, Peer: peer})
		},
	}
	isakmp.Flags().StringP("output", "o", "table", "table or json")
	crypto.AddCommand(isakmp)
	c.AddCommand(crypto)
	return c
}

func parsePeer(args []string) (peer netip.Addr, err error) {
	switch {
	case len(args) == 0:
		return peer, nil
	case len(args) == 2 && args[0] == "peer":
		return parseIP(args[1])
	}
	return peer, usagef("debug crypto isakmp takes peer IP, not %q", strings.Join(args, " "))
}

// showEvents is show events, which can go on.
func showEvents() *cobra.Command {
	c := showTable(api.Events, "The last events, oldest first", "no events yet", eventColumns)
	c.Example += "\n  spindle show events --follow"
	c.Flags().BoolP("follow", "f", false, "go on with what happens from now on, until Ctrl-C")
	table := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if on, _ := c.Flags().GetBool("follow"); on {
			return follow(c, api.Follow{})
		}
		return table(c, args)
	}
	return c
}

// follow prints one line an event until Ctrl-C, which is no failure.
func follow(c *cobra.Command, f api.Follow) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w := c.OutOrStdout()
	return api.NewClient(runtimeDir(c)).Follow(ctx, f, func(e api.Event) error {
		if form == "json" {
			return json.NewEncoder(w).Encode(e)
		}
		return printEvent(w, &e)
	})
}

// printEvent shows an IKE message as a step of the ladder, with an arrow that
// says which way it went, and anything else as the log does.
func printEvent(w io.Writer, e *api.Event) error {
	at := e.Time.Local().Format("15:04:05.000000")
	if e.Event != "IKE message" {
		_, err := fmt.Fprintf(w, "%s %-5s %s %s\n", at, e.Level, plain(e.Event), plain(attributes(e.Attrs)))
		return err
	}
	arrow := "<--"
	if e.Attrs["direction"] == "out" {
		arrow = "-->"
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s\n", at, arrow, plain(e.Attrs["peer"]), plain(e.Attrs["message"]))
	return err
}
