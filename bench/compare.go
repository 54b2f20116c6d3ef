package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"spindle/datapath/esp"
	"spindle/sadb"
	"spindle/tools/netlab"
)

// prepareScript installs and builds the peers.
//
//go:embed compare/prepare.sh
var prepareScript string

// CompareOptions say what to compare.
type CompareOptions struct {
	Directions []sadb.Direction
	Sizes      []Size
	Suite      string
	Crypto     *esp.Crypto   // of our own pipeline
	Repeats    int           // of everything, interleaved; the median counts
	Time       time.Duration // of each of our own runs, and of each iperf3 run
	CPU        int
	Folder     string // of the peers' programs; they are kept for the next time
	Commit     string
	Pipeline   bool
	Veth       bool
	Cipher     bool                             // AES-GCM alone
	Gateways   StartGateways                    // runs Spindle on both gateways of a lab
	Say        func(format string, args ...any) // progress
}

// Ratio is one line of the comparison. Above 1 Spindle is ahead.
type Ratio struct {
	Bench     string  `json:"bench"` // crypto, pipeline, veth
	Peer      string  `json:"peer"`
	Pages     Pages   `json:"pages,omitempty"` // what both stood on
	Direction string  `json:"direction,omitempty"`
	Case      string  `json:"case"` // size, or kind of traffic
	Unit      string  `json:"unit"`
	Spindle   float64 `json:"spindle"`
	Other     float64 `json:"other"`
	Ratio     float64 `json:"ratio"`
}

// Missing is what could not run.
type Missing struct {
	Peer   string `json:"peer"`
	Reason string `json:"reason"`
}

// Comparison is the result of one run.
type Comparison struct {
	Machine     Machine   `json:"machine"`
	Suite       string    `json:"suite"`
	Impl        string    `json:"impl"` // of our own AES-GCM
	Repeats     int       `json:"repeats"`
	Ratios      []Ratio   `json:"ratios"`
	Missing     []Missing `json:"missing"`
	NotMeasured []string  `json:"not_measured"`
}

// Compare runs Spindle and its peers by turns on this machine. Meanwhile this
// process and what it starts go before others.
func Compare(ctx context.Context, o CompareOptions) (c Comparison, err error) {
	suite, ok := esp.Find(o.Suite)
	if !ok || secgwNames[o.Suite] == "" {
		return c, fmt.Errorf("suite %q: not one that all peers have", o.Suite)
	}
	if o.CPU < 0 {
		o.CPU = runtime.NumCPU() - 1
	}
	c = Comparison{
		Machine: Fingerprint(o.Commit), Suite: suite.Keyword, Impl: implementation(suite, o.Crypto), Repeats: o.Repeats, Ratios: []Ratio{}, Missing: []Missing{},
		NotMeasured: []string{
			"NICs: the pipeline has ports of memory, the rest veth pairs, on which the kernel's copy costs more than any gateway",
			"latency, and more than one core",
			"ipsec-secgw's replay window, which is off because its frames repeat; ours is on",
		},
	}
	if err := c.prepare(ctx, &o); err != nil {
		return c, err
	}
	restore, err := prefer()
	if err != nil {
		return c, err
	}
	defer restore()
	if o.Cipher {
		if err := c.cryptos(ctx, &o, suite); err != nil {
			return c, err
		}
	}
	if o.Pipeline {
		if err := c.pipelines(ctx, &o, suite); err != nil {
			return c, err
		}
	}
	if o.Veth {
		if err := c.tunnels(ctx, &o); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Comparison) miss(peer, format string, args ...any) {
	c.Missing = append(c.Missing, Missing{peer, fmt.Sprintf(format, args...)})
}

// prepare makes the peers' programs, and notes what cannot be made.
func (c *Comparison) prepare(ctx context.Context, o *CompareOptions) error {
	o.Say("preparing ipsec-secgw, strongSwan and wireguard-go in %s", o.Folder)
	if err := os.MkdirAll(o.Folder, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "bash", "-s", o.Folder)
	cmd.Stdin = strings.NewReader(prepareScript)
	out, err := cmd.Output()
	for line := range strings.Lines(string(out)) {
		if peer, reason, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			c.miss(peer, "%s", reason)
		}
	}
	if err != nil {
		return fmt.Errorf("prepare the peers: %w", err)
	}
	return nil
}

// costs are the measured nanoseconds per packet of one case.
type costs struct{ ours, theirs []float64 }

// pipelines compares with ipsec-secgw, on both kinds of pages.
func (c *Comparison) pipelines(ctx context.Context, o *CompareOptions, suite esp.Suite) (err error) {
	const peer = "ipsec-secgw"
	exe := filepath.Join(o.Folder, peer)
	if _, err := os.Stat(exe); err != nil {
		c.miss(peer, "was not built")
		return nil
	}
	dir, err := os.MkdirTemp("", "spindle-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &secgw{exe: exe, dir: dir, suite: suite, cpu: o.CPU}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, pages := range []Pages{SmallPages, HugePages} {
		if err := c.onPages(ctx, o, s, pages); err != nil {
			return err
		}
	}
	return nil
}

// secgwPages is what ipsec-secgw needs with -m 512, and what we do.
const secgwPages = 300

func (c *Comparison) onPages(ctx context.Context, o *CompareOptions, s *secgw, pages Pages) (err error) {
	if pages == HugePages {
		restore, err := netlab.ReserveHugePages(secgwPages)
		if err != nil {
			c.miss("ipsec-secgw on 2 MiB pages", "%v", err)
			return nil
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	for _, direction := range o.Directions {
		for _, size := range o.Sizes {
			costs, err := c.byTurns(ctx, o, s, pages, direction, size)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				c.miss(fmt.Sprintf("ipsec-secgw, %v %v on %s pages", direction, size, pages), "%v", err)
				continue
			}
			ours, theirs := median(costs.ours), median(costs.theirs)
			c.Ratios = append(c.Ratios, Ratio{
				Bench: "pipeline", Peer: "ipsec-secgw", Pages: pages, Direction: direction.String(), Case: size.String(),
				Unit: "Mpps", Spindle: 1000 / ours, Other: 1000 / theirs, Ratio: theirs / ours,
			})
			o.Say("pipeline %v %v on %s pages: spindle %.1f ns, ipsec-secgw %.1f ns", direction, size, pages, ours, theirs)
		}
	}
	return nil
}

func (c *Comparison) byTurns(ctx context.Context, o *CompareOptions, s *secgw, pages Pages, direction sadb.Direction, size Size) (all costs, err error) {
	for range o.Repeats {
		theirs, err := s.measure(ctx, direction, size, pages == HugePages)
		if err != nil {
			return all, err
		}
		all.theirs = append(all.theirs, theirs)
		err = Pipeline(ctx, PipelineOptions{
			Directions: []sadb.Direction{direction}, Sizes: []Size{size}, SAs: []int{1}, Suite: o.Suite,
			Time: o.Time, Pages: pages, Frames: pipelineFrames, CPU: o.CPU, Commit: o.Commit, Crypto: o.Crypto,
		}, func(r PipelineRow) error {
			all.ours = append(all.ours, r.P50)
			return nil
		})
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// pipelineFrames is about what ipsec-secgw keeps warm: mempools hand out the
// buffer that came back last.
const pipelineFrames = 256
