package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spindle/bench"
	"spindle/sadb"
)

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine's data path",
		Long: `Bench measures what the data path does on this machine, checks every run's packets
and counters, and says what it does not measure.`,
		Example: `  spindle bench pipeline --size 64 --sas 1
  spindle bench veth --size 64
  spindle bench crypto --suite aes128gcm16
  spindle bench compare -o json`,
		Args: noArguments,
		RunE: needsCommand,
	}
	c.PersistentFlags().StringP("output", "o", "table", "table or json")
	c.PersistentFlags().String("commit", "", "commit to name in the result (default what the binary was built from)")
	c.AddCommand(benchPipelineCommand(), benchCryptoCommand(), benchIKECommand(), benchDPDCommand(), benchVethCommand(), benchCompareCommand())
	return c
}

func benchPipelineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "pipeline",
		Short: "One core's worth of the real worker, on ports made of memory",
		Long: `Pipeline runs the real worker (parse, SPD or SPI lookup, replay window, crypto,
routes, building the frame to send) between two ports made of memory, and reports
what a packet costs: the median, least and most of 11 runs. Sizes are those of the
Ethernet frame before encapsulation. Each run opens or compares packets that came
out, and fails unless the worker's counters account for every packet.
SPINDLE_CRYPTO=std|vaes|vaes-avx512|vaes-avx2|auto in the environment chooses whose
AES-GCM runs.`,
		Example: `  spindle bench pipeline
  spindle bench pipeline --direction out --size 64 --sas 1 --suite aes256gcm16 --seconds 3 -o json`,
		Args: noArguments,
		RunE: runBenchPipeline,
	}
	f := c.Flags()
	f.String("direction", "", "out or in (default both)")
	f.StringSlice("size", nil, "64 to 1400 bytes, or imix (default 64,256,512,1024,1400,imix)")
	f.IntSlice("sas", []int{1, 1000, 100_000}, "number of SA pairs")
	f.IntSlice("active", []int{1, 0}, "how many of the SAs the packets are for, each for the next of them; 0 for all")
	f.Float64("seconds", 1, "time on the clock for each case")
	f.String("suite", "aes128gcm16", "ESP suite, as in the configuration")
	f.String("pages", string(bench.AnyPages), "what packet buffers stand on: auto, 4k or 2m")
	f.Int("frames", 256, "RX frames, and TX frames, of each port; AF_XDP sockets have 2048")
	f.Int("cpu", -1, "CPU to run on (default the last one)")
	f.String("profile", "", "write a CPU profile to this file")
	return c
}

