package sim_test

import (
	"bytes"
	"strconv"
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
	var kinds [4]atomic.Int64
	each(count, func(seed uint64) {
		r := sim.Run(sim.Options{Seed: seed})
		kinds[r.Kind].Add(1)
		if len(r.Failures) > 0 {
			t.Errorf("seed %d (%v): %v", seed, r.Kind, r.Failures[0])
		}
	})
	for kind := range kinds {
		if kinds[kind].Load() == 0 {
			t.Errorf("no history is about %v", sim.Kind(kind))
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

// mended are seeds whose histories once broke an invariant, each for a fault of
// its own in the engine.
var mended = map[uint64]string{
	6905: "an IKE SA was rekeyed while the Delete of a child SA, which asked for life as well, had no answer: the child SA stayed for ever",
	8312: "IKE_AUTH to a peer that had rebooted since IKE_SA_INIT, and said so, was repeated for half a minute",
}

// TestMended follows them again.
func TestMended(t *testing.T) {
	for seed, what := range mended {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			if r := sim.Run(sim.Options{Seed: seed}); len(r.Failures) > 0 {
				t.Errorf("%s: %v", what, r.Failures)
			}
		})
	}
}

// TestTrap: what an operator is told to expect without detection, recovery and
// crash tokens does happen (V3). If it did not, the simulator would see no black
// hole at all.
func TestTrap(t *testing.T) {
	var holes, healed atomic.Int64
	each(400, func(seed uint64) {
		if r := sim.Run(sim.Options{Seed: seed, Trap: true}); r.Kind == sim.Still && len(r.Failures) > 0 {
			holes.Add(1)
		}
		if r := sim.Run(sim.Options{Seed: seed}); r.Kind == sim.Still && len(r.Failures) == 0 {
			healed.Add(1)
		}
	})
	if holes.Load() == 0 || healed.Load() == 0 {
		t.Errorf("%d black holes without recovery, %d histories healed with it", holes.Load(), healed.Load())
	}
}

// TestLadder: a history can be read.
func TestLadder(t *testing.T) {
	var ladder bytes.Buffer
	sim.Run(sim.Options{Seed: 3, Ladder: &ladder})
	for _, want := range []string{"IKE_SA_INIT request 0", "child SA established", "the network heals"} {
		if !bytes.Contains(ladder.Bytes(), []byte(want)) {
			t.Errorf("no %q in\n%s", want, ladder.Bytes())
		}
	}
}
