package main

import (
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spindle/bench"
	"spindle/ike/session"
)

func benchDPDCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dpd",
		Short: "What dead peer detection with many idle peers costs",
		Long: `Dpd holds an IKE SA and a child SA with each of many idle peers, lets time pass on
the engine's clock, and reports the queries, the steps of the engine, and the time
on a CPU that one second of it takes: periodic with the default interval of 10 s,
and on-demand, which has nothing to do.`,
		Example: `  spindle bench dpd
  spindle bench dpd --peers 1000 --version 1 --mode periodic -o json`,
		Args: noArguments,
		RunE: runBenchDPD,
	}
	f := c.Flags()
	f.Int("peers", 10_000, "idle peers")
	f.Int("version", 0, "of IKE: 1 or 2 (default both)")
	f.String("mode", "", "periodic or on-demand (default both)")
	f.Float64("seconds", 60, "to let pass on the engine's clock")
	f.Int("cpu", -1, "CPU to run on (default the last one)")
	return c
}

var benchDPDColumns = []column[bench.DPDRow]{
	{"IKE", func(r *bench.DPDRow) string { return strconv.Itoa(r.Version) }},
	{"MODE", func(r *bench.DPDRow) string { return r.Mode }},
	{"PEERS", func(r *bench.DPDRow) string { return strconv.Itoa(r.Peers) }},
	{"QUERIES", func(r *bench.DPDRow) string { return strconv.FormatUint(r.Queries, 10) }},
	{"ANSWERED", func(r *bench.DPDRow) string { return strconv.FormatUint(r.Answered, 10) }},
	{"STEPS", func(r *bench.DPDRow) string { return strconv.FormatUint(r.Steps, 10) }},
	{"CPU MS/S", func(r *bench.DPDRow) string { return tenth(r.MillisPerSecond) }},
	{"CPU US/QUERY", func(r *bench.DPDRow) string { return tenth(r.MicrosPerQuery) }},
}

func runBenchDPD(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	o, err := dpdOptions(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rows := []bench.DPDRow{}
	if err := bench.DPD(ctx, o, func(r bench.DPDRow) error { rows = append(rows, r); return nil }); err != nil {
		return err
	}
	if form == "json" {
		return printJSON(c.OutOrStdout(), rows)
	}
	sayMachine(c.OutOrStdout(), &rows[0].Machine)
	if err := printTable(c.OutOrStdout(), "nothing was run", benchDPDColumns, rows); err != nil {
		return err
	}
	sayNotMeasured(c.OutOrStdout(), bench.DPDNotMeasured)
	return nil
}

func dpdOptions(c *cobra.Command) (o bench.DPDOptions, err error) {
	f := c.Flags()
	o.Peers, _ = f.GetInt("peers")
	o.CPU, _ = f.GetInt("cpu")
	o.Commit, _ = f.GetString("commit")
	if o.Peers < 1 || o.Peers > 100_000 {
		return o, usagef("--peers %d: write 1 to 100000", o.Peers)
	}
	switch version, _ := f.GetInt("version"); version {
	case 0:
	case 1, 2:
		o.Versions = []int{version}
	default:
		return o, usagef("--version %d: write 1 or 2", version)
	}
	switch mode, _ := f.GetString("mode"); mode {
	case "":
	case "periodic":
		o.Modes = []session.DPDMode{session.DPDPeriodic}
	case "on-demand":
		o.Modes = []session.DPDMode{session.DPDOnDemand}
	default:
		return o, usagef("--mode %q: write periodic or on-demand", mode)
	}
	o.Time, err = seconds64(c, 10, float64(time.Hour/time.Second))
	return o, err
}
