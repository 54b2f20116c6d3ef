package main

import (
	"os/signal"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/bench"
)

func benchIKECommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ike",
		Short: "Full IKEv2 handshakes per second and core, and memory per SA",
		Long: `Ike lets two engines in this process meet: IKE_SA_INIT with X25519, IKE_AUTH with
a shared key or with ECDSA certificates on P-256, and the first child SA. Rates are
by the time that each end spends on its core. Then it holds many IKE SAs with one and
with two child SAs each, and says what each takes of the heap.`,
		Example: `  spindle bench ike
  spindle bench ike --auth psk --held 0 --seconds 2 -o json`,
		Args: noArguments,
		RunE: runBenchIKE,
	}
	f := c.Flags()
	f.StringSlice("auth", nil, "psk or ecdsa (default both)")
	f.Float64("seconds", 3, "of handshakes, for each way to authenticate")
	f.Int("held", 100_000, "IKE SAs to hold at once, 0 leaves that out")
	f.Int("cpu", -1, "CPU to run on (default the last one)")
	return c
}

var benchIKEColumns = []column[bench.IKERow]{
	{"AUTH", func(r *bench.IKERow) string { return r.Auth }},
	{"HANDSHAKES", func(r *bench.IKERow) string { return strconv.Itoa(r.Handshakes) }},
	{"INITIATOR/S", func(r *bench.IKERow) string { return tenth(r.InitiatorPerSecond) }},
	{"RESPONDER/S", func(r *bench.IKERow) string { return tenth(r.ResponderPerSecond) }},
	{"BOTH/S", func(r *bench.IKERow) string { return tenth(r.PerSecond) }},
	{"HELD", func(r *bench.IKERow) string { return strconv.Itoa(r.Held) }},
	{"BYTES/IKE SA", func(r *bench.IKERow) string { return tenth(r.BytesPerIKE) }},
	{"BYTES/CHILD SA", func(r *bench.IKERow) string { return tenth(r.BytesPerChild) }},
}

func runBenchIKE(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	f := c.Flags()
	var o bench.IKEOptions
	o.Auths, _ = f.GetStringSlice("auth")
	o.Held, _ = f.GetInt("held")
	o.CPU, _ = f.GetInt("cpu")
	o.Commit, _ = f.GetString("commit")
	for _, auth := range o.Auths {
		if !slices.Contains([]string{"psk", "ecdsa"}, auth) {
			return usagef("--auth %q: write psk or ecdsa", auth)
		}
	}
	if o.Held < 0 || o.Held > 100_000 {
		return usagef("--held %d: write 0 to 100000", o.Held)
	}
	if o.Time, err = seconds64(c, 0.01, 60); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rows := []bench.IKERow{}
	if err := bench.IKE(ctx, o, func(r bench.IKERow) error { rows = append(rows, r); return nil }); err != nil {
		return err
	}
	if form == "json" {
		return printJSON(c.OutOrStdout(), rows)
	}
	sayMachine(c.OutOrStdout(), &rows[0].Machine)
	if err := printTable(c.OutOrStdout(), "nothing was run", benchIKEColumns, rows); err != nil {
		return err
	}
	sayNotMeasured(c.OutOrStdout(), bench.IKENotMeasured)
	return nil
}
