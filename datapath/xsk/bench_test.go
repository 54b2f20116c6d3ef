package xsk_test

import (
	"testing"

	"spindle/datapath/xsk"
)

// The engine's own cost per packet, in batches of 64 over ordinary memory:
// receive and give back, or reserve, submit, flush and collect. It does not
// measure the driver, the copy of copy mode, or cold caches; the simulated
// kernel's work is included.

const batchSize = 64

func BenchmarkRX(b *testing.B) {
	s, k := xsk.OverMemory(1024, 0)
	var batch [batchSize][]byte
	var sum uint64
	b.ReportAllocs()
	for n := 0; n < b.N; n += batchSize {
		k.Bounce(batchSize)
		for _, f := range batch[:s.Peek(batch[:])] {
			sum += uint64(f[0])
		}
		s.Release()
	}
}

func BenchmarkTX(b *testing.B) {
	s, k := xsk.OverMemory(1024, 0)
	b.ReportAllocs()
	for n := 0; n < b.N; n += batchSize {
		for range batchSize {
			if f := s.Reserve(); f != nil {
				f[0] = 1
				s.Submit(64)
			}
		}
		if err := s.Flush(); err != nil {
			b.Fatal(err)
		}
		k.Bounce(0)
	}
	if s.Counts().TXFull > 0 {
		b.Fatal("TX was full")
	}
}
