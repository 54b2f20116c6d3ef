package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// Runs is how often each case is timed. The median of them is what counts.
const Runs = 11

// PipelineOptions say what to run: every direction with every size and number of SAs.
type PipelineOptions struct {
	Directions []sadb.Direction
	Sizes      []Size
	SAs        []int
	Active     []int // of the SAs, how many the packets are for; 0 for all, as is none at all
	Suite      string
	Time       time.Duration // on the clock, for each case
	Pages      Pages         // of the packet buffers
	Frames     int           // RX frames, and TX frames, of each port
	CPU        int           // that the worker is pinned to, -1 for the last one
	Commit     string
	Crypto     *esp.Crypto
}

// PipelineRow is the result of one case. Rates are those of the median run.
type PipelineRow struct {
	Direction string `json:"direction"` // out, in
	Size      Size   `json:"size"`      // of the frame before encapsulation, bytes
	SAs       int    `json:"sas"`
	Active    int    `json:"active"` // SAs that the packets are for, each packet for another one
	Suite     string `json:"suite"`
	Impl      string `json:"impl"` // of the crypto

	P50       float64 `json:"ns_per_packet_p50"`
	Min       float64 `json:"ns_per_packet_min"`
	Max       float64 `json:"ns_per_packet_max"`
	Cycles    float64 `json:"tsc_cycles_per_packet"`
	Mpps      float64 `json:"mpps"`             // of one core
	GbitInner float64 `json:"gbit_per_s_inner"` // of inner IP packets
	GbitOuter float64 `json:"gbit_per_s_outer"` // of outer IP packets

	Allocs  float64           `json:"allocs_per_packet"`
	Drops   map[string]uint64 `json:"drops"`
	Packets uint64            `json:"packets"` // on the clock
	Runs    int               `json:"runs"`
	Pages   Pages             `json:"pages"`
	Frames  int               `json:"frames"`

	Machine     Machine  `json:"machine"`
	NotMeasured []string `json:"not_measured"`
}

// PipelineNotMeasured is what no figure of the pipeline bench contains.
var PipelineNotMeasured = []string{
	"NIC, driver, DMA, XDP program and AF_XDP system calls: ports are memory, and a received frame costs one copy from warm cache",
	"frames that arrive cold: they were written by the same core just before",
	"waiting for the CPU: time is that of the worker's thread, about 2 ns of it for reading the clock",
	"more than one core, hand-off between workers, and what shares the machine",
	"routes by the thousand: the table has three",
}

// Pipeline pins itself to a CPU, runs the cases one after the other and hands each result to done.
func Pipeline(ctx context.Context, o PipelineOptions, done func(PipelineRow) error) error {
	suite, ok := esp.Find(o.Suite)
	if !ok {
		return unknownSuite(o.Suite)
	}
	machine := Fingerprint(o.Commit)
	if len(o.Active) == 0 {
		o.Active = []int{0}
	}
	unpin, err := pin(o.CPU)
	if err != nil {
		return err
	}
	defer unpin()
	memory, pages, err := allocate(4*o.Frames*frameLen, o.Pages)
	if err != nil {
		return err
	}
	defer unix.Munmap(memory)
	for _, sas := range o.SAs {
		g, err := newGateway(sas, suite, o.Crypto, memory)
		if err != nil {
			return err
		}
		row := PipelineRow{
			SAs: sas, Suite: suite.Keyword, Impl: implementation(suite, o.Crypto),
			Pages: pages, Frames: o.Frames, Machine: machine, NotMeasured: PipelineNotMeasured,
		}
		err = g.sweep(ctx, o, suite, row, done)
		if err := errors.Join(err, g.close()); err != nil {
			return err
		}
	}
	return nil
}

// implementation names whose cryptography a suite is.
func unknownSuite(keyword string) error {
	return fmt.Errorf("unknown suite %q: write it as in a configuration's esp, like aes256gcm16 or aes128-sha256", keyword)
}

func implementation(suite esp.Suite, c *esp.Crypto) string {
	if strings.Contains(suite.Keyword, "gcm16") {
		return c.String()
	}
	return esp.StandardLibrary
}

