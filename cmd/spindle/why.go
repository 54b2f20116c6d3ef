package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

func whyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "why CONN|PEER",
		Short: "Say why a connection carries no traffic",
		Long: `Why walks from the configuration to the last packet: resolution, route, next hop,
negotiation, dead peer detection and what it will do next, policies, SAs, traffic
each way, drops, MTU. It ends with the cause and one action, or says what it
cannot tell. It sends the peer's host a few small UDP datagrams and takes up to
some seconds.`,
		Example: "  spindle why r8\n  spindle why 192.0.2.8 -o json",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usagef("%s needs one CONN or PEER", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			form, err := outputForm(c)
			if err != nil {
				return err
			}
			list, err := api.NewClient(runtimeDir(c)).Why(c.Context(), args[0])
			if err != nil {
				return err
			}
			if form == "json" {
				return printWhyJSON(c.OutOrStdout(), list)
			}
			for i := range list {
				printWhy(c.OutOrStdout(), &list[i])
			}
			return nil
		},
	}
	c.Flags().StringP("output", "o", "table", "table or json")
	return c
}

// printWhyJSON gives one object for one connection, a list for a peer of several.
func printWhyJSON(w io.Writer, list []api.Why) error {
	if len(list) == 1 {
		return printJSON(w, list[0])
	}
	return printJSON(w, list)
}

func printWhy(w io.Writer, y *api.Why) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range y.Evidence {
		fmt.Fprintf(t, "%s\t%s\n", e.Check, plain(e.Says))
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\n%s: %s\n%s\n%s\n", y.Name, y.Verdict, plain(y.Cause), plain(y.Action))
}
