package bench

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"spindle/datapath/esp"
	"spindle/sadb"
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
	Repeats    int           // of everything, interleaved
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
	Case      string  `json:"case"`          // size, or kind of traffic
	SAs       int     `json:"sas,omitempty"` // of the pipeline, each packet for the next of them
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
			"ipsec-secgw with 100,000 tunnels: given 4 GiB of memory it was still building its policies after 45 s",
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
