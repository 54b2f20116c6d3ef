package gcm_test

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"testing"

	"spindle/datapath/esp/gcm"
)

var keySizes = []int{16, 24, 32}

// subject is one key in both implementations.
type subject struct {
	c    *gcm.Context
	aead cipher.AEAD
	salt []byte
}

func newSubject(t testing.TB, v gcm.Variant, keyLen int) subject {
	key, salt := counting(keyLen, 7), []byte{0xde, 0xad, 0xbe, 0xef}
	return subject{context(t, v, key, salt), standard(t, key), salt}
}

// check seals and opens text out of place and in place and compares with the
// oracle. room is memory for three times the text and its tag.
func (s subject) check(t *testing.T, room, text []byte, iv uint64, aad []byte) {
	t.Helper()
	n, m := len(text), len(text)+gcm.TagSize
	want := s.aead.Seal(room[:0:m], nonceOf(s.salt, iv), text, aad)
	apart, place := room[m:2*m], room[2*m:3*m]
	copy(place, text)
	if !s.c.Seal(apart, text, iv, aad) || !bytes.Equal(apart, want) {
		t.Fatalf("%d bytes, AAD %d: sealed\n%x, want\n%x", n, len(aad), apart, want)
	}
	if !s.c.Seal(place, place[:n], iv, aad) || !bytes.Equal(place, want) {
		t.Fatalf("%d bytes, AAD %d: sealed in place\n%x, want\n%x", n, len(aad), place, want)
	}
	clear(apart)
	if !s.c.Open(apart, want, iv, aad) || !bytes.Equal(apart[:n], text) {
		t.Fatalf("%d bytes, AAD %d: opened\n%x, want\n%x", n, len(aad), apart[:n], text)
	}
	if !s.c.Open(place, place, iv, aad) || !bytes.Equal(place[:n], text) {
		t.Fatalf("%d bytes, AAD %d: opened in place\n%x, want\n%x", n, len(aad), place[:n], text)
	}
}

// scramble fills b with bytes that look random and are the same each time.
func scramble(b []byte, seed uint64) {
	for len(b) >= 8 {
		seed = seed*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(b, seed^seed>>29)
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(seed >> (8 * i))
	}
}

func TestEveryLengthAgainstTheStandardLibrary(t *testing.T) {
	each(t, everyLengthAgainstTheStandardLibrary)
}

func everyLengthAgainstTheStandardLibrary(t *testing.T, v gcm.Variant) {
	const most = 4096
	room, text := make([]byte, 3*(most+gcm.TagSize)), make([]byte, most)
	scramble(text, 1)
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for n := 0; n <= most; n++ {
			for _, a := range []int{8, 12} {
				s.check(t, room, text[:n], uint64(n)*0x9e3779b97f4a7c15, text[most-a:])
			}
		}
	}
}

// TestEveryTail splits a text where ESP adds its trailer.
func TestEveryTail(t *testing.T) { each(t, everyTail) }

func everyTail(t *testing.T, v gcm.Variant) {
	text, aad := make([]byte, 1024), counting(8, 1)
	got, place := make([]byte, 2048), make([]byte, 2048)
	scramble(text, 6)
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for n := range 700 {
			want := s.aead.Seal(nil, nonceOf(s.salt, 7), text[:n], aad)
			for tail := range min(n, gcm.MaxTail) + 1 {
				src, behind := text[:n-tail], valueOf(text[n-tail:n])
				behind |= ^uint64(0) << (8 * tail) // bits past the tail do not count
				copy(place, src)
				dst, same := got[:len(want)], place[:len(want)]
				if !s.c.SealTail(dst, src, behind, tail, 7, aad) || !bytes.Equal(dst, want) {
					t.Fatalf("%d bytes and %d: sealed\n%x, want\n%x", n-tail, tail, dst, want)
				}
				if !s.c.SealTail(same, place[:n-tail], behind, tail, 7, aad) || !bytes.Equal(same, want) {
					t.Fatalf("%d bytes and %d: sealed in place\n%x, want\n%x", n-tail, tail, same, want)
				}
			}
		}
	}
}

