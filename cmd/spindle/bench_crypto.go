package main

import (
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/bench"
)

func benchCryptoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "crypto",
		Short: "What sealing and opening one packet costs, beside the bare cipher",
		Long: `Crypto seals and opens a packet again and again, with every ESP suite and size,
beside the same bytes through the standard library's cipher alone. The difference
is what ESP itself costs: headers, trailer, counters, and a copy of the payload
where the cipher works in place; less what a faster implementation than the
standard library's wins. SPINDLE_CRYPTO=std|vaes|auto chooses that of AES-GCM,
vaes-avx512 or vaes-avx2 a kernel by name.`,
		Example: `  spindle bench crypto --suite aes128gcm16
  spindle bench crypto --size 64,1400 --op seal -o json`,
		Args: noArguments,
		RunE: runBenchCrypto,
	}
	f := c.Flags()
	f.StringSlice("suite", nil, "ESP suites, as in the configuration (default all)")
	f.StringSlice("size", []string{"64", "256", "512", "1024", "1400"}, "bytes of the inner packet")
	f.String("op", "", "seal or open (default both)")
	f.Float64("seconds", 0.2, "time on the clock for each case")
	f.Int("cpu", -1, "CPU to run on (default the last one)")
	return c
}

var cryptoColumns = []column[bench.CryptoRow]{
	{"SUITE", func(r *bench.CryptoRow) string { return r.Suite }},
	{"SIZE", func(r *bench.CryptoRow) string { return r.Size.String() }},
	{"OP", func(r *bench.CryptoRow) string { return r.Op }},
	{"IMPL", func(r *bench.CryptoRow) string { return r.Impl }},
	{"NS P50", func(r *bench.CryptoRow) string { return tenth(r.P50) }},
	{"NS MIN", func(r *bench.CryptoRow) string { return tenth(r.Min) }},
	{"CYCLES", func(r *bench.CryptoRow) string { return tenth(r.Cycles) }},
	{"GBIT/S", func(r *bench.CryptoRow) string { return tenth(r.Gbit) }},
	{"CIPHER NS P50", func(r *bench.CryptoRow) string { return tenth(r.CipherP50) }},
	{"CIPHER NS MIN", func(r *bench.CryptoRow) string { return tenth(r.CipherMin) }},
	{"ALLOCS", func(r *bench.CryptoRow) string { return strconv.FormatFloat(r.Allocs, 'g', 2, 64) }},
}

func tenth(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func runBenchCrypto(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	f := c.Flags()
	var o bench.CryptoOptions
	o.Suites, _ = f.GetStringSlice("suite")
	o.CPU, _ = f.GetInt("cpu")
	o.Commit, _ = f.GetString("commit")
	if o.Sizes, err = sizes(c); err != nil {
		return err
	}
	for _, size := range o.Sizes {
		if size == bench.IMIX {
			return usagef("--size imix: crypto takes one size at a time")
		}
	}
	switch op, _ := f.GetString("op"); op {
	case "":
	case "seal", "open":
		o.Ops = []string{op}
	default:
		return usagef("--op %q: write seal or open", op)
	}
	if o.Time, err = seconds64(c, 0.001, 60); err != nil {
		return err
	}
	if o.Crypto, err = chooseCrypto(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rows := []bench.CryptoRow{}
	err = bench.Crypto(ctx, o, func(r bench.CryptoRow) error { rows = append(rows, r); return nil })
	if err != nil {
		return err
	}
	if form == "json" {
		return printJSON(c.OutOrStdout(), rows)
	}
	if len(rows) > 0 {
		sayMachine(c.OutOrStdout(), &rows[0].Machine)
	}
	return printTable(c.OutOrStdout(), "no sizes", cryptoColumns, rows)
}
