package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"spindle/ike/session"
)

// midnight is when every world begins.
var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Machine is an IKE engine. Tests put broken ones in its place.
type Machine interface {
	Step(time.Time, session.Input) []session.Output
	Deadline() time.Time
	Status(time.Time) session.Status
}

// Options choose a history.
type Options struct {
	Seed    uint64
	Version int       // of IKE, 0 leaves it to the seed
	NAT     bool      // there is one in any case, where there may be
	Ladder  io.Writer // where it is written, nil for nowhere
	Trap    bool      // configured as it should not be: no recovery, no detection, no crash tokens

	// What tests break: the engine, the allocator of SPIs, and by how much
	// outbound sequence numbers jump when the data path is restored.
	Machine func(Machine) Machine
	SPIs    func(session.SPIs) session.SPIs
	Jump    func(uint64) uint64
}

// Result is how a history ended.
type Result struct {
	Seed     uint64
	Version  int
	Kind     Kind
	Failures []string // broken invariants, with their times

	Longest    time.Duration // without a packet between two ends that could reach each other
	Messages   int           // of IKE, sent
	Packets    int           // of ESP, sent
	Refused    int           // of ESP, for want of an SA
	SAs        int           // inbound SAs installed
	Collisions int           // rekeys that crossed
}

// maxFailures is after how many a history is not followed further.
const maxFailures = 5

// world is one history.
type world struct {
	now    time.Duration
	rnd    *rand.Rand
	plan   plan
	opts   Options
	events queue
	gates  []*gateway
	links  []*link
	net    network
	oracle oracle
	names  names
	result Result
	over   bool // traffic has ended
}

// Run lets one history happen.
func Run(o Options) Result {
	w := &world{rnd: rand.New(rand.NewPCG(o.Seed, 0x5eed)), opts: o, oracle: newOracle(), names: newNames()}
	w.plan = draw(w.rnd, o)
	if o.Trap {
		w.plan.recovery, w.plan.crashTokens, w.plan.dpd.Mode = false, false, session.DPDOff
	}
	w.result = Result{Seed: o.Seed, Version: w.plan.version, Kind: w.plan.kind}
	w.net = newNetwork(w)
	w.say("seed %d: %v", o.Seed, w.plan)
	w.build()
	w.act()
	w.settle()
	w.end()
	return w.result
}

// build makes the gateways, a star with the first one in the middle.
func (w *world) build() {
	for i := range w.plan.gateways {
		w.gates = append(w.gates, newGateway(w, i))
	}
	for i, g := range w.gates[1:] {
		w.links = append(w.links, &link{ends: [2]*gateway{w.gates[0], g}, name: fmt.Sprintf("r1-r%d", i+2), wanted: true})
	}
	for _, g := range w.gates {
		g.start()
	}
	for _, l := range w.links {
		for i := range l.ends {
			if i == w.plan.quiet {
				continue
			}
			w.traffic(l, i, time.Duration(w.rnd.IntN(1000))*time.Millisecond)
		}
	}
}

// run lets so much time pass.
func (w *world) run(limit time.Duration) {
	end := w.now + limit
	idle := 0
	for len(w.result.Failures) < maxFailures {
		at, g, ok := w.next()
		if !ok || at > end {
			w.now = end
			return
		}
		if idle++; at > w.now {
			w.now, idle = at, 0
		}
		if idle > 10000 {
			w.fail("timers fire without end")
			return
		}
		if g != nil {
			g.input(session.Tick{})
			continue
		}
		w.events.take().do()
	}
}

// next is the first event or timer; the gateway is nil for an event.
func (w *world) next() (time.Duration, *gateway, bool) {
	at, ok := w.events.first()
	var first *gateway
	for _, g := range w.gates {
		if due, timed := g.deadline(); timed && (!ok || due < at) {
			at, first, ok = due, g, true
		}
	}
	return max(at, w.now), first, ok
}

// after lets something happen later.
func (w *world) after(d time.Duration, do func()) { w.events.add(w.now+d, do) }

// upTo draws a time below d.
func (w *world) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rnd.Int64N(int64(d)))
}

// chance draws whether something of that probability in percent happens.
func (w *world) chance(percent int) bool { return w.rnd.IntN(100) < percent }

// fail notes that an invariant is broken.
func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf("%.3f ", w.now.Seconds()) + fmt.Sprintf(format, args...)
	w.result.Failures = append(w.result.Failures, text)
	w.say("BROKEN %s", text)
}

// say writes one line of the ladder.
func (w *world) say(format string, args ...any) {
	if w.opts.Ladder != nil {
		line := fmt.Sprintf(format, args...)
		fmt.Fprintf(w.opts.Ladder, "%9.3f %s\n", w.now.Seconds(), strings.TrimRight(line, "\n"))
	}
}
