package prefetch_test

import (
	"testing"
	"unsafe"

	"spindle/datapath/prefetch"
)

// A hint may be wrong: no address faults, and nothing is written.
func TestAnyAddress(t *testing.T) {
	prefetch.Bytes(nil, 1<<20)
	b := make([]byte, 3*prefetch.Line)
	for at := range b {
		for n := range len(b) - at {
			prefetch.Bytes(unsafe.Pointer(&b[at]), uintptr(n))
		}
		prefetch.Of(&b[at])
	}
	for i, v := range b {
		if v != 0 {
			t.Fatalf("byte %d was written", i)
		}
	}
}

// BenchmarkBytes is what a hint for eight lines costs that are in the cache already.
func BenchmarkBytes(b *testing.B) {
	memory := make([]byte, 8*prefetch.Line)
	for b.Loop() {
		prefetch.Bytes(unsafe.Pointer(&memory[0]), uintptr(len(memory)))
	}
}
