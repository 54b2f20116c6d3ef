package bench_test

import (
	"strings"
	"testing"
	"time"

	"spindle/bench"
	"spindle/datapath/esp"
	"spindle/sadb"
)

// TestPipelineAccounts runs every direction, suite kind and size for a moment.
// Pipeline itself compares packets and counters; here the figures must be whole.
func TestPipelineAccounts(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes256-sha256"} {
		crypto, err := esp.NewCrypto("auto")
		if err != nil {
			t.Fatal(err)
		}
		o := bench.PipelineOptions{
			Directions: []sadb.Direction{sadb.Outbound, sadb.Inbound}, Sizes: []bench.Size{64, 1400, bench.IMIX},
			SAs: []int{1, 300}, Suite: suite, Time: 10 * time.Millisecond, Pages: bench.SmallPages, Frames: 256, CPU: 0, Crypto: crypto,
		}
		rows := 0
		err = bench.Pipeline(t.Context(), o, func(r bench.PipelineRow) error {
			rows++
			if r.Packets == 0 || r.Runs != bench.Runs || r.Min <= 0 || r.Min > r.P50 || r.P50 > r.Max || len(r.Drops) > 0 {
				t.Errorf("%+v", r)
			}
			if gcm := suite == "aes128gcm16"; r.Impl != esp.StandardLibrary && (!gcm || r.Impl != crypto.String()) {
				t.Errorf("%s by %s", suite, r.Impl)
			}
			if r.GbitOuter <= r.GbitInner {
				t.Errorf("%s %v: %v Gbit/s outside, %v inside", r.Direction, r.Size, r.GbitOuter, r.GbitInner)
			}
			if strings.Contains(suite, "gcm") && r.Allocs > 0.001 {
				t.Errorf("%s %v, %d SAs: %v allocations per packet", r.Direction, r.Size, r.SAs, r.Allocs)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := crypto.Close(); err != nil {
			t.Error(err)
		}
		if rows != 12 {
			t.Errorf("%s: %d results, want 12", suite, rows)
		}
	}
}

func TestPipelineRefusesUnknownSuite(t *testing.T) {
	err := bench.Pipeline(t.Context(), bench.PipelineOptions{Suite: "rot13"}, nil)
	if err == nil || !strings.Contains(err.Error(), "rot13") {
		t.Fatal(err)
	}
}
