package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

func showCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Show what a running gateway does",
		Long:  "Show prints one table of a running gateway, for people or as JSON (-o json).",
		Example: `  spindle show connections
  spindle show child-sas -o json
  spindle show events --runtime-dir /run/spindle-r6`,
		Args: noArguments,
		RunE: needsCommand,
	}
	c.PersistentFlags().StringP("output", "o", "table", "table or json")
	c.AddCommand(
		showTable(api.IKESAs, "IKE security associations", "no IKE SAs", ikeColumns),
		showTable(api.ChildSAs, "Child (ESP) security associations with their traffic", "no child SAs", childColumns),
		showTable(api.Connections, "Configured connections, up or down and why", "no connections are configured", connectionColumns),
		showTable(api.Peers, "Remote gateways and how alive they are", "no peers", peerColumns),
		showTable(api.Policies, "The policy database, in the order of lookup", "no policies", policyColumns),
		showTable(api.Workers, "Data path workers, their CPU and ports", "no workers", workerColumns),
		showTable(api.Counters, "Every counter with its source", "no counters", counterColumns),
		showTable(api.Leases, "Inside addresses that peers have from us, or we from them", "no leases", leaseColumns),
		showTable(api.Translations, "Inside hosts behind the address that a peer assigned, and what they use of it", "nothing is translated", translationColumns),
		showTable(api.UnknownSPIs, "Who sends ESP for SAs that this gateway does not hold", "no unknown SPIs", unknownColumns),
		showTable(api.Rekeying, "Rekeys of each child, with the time and packets they cost", "no children are configured", rekeyColumns),
		showTable(api.Outcomes, "How negotiations ended", "no negotiations yet", outcomeColumns),
		showEvents(),
		showCrypto(),
	)
	return c
}

// column is one column of a table for people.
type column[Row any] struct {
	title string
	cell  func(*Row) string
}

func showTable[Row any](name, short, none string, columns []column[Row]) *cobra.Command {
	return &cobra.Command{
		Use:     name,
		Short:   short,
		Example: fmt.Sprintf("  spindle show %s\n  spindle show %s -o json", name, name),
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			form, err := outputForm(c)
			if err != nil {
				return err
			}
			rows := []Row{}
			if err := api.NewClient(runtimeDir(c)).Table(c.Context(), name, &rows); err != nil {
				return err
			}
			if form == "json" {
				return printJSON(c.OutOrStdout(), rows)
			}
			return printTable(c.OutOrStdout(), none, columns, rows)
		},
	}
}

func outputForm(c *cobra.Command) (string, error) {
	form, _ := c.Flags().GetString("output")
	if form != "table" && form != "json" {
		return "", usagef("--output %q: write table or json", form)
	}
	return form, nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printTable[Row any](w io.Writer, none string, columns []column[Row], rows []Row) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, none)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = c.title
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
	for r := range rows {
		for i, c := range columns {
			cells[i] = plain(c.cell(&rows[r]))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// plain keeps what a peer chose (an identity, an error) from drawing on the terminal.
func plain(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
