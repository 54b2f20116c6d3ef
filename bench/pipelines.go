package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"spindle/datapath/esp"
	"spindle/sadb"
	"spindle/tools/netlab"
)

// The two ways in which ipsec-secgw encrypts: it gives packets to a crypto device and
// collects them, or it does so on the spot, as we do.
const (
	secgwQueued = "ipsec-secgw"
	secgwInline = "ipsec-secgw cpu-crypto"
)

// manySAs is how many tunnels are compared besides one, with the first size.
const manySAs = 1000

// pipelineFrames is about what ipsec-secgw keeps warm: mempools hand out the
// buffer that came back last.
const pipelineFrames = 256

// secgwPages is what ipsec-secgw needs with -m 512, and what we do.
const secgwPages = 300

// pipelines compares with ipsec-secgw, on both kinds of pages.
func (c *Comparison) pipelines(ctx context.Context, o *CompareOptions, suite esp.Suite) (err error) {
	exe := filepath.Join(o.Folder, "ipsec-secgw")
	if _, err := os.Stat(exe); err != nil {
		c.miss(secgwQueued, "was not built")
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
		for i, size := range o.Sizes {
			counts := []int{1}
			if i == 0 && pages == HugePages {
				counts = append(counts, manySAs)
			}
			for _, sas := range counts {
				p := pairing{compare: o, secgw: s, pages: pages, secgwCase: secgwCase{direction: direction, size: size, huge: pages == HugePages, sas: sas}}
				if err := c.pair(ctx, &p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// pairing is one case for both.
type pairing struct {
	secgwCase
	compare *CompareOptions
	secgw   *secgw
	pages   Pages
}

// pair adds the case's ratios, or what kept it from running. Of the repeats the least
// counts: what else the machine does can only add to the time.
func (c *Comparison) pair(ctx context.Context, p *pairing) error {
	costs, err := p.byTurns(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	name := fmt.Sprintf("%v %v, %d SAs, on %s pages", p.direction, p.size, p.sas, p.pages)
	if err != nil {
		c.miss("ipsec-secgw, "+name, "%v", err)
		return nil
	}
	ours := slices.Min(costs.ours)
	for _, peer := range []struct {
		name  string
		costs []float64
	}{{secgwQueued, costs.queued}, {secgwInline, costs.inline}} {
		theirs := slices.Min(peer.costs)
		c.Ratios = append(c.Ratios, Ratio{
			Bench: "pipeline", Peer: peer.name, Pages: p.pages, Direction: p.direction.String(), Case: p.size.String(), SAs: p.sas,
			Unit: "Mpps", Spindle: 1000 / ours, Other: 1000 / theirs, Ratio: theirs / ours,
		})
		p.compare.Say("pipeline %s: spindle %.1f ns, %s %.1f ns", name, ours, peer.name, theirs)
	}
	return nil
}

// costs are the measured nanoseconds per packet of one case.
type costs struct{ ours, queued, inline []float64 }

func (p *pairing) byTurns(ctx context.Context) (all costs, err error) {
	o := p.compare
	for range o.Repeats {
		for _, inline := range []bool{false, true} {
			p.inline = inline
			theirs, err := p.secgw.measure(ctx, p.secgwCase)
			if err != nil {
				return all, err
			}
			if inline {
				all.inline = append(all.inline, theirs)
			} else {
				all.queued = append(all.queued, theirs)
			}
		}
		err = Pipeline(ctx, PipelineOptions{
			Directions: []sadb.Direction{p.direction}, Sizes: []Size{p.size}, SAs: []int{p.sas}, Suite: o.Suite,
			Time: o.Time, Pages: p.pages, Frames: pipelineFrames, CPU: o.CPU, Commit: o.Commit, Crypto: o.Crypto,
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
