// Command sim runs histories of the simulator (ike/sim) and prints the seeds
// that fail. One history alone is printed as a ladder.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spindle/ike/sim"
)

func main() {
	schedules := flag.Int("schedules", 10000, "how many histories")
	seed := flag.Uint64("seed", 1, "of the first one")
	flag.Parse()
	if flag.NArg() > 0 || *schedules < 1 {
		flag.Usage()
		os.Exit(2)
	}
	var failures int
	if *schedules == 1 {
		failures = replay(os.Stdout, *seed)
	} else {
		failures = runAll(os.Stdout, *schedules, *seed)
	}
	fmt.Printf("schedules %d failures %d\n", *schedules, failures)
	if failures > 0 {
		os.Exit(1)
	}
}

// replay writes one history.
func replay(out io.Writer, seed uint64) int {
	if r := sim.Run(sim.Options{Seed: seed, Ladder: out}); len(r.Failures) > 0 {
		return 1
	}
	return 0
}

// runAll runs histories on every core, and prints what failed.
func runAll(out io.Writer, schedules int, first uint64) int {
	var next atomic.Uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	sum := newSummary()
	for range runtime.NumCPU() {
		wg.Go(func() {
			for n := next.Add(1) - 1; n < uint64(schedules); n = next.Add(1) - 1 {
				r := sim.Run(sim.Options{Seed: first + n})
				mu.Lock()
				sum.add(out, r)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	sum.print(out)
	return sum.failures
}

// subject is what a history is about.
type subject struct {
	version int
	kind    sim.Kind
}

// summary is what all histories together came to.
type summary struct {
	began                                          time.Time
	failures                                       int
	count                                          map[subject]int
	longest                                        map[subject]time.Duration
	messages, packets, refused, sas, crossed, done int
}

func newSummary() *summary {
	return &summary{began: time.Now(), count: map[subject]int{}, longest: map[subject]time.Duration{}}
}

func (s *summary) add(out io.Writer, r sim.Result) {
	s.done++
	what := subject{r.Version, r.Kind}
	s.count[what]++
	s.longest[what] = max(s.longest[what], r.Longest)
	s.messages += r.Messages
	s.packets += r.Packets
	s.refused += r.Refused
	s.sas += r.SAs
	s.crossed += r.Collisions
	if len(r.Failures) > 0 {
		s.failures++
		fmt.Fprintf(out, "FAIL seed %d (%v, IKEv%d): %s\n     make sim SCHEDULES=1 SEED=%d\n", r.Seed, r.Kind, r.Version, r.Failures[0], r.Seed)
	}
}

func (s *summary) print(out io.Writer) {
	all := slices.SortedFunc(maps.Keys(s.count), func(a, b subject) int {
		return cmp.Or(cmp.Compare(a.version, b.version), cmp.Compare(a.kind, b.kind))
	})
	for _, what := range all {
		fmt.Fprintf(out, "IKEv%d %-9v %6d histories, longest outage between ends that could reach each other %v\n",
			what.version, what.kind, s.count[what], s.longest[what].Round(time.Millisecond))
	}
	fmt.Fprintf(out, "%d IKE messages, %d ESP packets, %d of them refused, %d SAs installed, %d rekeys crossed, in %v\n",
		s.messages, s.packets, s.refused, s.sas, s.crossed, time.Since(s.began).Round(time.Millisecond))
}
