package sim_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"spindle/ike/sim"
)

// schedules is how many histories make test follows; make sim takes any number.
const schedules = 10000

// TestSchedules follows seeded histories. A failure names the seed, and
// `make sim SCHEDULES=1 SEED=n` shows its ladder.
func TestSchedules(t *testing.T) {
	count := schedules
	if testing.Short() {
		count = 500
	}
	var kinds [3][4]atomic.Int64 // by version
	each(count, func(seed uint64) {
		r := sim.Run(sim.Options{Seed: seed})
		kinds[r.Version][r.Kind].Add(1)
		if len(r.Failures) > 0 {
			t.Errorf("seed %d (%v, IKEv%d): %v", seed, r.Kind, r.Version, r.Failures[0])
		}
	})
	for _, version := range []int{1, 2} {
		for kind := range kinds[version] {
			if kinds[version][kind].Load() == 0 {
				t.Errorf("no history of IKEv%d is about %v", version, sim.Kind(kind))
			}
		}
	}
}

// each calls do for so many seeds, two at a time.
func each(count int, do func(seed uint64)) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < uint64(count); seed = next.Add(1) - 1 {
				do(seed)
			}
		})
	}
	wg.Wait()
}

// TestSameSeedSameHistory: a failure that cannot be replayed cannot be mended.
func TestSameSeedSameHistory(t *testing.T) {
	for seed := range uint64(20) {
		var first, second bytes.Buffer
		a := sim.Run(sim.Options{Seed: seed, Ladder: &first})
		b := sim.Run(sim.Options{Seed: seed, Ladder: &second})
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("seed %d has two histories", seed)
		}
		if c := sim.Run(sim.Options{Seed: seed}); a.Messages != b.Messages || a.Packets != c.Packets || a.Messages != c.Messages {
			t.Errorf("seed %d: the ladder changes its history", seed)
		}
	}
}

// mended are histories that once broke an invariant, each for a fault of its own in
// the engine.
var mended = []struct {
	version int
	seed    uint64
	fault   string
}{
	{2, 6905, "an IKE SA was rekeyed while the Delete of a child SA, which asked for life as well, had no answer: the child SA stayed for ever"},
	{2, 8312, "IKE_AUTH to a peer that had rebooted since IKE_SA_INIT, and said so, was repeated for half a minute"},
	{1, 64, "both ends asked for the first child SA at once: each sent on another, and the one too many stayed for its lifetime"},
	{1, 240, "a replaced ISAKMP SA left its children to nobody when its successor had just been deleted"},
	{1, 705, "of two ISAKMP SAs that crossed each end kept the newer: not the same one"},
	{1, 2045, "the last message of a quick mode came after a later quick mode was over: the older child SA took over"},
	{1, 2271, "a peer that moved opened phase 1 from where it was then: its child SAs stayed behind"},
}

// TestMended follows them again.
func TestMended(t *testing.T) {
	for _, m := range mended {
		t.Run(fmt.Sprintf("IKEv%d %d", m.version, m.seed), func(t *testing.T) {
			if r := sim.Run(sim.Options{Seed: m.seed, Version: m.version}); len(r.Failures) > 0 {
				t.Errorf("%s: %v", m.fault, r.Failures)
			}
		})
	}
}

// stillSeed is a seed whose history is about a reboot and nothing else.
func stillSeed(n uint64) uint64 { return 5*n + 4 }

// TestTrap: what an operator is told to expect without detection, recovery and
// crash tokens does happen (V3). If it did not, the simulator would see no black
// hole at all.
func TestTrap(t *testing.T) {
	for _, version := range []int{1, 2} {
		var holes, healed atomic.Int64
		each(80, func(n uint64) {
			seed := stillSeed(n)
			if r := sim.Run(sim.Options{Seed: seed, Version: version, Trap: true}); r.Kind == sim.Still && len(r.Failures) > 0 {
				holes.Add(1)
			}
			if r := sim.Run(sim.Options{Seed: seed, Version: version}); r.Kind == sim.Still && len(r.Failures) == 0 {
				healed.Add(1)
			}
		})
		if holes.Load() == 0 || healed.Load() == 0 {
			t.Errorf("IKEv%d: %d black holes without recovery, %d histories healed with it", version, holes.Load(), healed.Load())
		}
	}
}

// TestLadder: a history can be read.
func TestLadder(t *testing.T) {
	for version, first := range map[int]string{1: "MAIN_MODE [ SA", 2: "IKE_SA_INIT request 0"} {
		var ladder bytes.Buffer
		sim.Run(sim.Options{Seed: 3, Version: version, Ladder: &ladder})
		for _, want := range []string{first, "child SA established", "the network heals"} {
			if !bytes.Contains(ladder.Bytes(), []byte(want)) {
				t.Errorf("no %q in\n%s", want, ladder.Bytes())
			}
		}
	}
}
