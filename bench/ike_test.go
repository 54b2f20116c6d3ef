package bench_test

import (
	"testing"
	"time"

	"spindle/bench"
)

// TestIKE: every way to authenticate comes to its end, and what stands is counted.
func TestIKE(t *testing.T) {
	var rows []bench.IKERow
	o := bench.IKEOptions{Time: time.Millisecond, Held: 300, CPU: -1, Commit: "test"}
	err := bench.IKE(t.Context(), o, func(r bench.IKERow) error { rows = append(rows, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Auth != "psk" || rows[1].Auth != "ecdsa" {
		t.Fatalf("%+v", rows)
	}
	for _, r := range rows {
		if r.Handshakes == 0 || r.PerSecond <= 0 || r.InitiatorPerSecond <= r.PerSecond || r.ResponderPerSecond <= r.PerSecond {
			t.Errorf("%+v", r)
		}
	}
	if rows[0].Held != 300 || rows[0].BytesPerIKE < 500 || rows[0].BytesPerChild < 200 {
		t.Errorf("memory %+v", rows[0])
	}
}