func runBenchPipeline(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	o, err := pipelineOptions(c)
	if err != nil {
		return err
	}
	stopProfile, err := startProfile(c)
	if err != nil {
		return err
	}
	defer stopProfile()
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rows := []bench.PipelineRow{}
	out := c.OutOrStdout()
	err = bench.Pipeline(ctx, o, func(r bench.PipelineRow) error {
		rows = append(rows, r)
		if form == "table" {
			sayPipelineRow(out, len(rows) == 1, &r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if form == "json" {
		return printJSON(out, rows)
	}
	sayNotMeasured(out, bench.PipelineNotMeasured)
	return nil
}

func pipelineOptions(c *cobra.Command) (o bench.PipelineOptions, err error) {
	f := c.Flags()
	o.Suite, _ = f.GetString("suite")
	o.Commit, _ = f.GetString("commit")
	o.SAs, _ = f.GetIntSlice("sas")
	o.CPU, _ = f.GetInt("cpu")
	o.Frames, _ = f.GetInt("frames")
	if o.Crypto, err = chooseCrypto(); err != nil {
		return o, err
	}
	if o.Directions, err = directions(c); err != nil {
		return o, err
	}
	if o.Sizes, err = sizes(c); err != nil {
		return o, err
	}
	if o.Time, err = seconds64(c, 0.01, 600); err != nil {
		return o, err
	}
	for _, n := range o.SAs {
		if n < 1 || n > bench.MaxSAs {
			return o, usagef("--sas %d: write 1 to %d", n, bench.MaxSAs)
		}
	}
	o.Active, _ = f.GetIntSlice("active")
	for _, n := range o.Active {
		if n < 0 {
			return o, usagef("--active %d: must not be negative", n)
		}
	}
	if o.Frames < 64 || o.Frames > 1<<15 {
		return o, usagef("--frames %d: write 64 to %d", o.Frames, 1<<15)
	}
	pages, _ := f.GetString("pages")
	if o.Pages = bench.Pages(pages); !slices.Contains([]bench.Pages{bench.AnyPages, bench.SmallPages, bench.HugePages}, o.Pages) {
		return o, usagef("--pages %q: write auto, 4k or 2m", pages)
	}
	return o, nil
}

func directions(c *cobra.Command) ([]sadb.Direction, error) {
	switch d, _ := c.Flags().GetString("direction"); d {
	case "":
		return []sadb.Direction{sadb.Outbound, sadb.Inbound}, nil
	case "out":
		return []sadb.Direction{sadb.Outbound}, nil
	case "in":
		return []sadb.Direction{sadb.Inbound}, nil
	default:
		return nil, usagef("--direction %q: write out or in", d)
	}
}

func sizes(c *cobra.Command) (list []bench.Size, err error) {
	words, _ := c.Flags().GetStringSlice("size")
	if len(words) == 0 {
		return bench.Sizes(), nil
	}
	for _, word := range words {
		size, err := bench.ParseSize(word)
		if err != nil {
			return nil, usagef("--size: %v", err)
		}
		list = append(list, size)
	}
	return list, nil
}

func seconds64(c *cobra.Command, least, most float64) (time.Duration, error) {
	s, _ := c.Flags().GetFloat64("seconds")
	if s < least || s > most {
		return 0, usagef("--seconds %v: write %v to %v", s, least, most)
	}
	return time.Duration(s * float64(time.Second)), nil
}

// startProfile honours --profile.
func startProfile(c *cobra.Command) (stop func(), err error) {
	path, _ := c.Flags().GetString("profile")
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, nil
}

func sayMachine(out io.Writer, m *bench.Machine) {
	kind := "bare metal"
	if m.Hypervisor {
		kind = "virtual machine"
	}
	fmt.Fprintf(out, "%s, %d CPUs (%s), TSC %.0f MHz, Linux %s, %s, commit %s, load %s, %s\n",
		m.CPU, m.CPUs, kind, m.TSCMHz, m.Kernel, m.Go, m.Commit, m.Load, m.Date)
}

func sayPipelineRow(out io.Writer, first bool, r *bench.PipelineRow) {
	if first {
		sayMachine(out, &r.Machine)
		fmt.Fprintf(out, "%s (%s), packet buffers on %s pages, %d frames a ring, %d runs\n\n", r.Suite, r.Impl, r.Pages, r.Frames, r.Runs)
		fmt.Fprintf(out, "%-4s %5s %7s %7s %9s %9s %9s %7s %6s %7s %8s %7s %s\n",
			"DIR", "SIZE", "SAS", "ACTIVE", "NS P50", "NS MIN", "NS MAX", "CYCLES", "MPPS", "GBIT IN", "GBIT OUT", "ALLOCS", "DROPS")
	}
	drops := "-"
	if names := r.DropNames(); len(names) > 0 {
		drops = strings.Join(names, " ")
	}
	fmt.Fprintf(out, "%-4s %5s %7d %7d %9.1f %9.1f %9.1f %7.0f %6.3f %7.2f %8.2f %7s %s\n", r.Direction, r.Size, r.SAs, r.Active,
		r.P50, r.Min, r.Max, r.Cycles, r.Mpps, r.GbitInner, r.GbitOuter, strconv.FormatFloat(r.Allocs, 'g', 2, 64), drops)
}

func sayNotMeasured(out io.Writer, list []string) {
	fmt.Fprintln(out, "\nNot measured:")
	for _, what := range list {
		fmt.Fprintf(out, "  - %s\n", what)
	}
}
