package v1_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"spindle/ike/ladder"
	"spindle/ike/session"
)

// TestRekeysOfABusyPeer: a peer that takes long with each message, so that with
// lifetimes of seconds neither end may have a successor in time, and both open one.
// A packet that is sent at any moment in either direction has an SA, and the other
// end holds that.
func TestRekeysOfABusyPeer(t *testing.T) {
	for name, c := range map[string]struct {
		words ladder.Words
		busy  time.Duration // at most, with one message
		seeds []uint64
	}{
		"phase 1 outlived": {ladder.Words{"ikelife": "2s"}, 400 * time.Millisecond, several(0, 40)},
		"both phases":      {ladder.Words{"ikelife": "7s", "life": "5s"}, 150 * time.Millisecond, several(100, 140)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, seed := range c.seeds {
				rekeys(t, c.words, c.busy, seed)
			}
		})
	}
}

func several(from, to uint64) (seeds []uint64) {
	for seed := from; seed < to; seed++ {
		seeds = append(seeds, seed)
	}
	return seeds
}

// rekeys lets half a minute pass.
func rekeys(t *testing.T, words ladder.Words, most time.Duration, seed uint64) {
	w := ladder.Running(t, version, words)
	rnd := rand.New(rand.NewPCG(seed, 11))
	w.Dial()
	w.Run(time.Second)
	busy := time.Duration(0)
	w.Hold = inOrder(w, rnd, &busy)
	for step := range 3000 {
		if step%50 == 0 {
			busy = time.Duration(rnd.Int64N(int64(most)))
		}
		w.Run(10 * time.Millisecond)
		carried(w)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, w.Log.String())
		}
	}
}

// inOrder makes each message late by up to a time, and none overtake another: one
// process takes them in their order.
func inOrder(w *ladder.World, rnd *rand.Rand, busy *time.Duration) func(to string, d session.Datagram) time.Duration {
	last := map[string]time.Time{}
	return func(to string, _ session.Datagram) time.Duration {
		at := w.Now.Add(time.Duration(rnd.Int64N(int64(*busy) + 1)))
		if at.Before(last[to]) {
			at = last[to]
		}
		last[to] = at
		return at.Sub(w.Now)
	}
}

// carried sends a packet each way in the mind: there is an outbound SA, and who gets
// the packet holds its other half.
func carried(w *ladder.World) {
	w.T.Helper()
	for _, name := range w.Names() {
		g := w.Gateways[name]
		if len(g.Out) == 0 {
			w.T.Errorf("%v: %s has nothing to send with", w.Now, name)
		}
		for _, out := range g.Out {
			if !w.Heard(g, out) {
				w.T.Errorf("%v: %s sends on %v, which nobody holds", w.Now, name, out.SPI)
			}
		}
	}
}

// TestBothStart: both ends are to begin at the same moment, with messages that
// take their time: in the end both send by a child SA that the other holds.
func TestBothStart(t *testing.T) {
	for seed := range 200 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 7))
		w := ladder.Running(t, version, nil)
		busy := 30 * time.Millisecond
		w.Hold = inOrder(w, rnd, &busy)
		for _, name := range w.Names() {
			w.Step(w.Gateways[name], session.Initiate{Conn: "t"})
		}
		w.Run(5 * time.Second)
		carried(w)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, w.Log.String())
		}
	}
}
