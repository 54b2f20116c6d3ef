package bench_test

import (
	"testing"
	"time"

	"spindle/bench"
	"spindle/datapath/esp"
)

// TestCryptoRunsEverySuite has each suite seal and open, whatever esp comes to know.
func TestCryptoRunsEverySuite(t *testing.T) {
	seen := map[string]int{}
	o := bench.CryptoOptions{Sizes: []bench.Size{64}, Time: time.Millisecond, CPU: 0}
	err := bench.Crypto(t.Context(), o, func(r bench.CryptoRow) error {
		seen[r.Suite]++
		if r.Min <= 0 || r.Min > r.P50 || r.P50 > r.Max {
			t.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range esp.Suites() {
		if seen[s.Keyword] != 2 {
			t.Errorf("suite %s: %d results, want 2", s.Keyword, seen[s.Keyword])
		}
	}
}
