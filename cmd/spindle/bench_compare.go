package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"spindle/bench"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

func benchCompareCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "compare",
		Short: "Spindle and its peers by turns on this machine, and their ratios",
		Long: `Compare runs Spindle and, on the same packets or the same topology, what else a
user could run: AES-GCM alone beside Intel's ipsec-mb, the pipeline beside DPDK's
ipsec-secgw, with 4 KiB and with 2 MiB pages, and two gateways with strongSwan's
kernel-libipsec, wireguard-go and plain kernel forwarding. Everything is repeated
by turns; the least of it is compared, or the medians.
It installs and builds the peers from Debian's packages and the Go module proxy.
What cannot run is named with the reason.`,
		Example: `  spindle bench compare
  spindle bench compare --what pipeline --size 64 --repeats 5 -o json`,
		Args: noArguments,
		RunE: runBenchCompare,
	}
	f := c.Flags()
	f.String("what", "", "crypto, pipeline or veth (default all)")
	f.String("direction", "", "out or in, of the pipeline (default both)")
	f.StringSlice("size", []string{"64", "imix", "1400"}, "frame sizes of the pipeline")
	f.String("suite", "aes128gcm16", "ESP suite of the pipeline: AES-GCM")
	f.Int("repeats", 3, "how often everything is run")
	f.Float64("seconds", 2, "length of each run")
	f.Int("cpu", -1, "CPU of the pipelines (default the last one)")
	f.String("folder", filepath.Join(os.TempDir(), "spindle-compare"), "where the peers are built, and kept for the next time")
	return c
}

func runBenchCompare(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	o, err := compareOptions(c)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("bench compare needs root: it makes network namespaces, reserves 2 MiB pages and installs packages")
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	result, err := bench.Compare(ctx, o)
	if err != nil {
		return err
	}
	if form == "json" {
		return printJSON(c.OutOrStdout(), result)
	}
	sayComparison(c.OutOrStdout(), &result)
	return nil
}

func compareOptions(c *cobra.Command) (o bench.CompareOptions, err error) {
	f := c.Flags()
	o.Suite, _ = f.GetString("suite")
	o.Commit, _ = f.GetString("commit")
	o.CPU, _ = f.GetInt("cpu")
	o.Folder, _ = f.GetString("folder")
	if o.Repeats, _ = f.GetInt("repeats"); o.Repeats < 1 || o.Repeats > 100 {
		return o, usagef("--repeats %d: write 1 to 100", o.Repeats)
	}
	if o.Directions, err = directions(c); err != nil {
		return o, err
	}
	if o.Sizes, err = sizes(c); err != nil {
		return o, err
	}
	if o.Time, err = seconds64(c, 0.1, 60); err != nil {
		return o, err
	}
	if o.Crypto, err = chooseCrypto(); err != nil {
		return o, err
	}
	what, _ := f.GetString("what")
	if !slices.Contains([]string{"", "crypto", "pipeline", "veth"}, what) {
		return o, usagef("--what %q: write crypto, pipeline or veth", what)
	}
	asked := func(part string) bool { return what == "" || what == part }
	o.Cipher, o.Pipeline, o.Veth = asked("crypto"), asked("pipeline"), asked("veth")
	o.Gateways = startBothGateways
	o.Say = func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
	return o, nil
}

// startBothGateways runs this binary on both gateways of a lab. The first packet
// brings the tunnel up.
func startBothGateways(ctx context.Context, lab *netlab.Gateways) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for ns, tunnel := range map[*netlab.NS]testbed.Tunnel{lab.R6: testbed.R6(lab), lab.R8: testbed.R8(lab)} {
		if _, err := testbed.Start(ctx, lab.Lab, ns, exe, tunnel.YAML()); err != nil {
			return err
		}
	}
	return nil
}

func sayComparison(out io.Writer, c *bench.Comparison) {
	sayMachine(out, &c.Machine)
	fmt.Fprintf(out, "%s (Spindle: %s), %d runs by turns: of crypto and pipelines the least, of the others the medians; above 1 Spindle is ahead\n\n", c.Suite, c.Impl, c.Repeats)
	fmt.Fprintf(out, "%-9s %-29s %-5s %-4s %-23s %6s %-7s %9s %9s %6s\n", "BENCH", "PEER", "PAGES", "DIR", "CASE", "SAS", "UNIT", "SPINDLE", "PEER", "RATIO")
	for _, r := range c.Ratios {
		fmt.Fprintf(out, "%-9s %-29s %-5s %-4s %-23s %6s %-7s %9.3f %9.3f %6.2f\n",
			r.Bench, r.Peer, plain(string(r.Pages)), plain(r.Direction), r.Case, countOf(r.SAs), r.Unit, r.Spindle, r.Other, r.Ratio)
	}
	if len(c.Missing) > 0 {
		fmt.Fprintln(out, "\nCould not run:")
		for _, m := range c.Missing {
			fmt.Fprintf(out, "  - %s: %s\n", m.Peer, plain(m.Reason))
		}
	}
	sayNotMeasured(out, c.NotMeasured)
}

// countOf is a number of SAs, for a table in which not every row has one.
func countOf(sas int) string {
	if sas == 0 {
		return "-"
	}
	return strconv.Itoa(sas)
}