// sweep runs every number of active SAs, direction and size on one gateway.
func (g *gateway) sweep(ctx context.Context, o PipelineOptions, suite esp.Suite, row PipelineRow, done func(PipelineRow) error) error {
	for _, active := range actives(o.Active, row.SAs) {
		for _, direction := range o.Directions {
			for _, size := range o.Sizes {
				row := row
				row.Active, row.Direction, row.Size, row.Drops = active, direction.String(), size, map[string]uint64{}
				c := &pipelineCase{gateway: g, direction: direction, source: newSource(direction, size, row.SAs, suite, g.peers)}
				c.order = c.order[:active]
				if err := c.measure(ctx, o.Time, &row); err != nil {
					return fmt.Errorf("%s, size %v, %d of %d SAs: %w", row.Direction, size, active, row.SAs, err)
				}
				if err := done(row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// actives are the numbers of active SAs asked for, of so many, each once.
func actives(asked []int, sas int) (list []int) {
	for _, n := range asked {
		if n == 0 {
			n = sas
		}
		if n = min(n, sas); !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// pipelineCase is one direction, size and number of SAs.
type pipelineCase struct {
	*gateway
	*source
	direction  sadb.Direction
	packets    uint64 // that arrived in this case
	sentBefore uint64 // frames that had left before this case
	mallocs    uint64 // while on the clock
}

// measure warms up, runs on the clock Runs times, and checks what came of it.
func (c *pipelineCase) measure(ctx context.Context, on time.Duration, row *PipelineRow) error {
	already, err := c.packetsOf(c.direction)
	if err != nil {
		return err
	}
	if err := c.warm(); err != nil {
		return err
	}
	var times []float64
	var inner, arriving, sent uint64
	for range Runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		sentBefore, packets := c.out().octets, c.packets
		took, err := c.timed(on / Runs)
		if err != nil {
			return err
		}
		if err := c.check(c.out().last()); err != nil {
			return err
		}
		n := c.packets - packets
		row.Packets += n
		times = append(times, float64(took.Nanoseconds())/float64(n))
		in, frames := c.octets()
		inner, arriving, sent = inner+in*n/chunk, arriving+frames*n/chunk, sent+c.out().octets-sentBefore
	}
	outer := sent
	if c.direction == sadb.Inbound {
		outer = arriving
	}
	row.fill(times, inner, outer-packet.EthernetLen*row.Packets, c.mallocs)
	return c.account(row, already)
}

// warm forwards every SA's packets twice, off the clock.
func (c *pipelineCase) warm() error {
	if _, err := c.counted(); err != nil {
		return err
	}
	c.sentBefore = c.out().frames
	runtime.GC()
	for c.packets < uint64(2*len(c.order)) || c.packets < 50*chunk {
		if _, err := c.pass(); err != nil {
			return err
		}
	}
	return nil
}

// out is the port that packets leave by.
func (c *pipelineCase) out() *queue {
	if c.direction == sadb.Outbound {
		return c.queues[outPort]
	}
	return c.queues[inPort]
}

// timed runs chunks until so much time was spent on forwarding. Making the
// packets is off the clock.
func (c *pipelineCase) timed(on time.Duration) (took time.Duration, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for took < on {
		t, err := c.pass()
		if err != nil {
			return 0, err
		}
		took += t
	}
	runtime.ReadMemStats(&after)
	c.mallocs += after.Mallocs - before.Mallocs
	return took, nil
}

// pass forwards one chunk and says how much CPU time it took.
func (c *pipelineCase) pass() (time.Duration, error) {
	if err := c.refill(); err != nil {
		return 0, err
	}
	port := inPort
	if c.direction == sadb.Inbound {
		port = outPort
	}
	began := threadTime()
	err := c.run(port, c.frames)
	took := threadTime() - began
	c.packets += chunk
	return took, err
}

// account checks that each packet was forwarded, left, and was counted by its SA.
// already is what the SAs had counted before this case.
func (c *pipelineCase) account(row *PipelineRow, already uint64) error {
	verdicts, err := c.counted()
	if err != nil {
		return err
	}
	forwarded := verdicts["forwarded"]
	delete(verdicts, "forwarded")
	row.Drops = verdicts
	if len(verdicts) > 0 || forwarded != c.packets {
		return fmt.Errorf("%d packets arrived, %d were forwarded, besides: %v", c.packets, forwarded, verdicts)
	}
	if left := c.out().frames - c.sentBefore; left != c.packets {
		return fmt.Errorf("%d packets were forwarded, but %d frames left", c.packets, left)
	}
	now, err := c.packetsOf(c.direction)
	if err == nil && now-already != c.packets {
		err = fmt.Errorf("%d packets were forwarded, but the SAs counted %d", c.packets, now-already)
	}
	return err
}

// fill computes the figures from the time of each run in ns per packet.
func (r *PipelineRow) fill(times []float64, inner, outer, mallocs uint64) {
	slices.Sort(times)
	r.Runs, r.Min, r.P50, r.Max = len(times), times[0], times[len(times)/2], times[len(times)-1]
	r.Mpps = 1000 / r.P50
	r.Cycles = r.Machine.cycles(r.P50)
	r.GbitInner = 8 * float64(inner) / float64(r.Packets) / r.P50
	r.GbitOuter = 8 * float64(outer) / float64(r.Packets) / r.P50
	r.Allocs = float64(mallocs) / float64(r.Packets)
}

// DropNames lists what was dropped, for a table.
func (r *PipelineRow) DropNames() []string { return slices.Sorted(maps.Keys(r.Drops)) }
