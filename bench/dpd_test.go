package bench_test

import (
	"testing"
	"time"

	"spindle/bench"
)

// TestDPD: D10, counted and not timed: a minute of on-demand detection with idle
// peers is not one step of the engine, and has no timer that would make one. A
// minute of the periodic kind is a query every ten seconds to each peer, and for
// every query at most two steps: its timer, and its answer.
func TestDPD(t *testing.T) {
	const peers = 150
	var rows []bench.DPDRow
	o := bench.DPDOptions{Peers: peers, Time: time.Minute, CPU: -1, Commit: "test"}
	err := bench.DPD(t.Context(), o, func(r bench.DPDRow) error { rows = append(rows, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 {
		t.Fatalf("%d rows, want both modes of both versions", len(rows))
	}
	for _, r := range rows {
		switch {
		case r.Mode == "on-demand":
			if r.Steps != 0 || r.Queries != 0 || r.MillisPerSecond != 0 {
				t.Errorf("D10: on-demand with idle peers costs something: %+v", r)
			}
		case r.Queries != 6*peers || r.Answered != r.Queries || r.Steps > 2*r.Queries || r.MillisPerSecond <= 0:
			t.Errorf("D4: %+v, want %d queries, all answered, and two steps each at most", r, 6*peers)
		}
	}
}
