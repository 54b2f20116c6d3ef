package gcm_test

import (
	"bytes"
	"testing"

	"spindle/datapath/esp/gcm"
)

// TestEachBitCounts turns every bit of text, tag, AAD and IV. RFC 4106 §3 and
// SP 800-38D §7.2: no plaintext without a valid tag.
func TestEachBitCounts(t *testing.T) { each(t, eachBitCounts) }

func eachBitCounts(t *testing.T, v gcm.Variant) {
	for _, keyLen := range keySizes {
		s := newSubject(t, v, keyLen)
		for _, n := range []int{0, 1, 24, 33, 64, 100, 161, 230, 288, 289, 400, 530, 600, 1404} {
			for _, a := range []int{8, 12} {
				s.spoil(t, n, a)
			}
		}
	}
}

func (s subject) spoil(t *testing.T, n, a int) {
	t.Helper()
	const iv = 0x0123456789abcdef
	aad, sealed, dst := counting(a, 50), make([]byte, n+gcm.TagSize), make([]byte, n)
	s.c.Seal(sealed, counting(n, 1), iv, aad)
	refused := func(what string, bit int, iv uint64) {
		for i := range dst {
			dst[i] = 0xff
		}
		if s.c.Open(dst, sealed, iv, aad) {
			t.Fatalf("%d bytes, AAD %d: bit %d of the %s turned, and it opens", n, a, bit, what)
		}
		if !bytes.Equal(dst, make([]byte, n)) {
			t.Fatalf("%d bytes, AAD %d: bit %d of the %s turned, and dst is %x", n, a, bit, what, dst)
		}
	}
	for bit := range 8 * len(sealed) {
		sealed[bit/8] ^= 1 << (bit % 8)
		refused("packet", bit, iv)
		sealed[bit/8] ^= 1 << (bit % 8)
	}
	for bit := range 8 * a {
		aad[bit/8] ^= 1 << (bit % 8)
		refused("AAD", bit, iv)
		aad[bit/8] ^= 1 << (bit % 8)
	}
	for bit := range 64 {
		refused("IV", bit, iv^1<<bit)
	}
	if !s.c.Open(dst, sealed, iv, aad) {
		t.Fatalf("%d bytes, AAD %d: the packet itself does not open", n, a)
	}
}

// TestAADLengthIsAuthenticated: SPI and sequence number followed by zeros are
// not the same with ESN and without.
func TestAADLengthIsAuthenticated(t *testing.T) { each(t, aADLengthIsAuthenticated) }

func aADLengthIsAuthenticated(t *testing.T, v gcm.Variant) {
	s := newSubject(t, v, 16)
	aad, sealed, dst := make([]byte, 12), make([]byte, 64+gcm.TagSize), make([]byte, 64)
	s.c.Seal(sealed, dst, 1, aad[:8])
	if s.c.Open(dst, sealed, 1, aad) {
		t.Error("8 bytes of zero and 12 have the same tag")
	}
}

func TestMisuseLeavesNothingInTheClear(t *testing.T) { each(t, misuseLeavesNothingInTheClear) }

func misuseLeavesNothingInTheClear(t *testing.T, v gcm.Variant) {
	p := gcm.Pool{Variant: v}
	c, err := p.New(counting(16, 1), counting(4, 1))
	if err != nil {
		t.Fatal(err)
	}
	whole := func() []byte { return counting(80, 1) }
	cases := []struct {
		name string
		call func(b []byte) bool
	}{
		{"seal without room for the tag", func(b []byte) bool { return c.Seal(b[:79], b[:64], 1, nil) }},
		{"seal with two blocks of AAD", func(b []byte) bool { return c.Seal(b, b[:64], 1, make([]byte, 17)) }},
		{"seal with nine bytes of tail", func(b []byte) bool { return c.SealTail(b, b[:40], 1, 9, 1, nil) }},
		{"seal with less than no tail", func(b []byte) bool { return c.SealTail(b, b[:40], 1, -1, 1, nil) }},
		{"open with two blocks of AAD", func(b []byte) bool { return c.Open(b, whole(), 1, make([]byte, 17)) }},
		{"open less than a tag", func(b []byte) bool { return c.Open(b, whole()[:15], 1, nil) }},
		{"open without room", func(b []byte) bool { return c.Open(b[:63], whole(), 1, nil) }},
		{"seal after Close", func(b []byte) bool { c.Close(); return c.Seal(b, b[:64], 1, nil) }},
		{"open after Close", func(b []byte) bool { return c.Open(b, whole(), 1, nil) }},
	}
	for _, test := range cases {
		b := whole()
		if test.call(b) || !bytes.Equal(b[:63], make([]byte, 63)) {
			t.Errorf("%s: accepted, or dst is %x", test.name, b)
		}
	}
	c.Close() // twice does nothing
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestKeySizesAndSalts(t *testing.T) { each(t, keySizesAndSalts) }

func keySizesAndSalts(t *testing.T, v gcm.Variant) {
	p := gcm.Pool{Variant: v}
	for _, test := range []struct{ key, salt int }{{0, 4}, {15, 4}, {17, 4}, {33, 4}, {16, 3}, {16, 5}, {16, 0}} {
		if c, err := p.New(make([]byte, test.key), make([]byte, test.salt)); err == nil || c != nil {
			t.Errorf("key of %d bytes, salt of %d: accepted", test.key, test.salt)
		}
	}
	if err := p.Close(); err != nil {
		t.Errorf("refused keys left memory in use: %v", err)
	}
}
