package bench_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"spindle/bench"
	"spindle/sadb"
)

// TestVethCarries runs a short search each way: packets go through the real
// program, sockets and worker, and come out right. How many is the machine's affair.
func TestVethCarries(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, XDP and AF_XDP")
	}
	if runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs")
	}
	rows := 0
	o := bench.VethOptions{
		Directions: []sadb.Direction{sadb.Outbound, sadb.Inbound}, Sizes: []bench.Size{bench.IMIX},
		Suite: "aes128gcm16", Trial: 50 * time.Millisecond,
	}
	err := bench.Veth(t.Context(), o, func(r bench.VethRow) error {
		rows++
		if r.Flood <= 0 || r.NDR > r.PDR || len(r.CPU) != runtime.NumCPU() {
			t.Errorf("%+v", r)
		}
		if r.PDR > 0 && (r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.Max) {
			t.Errorf("latencies %+v", r)
		}
		for _, name := range []string{"drop_auth", "drop_replay", "drop_selector", "drop_policy", "drop_malformed", "drop_checksum"} {
			if r.Drops[name] > 0 {
				t.Errorf("%s: %d %s", r.Direction, r.Drops[name], name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rows != 2 {
		t.Errorf("%d results, want 2", rows)
	}
}
