package gcm_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"spindle/datapath/esp/gcm"
)

// fence is memory between two pages that must not be touched.
type fence []byte

const fenced = 2 * 4096

func newFence(t testing.TB) fence {
	t.Helper()
	const page = 4096
	all, err := unix.Mmap(-1, 0, fenced+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	for _, guard := range [][]byte{all[:page], all[page+fenced:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return fence(all[page : page+fenced])
}

// low is n bytes right behind the first guard page, high right before the last.
func (f fence) low(n int) []byte  { return f[:n:n] }
func (f fence) high(n int) []byte { return f[len(f)-n:] }

// TestNothingOutsideTheBuffersIsTouched puts each buffer against each guard page.
// A kernel that reads or writes one byte too many ends the test with a fault.
func TestNothingOutsideTheBuffersIsTouched(t *testing.T) { each(t, nothingOutsideTheBuffersIsTouched) }

func nothingOutsideTheBuffersIsTouched(t *testing.T, v gcm.Variant) {
	dst, src, aad := newFence(t), newFence(t), newFence(t)
	lengths := []int{1023, 1024, 1400, 1404, 4000}
	for n := range 620 {
		lengths = append(lengths, n)
	}
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for _, n := range lengths {
			for _, a := range []int{0, 8, 12, 16} {
				s.fenced(t, dst.low(n+gcm.TagSize), src.low(n), aad.low(a))
				s.fenced(t, dst.high(n+gcm.TagSize), src.high(n), aad.high(a))
			}
		}
	}
}

// fenced seals from text to dst and opens back to text.
func (s subject) fenced(t *testing.T, dst, text, aad []byte) {
	t.Helper()
	n := len(text)
	scramble(text, uint64(n))
	scramble(aad, 9)
	want := s.aead.Seal(nil, nonceOf(s.salt, 3), text, aad)
	if !s.c.Seal(dst, text, 3, aad) || !bytes.Equal(dst, want) {
		t.Fatalf("%d bytes: sealed wrongly", n)
	}
	tail := min(n, n%(gcm.MaxTail+1))
	behind := valueOf(text[n-tail:])
	copy(text[tail:], text[:n-tail]) // so that a high text still ends at its guard page
	if !s.c.SealTail(dst, text[tail:], behind, tail, 3, aad) || !bytes.Equal(dst, want) {
		t.Fatalf("%d bytes and %d: sealed wrongly", n-tail, tail)
	}
	clear(text)
	if !s.c.Open(text, dst, 3, aad) {
		t.Fatalf("%d bytes: does not open", n)
	}
	if again := s.aead.Seal(nil, nonceOf(s.salt, 3), text, aad); !bytes.Equal(again, want) {
		t.Fatalf("%d bytes: opened wrongly", n)
	}
}

// TestNeighboursKeepTheirBytes looks at what lies around the result inside one
// buffer, where no guard page can.
func TestNeighboursKeepTheirBytes(t *testing.T) { each(t, neighboursKeepTheirBytes) }

func neighboursKeepTheirBytes(t *testing.T, v gcm.Variant) {
	const around = 128
	buffer, src := make([]byte, 2*around+1500+gcm.TagSize), make([]byte, 1500)
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for n := range 1400 {
			for i := range buffer {
				buffer[i] = 0xa5
			}
			sealed := buffer[around : around+n+gcm.TagSize]
			s.c.Seal(sealed, src[:n], 1, src[:8])
			untouched(t, n, buffer[:around], buffer[around+n+gcm.TagSize:])
			if !s.c.Open(sealed, sealed, 1, src[:8]) {
				t.Fatalf("%d bytes: does not open", n)
			}
			untouched(t, n, buffer[:around], buffer[around+n+gcm.TagSize:])
		}
	}
}

func untouched(t *testing.T, n int, parts ...[]byte) {
	t.Helper()
	for _, p := range parts {
		if bytes.Count(p, []byte{0xa5}) != len(p) {
			t.Fatalf("%d bytes: a byte outside dst was written", n)
		}
	}
}
