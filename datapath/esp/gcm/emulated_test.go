package gcm_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"spindle/datapath/esp/gcm"
)

// TestEmulatedKernels runs the assembly of every kernel without its processor, texts
// of every length up to all pieces and some groups, with tails of all lengths, and
// with bits turned; each buffer is as long as it is said to be, and no byte more is
// touched. After the call no register holds what it must not.
func TestEmulatedKernels(t *testing.T) {
	need(t, gcm.AVX2) // which expands the key, for all kernels alike
	for _, kernel := range []struct {
		file, suffix string
		most         int
		public       []int // vector registers that may hold something
	}{
		{"avx2_amd64.s", "AVX2", 700, []int{13, 15}},
		{"avx512_amd64.s", "AES%d", 1100, []int{5, 6, 7, 8, 9, 10}},
	} {
		functions, e, err := loadAssembly(kernel.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, keyLen := range keySizes {
			s := newSubject(t, gcm.AVX2, keyLen)
			name := kernel.suffix
			if name != "AVX2" {
				name = fmt.Sprintf(name, 8*keyLen)
			}
			step := 1
			if keyLen != 16 {
				step = 3 // the sizes of keys differ in their rounds alone
			}
			for n := 0; n <= kernel.most; n += step {
				s.emulate(t, e, functions["seal"+name], functions["open"+name], n, kernel.public)
			}
		}
	}
}

const (
	emulatedKey  = 1 << 20
	emulatedDst  = 2 << 20
	emulatedSrc  = 3 << 20
	emulatedAAD  = 4 << 20
	emulatedIV   = 0x0123456789abcdef
	emulatedTail = 0xfedcba9876543210
)

func (s subject) emulate(t *testing.T, e *emulator, seal, open *program, n int, public []int) {
	t.Helper()
	text, aad := make([]byte, n), counting([]int{8, 12, 0, 16, 5, 1}[n%6], 3)
	scramble(text, uint64(n))
	tail := min(n%(gcm.MaxTail+1), n)
	for ; splitsRegister(n-tail, n); tail-- {
	}
	copy(text[n-tail:], littleEndian(emulatedTail)[:tail])
	want := s.aead.Seal(nil, nonceOf(s.salt, emulatedIV), text, aad)
	key, bound := region{emulatedKey, gcm.Memory(s.c)}, region{emulatedAAD, aad}
	aadLen := uint64(len(aad))

	dst := make([]byte, n+gcm.TagSize)
	buffers := []region{key, {emulatedDst, dst}, {emulatedSrc, text[:n-tail]}, bound}
	if _, err := e.call(seal, buffers, emulatedKey, emulatedDst, emulatedSrc, uint64(n-tail), emulatedIV, emulatedAAD, aadLen, emulatedTail, uint64(tail)); err != nil {
		t.Fatalf("seal %d bytes: %v", n, err)
	}
	if !bytes.Equal(dst, want) {
		t.Fatalf("seal %d bytes, tail %d: %x, want %x", n, tail, dst, want)
	}
	e.clean(t, n, public)

	opened := make([]byte, n)
	buffers = []region{key, {emulatedDst, opened}, {emulatedSrc, want}, bound}
	args := []uint64{emulatedKey, emulatedDst, emulatedSrc, uint64(n), emulatedIV, emulatedAAD, aadLen}
	if ok, err := e.call(open, buffers, args...); err != nil || ok != 1 || !bytes.Equal(opened, text) {
		t.Fatalf("open %d bytes: %v, %d, %x", n, err, ok, opened)
	}
	e.clean(t, n, public)
	for _, bit := range []int{0, 8*n + n%128} { // of the text, or the tag
		want[bit/8] ^= 1 << (bit % 8)
		if ok, err := e.call(open, buffers, args...); err != nil || ok != 0 {
			t.Fatalf("open %d bytes with bit %d turned: %v, %d", n, bit, err, ok)
		}
		want[bit/8] ^= 1 << (bit % 8)
	}
}

// splitsRegister is what the contexts of both variants see to.
func splitsRegister(from, to int) bool {
	return from>>5 < (to-1)>>5 || (from+32)>>6 < (to+31)>>6
}

func littleEndian(v uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return b
}

func (e *emulator) clean(t *testing.T, n int, public []int) {
	t.Helper()
	for r, v := range e.vector {
		if v != [64]byte{} && !slices.Contains(public, r) {
			t.Fatalf("%d bytes: vector register %d is left with %x", n, r, v)
		}
	}
}
