package esp_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// TestN1HistogramAgreesWithACount sends packets in any order through an SA, and
// counts by hand what a map of all numbers says of each.
func TestN1HistogramAgreesWithACount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.SampledFrom([]uint32{0, 1, 64, 100, 4096}).Draw(rt, "size")
		p := newPair(t, "null-md5", func(sa *sadb.SA) { sa.ReplayWindow = size })
		dumb := &dumbWindow{seen: map[uint64]bool{}, size: uint64(size)}
		var want esp.Reordering
		bucket := func(behind uint64) int {
			for i := range 17 {
				if behind < 1<<i {
					return i
				}
			}
			return 17
		}
		for range rapid.IntRange(1, 60).Draw(rt, "packets") {
			at := int64(dumb.top) + rapid.Int64Range(-3, 40).Draw(rt, "near")
			if rapid.Bool().Draw(rt, "far") {
				at = int64(dumb.top) + rapid.Int64Range(-100000, 10000).Draw(rt, "step")
			}
			seq := uint64(max(at, 1))
			p.out.SetSequence(seq - 1)
			body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
			_, v := p.open(body, 0)
			fresh := dumb.fresh(seq)
			if fresh != (v == packet.Pass) {
				rt.Fatalf("size %d top %d seq %d: %v", size, dumb.top, seq, v)
			}
			switch {
			case fresh && seq < dumb.top:
				want.Late[bucket(dumb.top-seq)]++
			case !fresh && dumb.top-seq >= uint64(size):
				want.Left[bucket(dumb.top-seq)]++
			}
			if fresh {
				dumb.commit(seq)
			}
		}
		if got := p.in.Reordering(); got != want {
			rt.Fatalf("size %d: %v, want %v", size, got, want)
		}
	})
}

func TestN1TheHistogramTellsTheWindowThatIsNeeded(t *testing.T) {
	for _, c := range []struct{ behind, want uint64 }{
		{0, 0}, {1, 2}, {2, 4}, {63, 64}, {64, 128}, {4095, 4096}, {4096, 8192}, {65535, 65536}, {65536, 0}, {math.MaxInt32, 0},
	} {
		p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ReplayWindow = 64 })
		for _, seq := range []uint64{math.MaxUint32 - 9, math.MaxUint32 - 9 - c.behind} {
			p.out.SetSequence(seq - 1)
			body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
			p.open(body, 0)
		}
		if got := p.in.Reordering().Window(); uint64(got) != c.want {
			t.Errorf("%d behind: a window of %d, want %d", c.behind, got, c.want)
		}
		if c.want == 0 {
			continue
		}
		p = newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.ReplayWindow = uint32(c.want) })
		p.in.SetTop(1 << 30)
		p.out.SetSequence(1<<30 - c.behind - 1)
		body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
		if _, v := p.open(body, 0); v != packet.Pass {
			t.Errorf("%d behind: a window of %d does not take it: %v", c.behind, c.want, v)
		}
	}
}
