package esp_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"spindle/datapath/esp"
)

// dumbWindow remembers every number it ever saw.
type dumbWindow struct {
	seen map[uint64]bool
	top  uint64
	size uint64
}

func (d *dumbWindow) fresh(seq uint64) bool {
	return seq != 0 && (d.size == 0 || seq+d.size > d.top && !d.seen[seq])
}

func (d *dumbWindow) commit(seq uint64) {
	d.seen[seq] = true
	d.top = max(d.top, seq)
}

func TestN1WindowAgreesWithABitmapThatForgetsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]uint32{0, 1, 63, 64, 65, 128, 1000, 4096, esp.MaxReplayWindow}).Draw(t, "size")
		w, err := esp.NewWindow(size, false)
		if err != nil {
			t.Fatal(err)
		}
		dumb := &dumbWindow{seen: map[uint64]bool{}, size: uint64(size)}
		step := rapid.Int64Range(-2*int64(size)-70, 2*int64(size)+200)
		for range rapid.IntRange(1, 400).Draw(t, "packets") {
			at := int64(dumb.top) + step.Draw(t, "step")
			if rapid.Bool().Draw(t, "near") {
				at = int64(dumb.top) + rapid.Int64Range(-70, 70).Draw(t, "step")
			}
			seq := uint64(max(at, 0))
			if got, want := w.Fresh(seq), dumb.fresh(seq); got != want {
				t.Fatalf("size %d top %d seq %d: fresh %v, want %v", size, dumb.top, seq, got, want)
			}
			if dumb.fresh(seq) && rapid.Bool().Draw(t, "authentic") {
				w.Commit(seq)
				dumb.commit(seq)
			}
			if w.Top() != dumb.top {
				t.Fatalf("top %d, want %d", w.Top(), dumb.top)
			}
		}
	})
}

// appendixA22 is the case distinction of RFC 4303 appendix A2.2 as it stands there.
func appendixA22(t uint64, w, seql uint32) (uint64, bool) {
	tl, th := uint32(t), uint32(t>>32)
	var seqh uint32
	if tl >= w-1 {
		seqh = th
		if seql < tl-w+1 {
			if th == math.MaxUint32 {
				return 0, false
			}
			seqh = th + 1
		}
	} else {
		seqh = th
		if seql >= tl-w+1 {
			if th == 0 {
				return 0, false
			}
			seqh = th - 1
		}
	}
	return uint64(seqh)<<32 | uint64(seql), true
}

func TestHighHalfOfESNFollowsRFC4303AppendixA22(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]uint32{64, 100, 4096, esp.MaxReplayWindow}).Draw(t, "size")
		high := rapid.SampledFrom([]uint64{0, 1, 2, 77, math.MaxUint32 - 1, math.MaxUint32}).Draw(t, "high")
		edge := rapid.Custom(func(t *rapid.T) uint32 {
			if rapid.Bool().Draw(t, "edge") {
				return uint32(rapid.IntRange(-70000, 70000).Draw(t, "offset"))
			}
			return rapid.Uint32().Draw(t, "low")
		})
		w, err := esp.NewWindow(size, true)
		if err != nil {
			t.Fatal(err)
		}
		top := high<<32 | uint64(edge.Draw(t, "top"))
		w.SetTop(top)
		low := edge.Draw(t, "seq")
		got, ok := w.Complete(low)
		want, wantOK := appendixA22(top, size, low)
		if ok != wantOK || ok && got != want {
			t.Fatalf("top %#x size %d low %#x: %#x %v, want %#x %v", top, size, low, got, ok, want, wantOK)
		}
	})
}

func TestWindowBounds(t *testing.T) {
	if _, err := esp.NewWindow(esp.MaxReplayWindow+1, false); err == nil {
		t.Error("a window of 65537 packets was accepted")
	}
	w, _ := esp.NewWindow(64, false)
	w.Commit(math.MaxUint32)
	for seq, want := range map[uint64]bool{
		math.MaxUint32: false, math.MaxUint32 - 63: true, math.MaxUint32 - 64: false, 0: false, 1: false,
	} {
		if got := w.Fresh(seq); got != want {
			t.Errorf("fresh(%d) = %v, want %v", seq, got, want)
		}
	}
}

func TestReplayOffStillCompletesESN(t *testing.T) {
	w, _ := esp.NewWindow(0, true)
	w.Commit(1<<32 + 5)
	for low, want := range map[uint32]uint64{4: 1<<32 + 4, 9: 1<<32 + 9, 0xfffffff0: 0xfffffff0} {
		got, ok := w.Complete(low)
		if !ok || got != want || !w.Fresh(got) {
			t.Errorf("complete(%#x) = %#x %v, want %#x", low, got, ok, want)
		}
	}
}
