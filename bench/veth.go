package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"spindle/datapath/esp"
	"spindle/sadb"
)

// VethOptions say what to search.
type VethOptions struct {
	Directions []sadb.Direction
	Sizes      []Size
	Suite      string
	Trial      time.Duration // at each rate
	CPU        int           // of the worker; the generator takes the next one
	UMEM       string        // of the gateway: auto, pages or hugepages
	Commit     string
	Crypto     *esp.Crypto // of the gateway; generator and sink have the same
}

// VethRow is the result for one size and direction.
type VethRow struct {
	Direction string `json:"direction"`
	Size      Size   `json:"size"`
	Suite     string `json:"suite"`
	Impl      string `json:"impl"` // of the crypto

	NDR     float64   `json:"ndr_mpps"` // the highest rate at which nothing was lost
	PDR     float64   `json:"pdr_mpps"` // the highest rate at which at most 0.5 % was lost
	Flood   float64   `json:"flood_mpps"`
	PDRGbit float64   `json:"pdr_gbit_per_s_inner"`
	CPU     []float64 `json:"cpu_busy_at_pdr"` // share of each CPU's time, the other programs of this machine included
	Limit   string    `json:"limit"`           // what ended the search: gateway, or generator

	LatencyRate float64 `json:"latency_mpps"` // half the PDR
	P50         float64 `json:"latency_us_p50"`
	P99         float64 `json:"latency_us_p99"`
	P999        float64 `json:"latency_us_p999"`
	Max         float64 `json:"latency_us_max"`

	Drops       map[string]uint64 `json:"drops"` // by the worker, over the whole search
	Trial       float64           `json:"trial_seconds"`
	Mode        string            `json:"mode"`
	Machine     Machine           `json:"machine"`
	NotMeasured []string          `json:"not_measured"`
}

// VethNotMeasured is what no figure of the veth bench contains.
var VethNotMeasured = []string{
	"a NIC: veth copies each frame in the kernel, on the sender's CPU, and that is most of the cost",
	"the gateway alone: generator and sink work on the other CPU of the same machine, and open or seal each packet",
	"a quiet machine: a rate counts as carried if one of two trials carried it",
	"60-second trials (RFC 2544 §24): a trial is as short as trial_seconds says",
}

// pdrLoss is the loss that PDR allows.
const pdrLoss = 0.005

// searchSteps halve the interval so often: 1/128 of the flood rate is left.
const searchSteps = 7

// Veth searches each direction and size, and hands each result to done. Meanwhile
// this process goes before others on the machine.
func Veth(ctx context.Context, o VethOptions, done func(VethRow) error) (err error) {
	suite, ok := esp.Find(o.Suite)
	if !ok {
		return unknownSuite(o.Suite)
	}
	if runtime.NumCPU() < 2 {
		return errors.New("veth needs two CPUs: one for the worker, one for the generator")
	}
	machine := Fingerprint(o.Commit)
	restore, err := prefer()
	if err != nil {
		return err
	}
	defer restore()
	unpin, err := pin((o.CPU + 1) % runtime.NumCPU())
	if err != nil {
		return err
	}
	defer unpin()
	for _, direction := range o.Directions {
		for _, size := range o.Sizes {
			row := VethRow{
				Direction: direction.String(), Size: size, Suite: suite.Keyword, Impl: implementation(suite, o.Crypto), Trial: o.Trial.Seconds(),
				Machine: machine, NotMeasured: VethNotMeasured,
			}
			if err := row.search(ctx, o, direction, suite); err != nil {
				return fmt.Errorf("%s, size %v: %w", row.Direction, size, err)
			}
			if err := done(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// search runs everything for one row on wires of its own.
func (r *VethRow) search(ctx context.Context, o VethOptions, direction sadb.Direction, suite esp.Suite) (err error) {
	w, err := newWires(suite, o.Crypto, o.CPU, o.UMEM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	r.Mode = strings.Join(w.ports.Modes, "; ")
	g, err := newGenerator(w, direction, r.Size, suite, o.Crypto)
	if err != nil {
		return err
	}
	defer g.wipe()
	if _, err := g.run(20_000, o.Trial/4); err != nil { // warms up
		return err
	}
	flood, err := g.run(0, o.Trial)
	if err != nil {
		return err
	}
	if flood.Received == 0 {
		return fmt.Errorf("nothing came out; the worker says %v", w.verdicts())
	}
	r.Flood = flood.Rate * (1 - flood.loss())
	pdr, err := r.highest(ctx, g, o.Trial, flood.Rate, pdrLoss)
	if err != nil {
		return err
	}
	ndr, err := r.highest(ctx, g, o.Trial, pdr.Rate, 0)
	if err != nil {
		return err
	}
	r.NDR, r.PDR, r.CPU = ndr.Rate, pdr.Rate, pdr.CPU
	r.PDRGbit = pdr.Rate * 8 * meanInner(r.Size) / 1000
	if r.Limit = "gateway"; flood.loss() <= pdrLoss {
		r.Limit = "generator"
	}
	if err := r.time(g, o.Trial); err != nil {
		return err
	}
	r.Drops = map[string]uint64{}
	for name, n := range w.verdicts() {
		if strings.HasPrefix(name, "drop_") && n > 0 {
			r.Drops[name] = n
		}
	}
	return nil
}

// highest searches the highest rate, up to ceiling in Mpps, with no more than that
// loss. The zero trial says that there was none.
func (r *VethRow) highest(ctx context.Context, g *generator, on time.Duration, ceiling, loss float64) (best trial, err error) {
	low, high := 0.0, ceiling
	rate := ceiling
	for range searchSteps {
		if err := ctx.Err(); err != nil {
			return best, err
		}
		t, err := r.attempt(g, rate, on, loss)
		if err != nil {
			return best, err
		}
		if t.loss() <= loss {
			if low = rate; t.Rate > best.Rate {
				best = t
			}
		} else {
			high = rate
		}
		if low == high {
			break
		}
		rate = (low + high) / 2
	}
	return best, nil
}

// attempt is one trial, and a second one if that lost too much: another program
// may have had the CPU.
func (r *VethRow) attempt(g *generator, rate float64, on time.Duration, loss float64) (t trial, err error) {
	for range 2 {
		if t, err = g.run(rate*1e6, on); err != nil || t.loss() <= loss {
			break
		}
	}
	return t, err
}

// time takes the latencies at half the PDR.
func (r *VethRow) time(g *generator, on time.Duration) error {
	r.LatencyRate = r.PDR / 2
	if r.LatencyRate == 0 {
		return nil
	}
	g.latency = hdrhistogram.New(1, int64(time.Second), 3)
	defer func() { g.latency = nil }()
	if _, err := g.run(r.LatencyRate*1e6, 2*on); err != nil {
		return err
	}
	us := func(q float64) float64 { return float64(g.latency.ValueAtQuantile(q)) / 1000 }
	r.P50, r.P99, r.P999, r.Max = us(50), us(99), us(99.9), float64(g.latency.Max())/1000
	return nil
}

// meanInner is the mean length of the inner IP packets, in bytes.
func meanInner(size Size) float64 {
	total := 0
	for _, n := range size.frames() {
		total += n - 14
	}
	return float64(total) / float64(len(size.frames()))
}
