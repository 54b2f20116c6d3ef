package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/bench"
	"spindle/datapath/xsk"
)

func benchVethCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "veth",
		Short: "The highest rate without loss over real XDP and AF_XDP, on veth pairs",
		Long: `Veth puts a gateway between two veth pairs in network namespaces: the real XDP
program, AF_XDP sockets and worker on one CPU, a generator and sink on another. It
searches the highest rate at which nothing is lost (NDR) and at which at most 0.5 %
is (PDR), and takes latencies at half the PDR, from the time a packet was due.
Every packet that counts as received was opened and is one of those sent.`,
		Example: `  spindle bench veth --size 64
  spindle bench veth --direction out --size imix --seconds 3 -o json`,
		Args: noArguments,
		RunE: runBenchVeth,
	}
	f := c.Flags()
	f.String("direction", "", "out or in (default both)")
	f.StringSlice("size", []string{"64", "1400"}, "64 to 1400 bytes, or imix")
	f.Float64("seconds", 1, "length of a trial; a search takes about 20")
	f.String("suite", "aes128gcm16", "ESP suite, as in the configuration")
	f.String("umem", "auto", "what the gateway's frames lie on, as in the configuration: auto, pages or hugepages")
	f.Int("cpu", 0, "CPU of the worker; the generator takes the next one")
	return c
}

var vethColumns = []column[bench.VethRow]{
	{"DIR", func(r *bench.VethRow) string { return r.Direction }},
	{"SIZE", func(r *bench.VethRow) string { return r.Size.String() }},
	{"NDR MPPS", func(r *bench.VethRow) string { return thousandth(r.NDR) }},
	{"PDR MPPS", func(r *bench.VethRow) string { return thousandth(r.PDR) }},
	{"PDR GBIT", func(r *bench.VethRow) string { return thousandth(r.PDRGbit) }},
	{"FLOOD MPPS", func(r *bench.VethRow) string { return thousandth(r.Flood) }},
	{"LIMIT", func(r *bench.VethRow) string { return r.Limit }},
	{"US P50", func(r *bench.VethRow) string { return tenth(r.P50) }},
	{"US P99", func(r *bench.VethRow) string { return tenth(r.P99) }},
	{"US P99.9", func(r *bench.VethRow) string { return tenth(r.P999) }},
	{"US MAX", func(r *bench.VethRow) string { return tenth(r.Max) }},
	{"BUSY AT PDR", func(r *bench.VethRow) string { return busyText(r.CPU) }},
	{"DROPS", func(r *bench.VethRow) string { return dropText(r.Drops) }},
}

func thousandth(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

func busyText(cpus []float64) string {
	words := make([]string, len(cpus))
	for i, share := range cpus {
		words[i] = fmt.Sprintf("%.0f%%", 100*share)
	}
	return strings.Join(words, " ")
}

func dropText(drops map[string]uint64) string {
	words := map[string]string{}
	for name, n := range drops {
		words[name] = whole(n)
	}
	return attributes(words)
}

func runBenchVeth(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	f := c.Flags()
	var o bench.VethOptions
	o.Suite, _ = f.GetString("suite")
	o.Commit, _ = f.GetString("commit")
	if o.CPU, _ = f.GetInt("cpu"); o.CPU < 0 {
		return usagef("--cpu %d: must not be negative", o.CPU)
	}
	o.UMEM, _ = f.GetString("umem")
	if _, err := xsk.OpenerFor(o.UMEM); err != nil {
		return usagef("--%v", err)
	}
	if o.Directions, err = directions(c); err != nil {
		return err
	}
	if o.Sizes, err = sizes(c); err != nil {
		return err
	}
	if o.Trial, err = seconds64(c, 0.05, 60); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("bench veth needs root: it makes network namespaces and attaches XDP programs in them")
	}
	if o.Crypto, err = chooseCrypto(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rows := []bench.VethRow{}
	err = bench.Veth(ctx, o, func(r bench.VethRow) error { rows = append(rows, r); return nil })
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if form == "json" {
		return printJSON(out, rows)
	}
	if len(rows) > 0 {
		sayMachine(out, &rows[0].Machine)
		fmt.Fprintf(out, "%s (%s), %s, trials of %.2g s\n\n", rows[0].Suite, rows[0].Impl, rows[0].Mode, rows[0].Trial)
	}
	if err := printTable(out, "no sizes", vethColumns, rows); err != nil {
		return err
	}
	sayNotMeasured(out, bench.VethNotMeasured)
	return nil
}