// valueOf returns at most eight bytes as SealTail takes them.
func valueOf(b []byte) uint64 {
	var whole [8]byte
	copy(whole[:], b)
	return binary.LittleEndian.Uint64(whole[:])
}

// TestEveryAAD goes past what ESP needs, to what the load of one block can do.
func TestEveryAAD(t *testing.T) { each(t, everyAAD) }

func everyAAD(t *testing.T, v gcm.Variant) {
	room, text := make([]byte, 3*1024), make([]byte, 1024)
	scramble(text, 2)
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for n := range 600 {
			for a := range gcm.MaxAAD + 1 {
				s.check(t, room, text[:n], uint64(a), text[1024-a:])
			}
		}
	}
}

// TestLongTexts carries the counter through three of its bytes.
func TestLongTexts(t *testing.T) { each(t, longTexts) }

func longTexts(t *testing.T, v gcm.Variant) {
	const most = 16<<20 + 99
	room, text := make([]byte, 3*(most+gcm.TagSize)), make([]byte, most)
	scramble(text, 3)
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for _, n := range []int{65535, 65536, 1 << 20, 1<<20 - 32, 1<<20 + 17} {
			s.check(t, room, text[:n], 1, text[:8])
		}
	}
	newSubject(t, v, 16).check(t, room, text, 1, text[:12])
}

// TestUnalignedBuffers moves text, result and AAD against each other.
func TestUnalignedBuffers(t *testing.T) { each(t, unalignedBuffers) }

func unalignedBuffers(t *testing.T, v gcm.Variant) {
	s := newSubject(t, v, 16)
	room, from, aad := make([]byte, 1024), make([]byte, 1024), make([]byte, 128)
	scramble(from, 4)
	scramble(aad, 5)
	for _, n := range []int{20, 64, 100, 288, 289, 544, 700} {
		for shift := range 64 {
			text, bound := from[shift:shift+n], aad[63-shift:75-shift]
			want := s.aead.Seal(nil, nonceOf(s.salt, 5), text, bound)
			dst := room[(shift*7)%64:][:n+gcm.TagSize]
			if !s.c.Seal(dst, text, 5, bound) || !bytes.Equal(dst, want) {
				t.Fatalf("%d bytes, shift %d: wrong", n, shift)
			}
		}
	}
}

func FuzzAgainstTheStandardLibrary(f *testing.F) {
	for _, n := range []int{0, 1, 32, 33, 288, 289, 1400} {
		f.Add(counting(n, 1), counting(32, 2), uint64(n), uint8(n))
	}
	f.Fuzz(func(t *testing.T, text, key []byte, iv uint64, mix uint8) {
		if len(key) < 32 || len(text) > 1<<16 {
			return
		}
		key = key[:keySizes[int(mix)%3]]
		salt, aad := counting(4, mix), counting(int(mix)/3%17, mix)
		for _, v := range working() {
			s := subject{context(t, v, key, salt), standard(t, key), salt}
			s.check(t, make([]byte, 3*(len(text)+gcm.TagSize)), text, iv, aad)
		}
	})
}

// TestKeys goes through keys whose hash keys differ in their first and last bits.
func TestKeys(t *testing.T) { each(t, keys) }

func keys(t *testing.T, v gcm.Variant) {
	p := gcm.Pool{Variant: v}
	text := counting(333, 0)
	for i := range 600 {
		key := make([]byte, keySizes[i%3])
		scramble(key, uint64(i))
		c, err := p.New(key, text[:4])
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text)+gcm.TagSize)
		c.Seal(got, text, uint64(i), text[:8])
		if want := standard(t, key).Seal(nil, nonceOf(text[:4], uint64(i)), text, text[:8]); !bytes.Equal(got, want) {
			t.Error(fmt.Sprintf("key %x: differs", key))
		}
		c.Close()
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
