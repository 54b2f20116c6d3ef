package gcm_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"testing"

	"spindle/datapath/esp/gcm"
)

// standard is the oracle.
func standard(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func nonceOf(salt []byte, iv uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), salt...), iv)
}

func counting(n int, from byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

// each runs a test with every variant that this processor has. One that it should
// be able to run and that fails its self-test is an error.
func each(t *testing.T, test func(t *testing.T, v gcm.Variant)) {
	for _, v := range gcm.Variants() {
		t.Run(v.String(), func(t *testing.T) {
			need(t, v)
			test(t, v)
		})
	}
}

func need(t testing.TB, v gcm.Variant) {
	t.Helper()
	if err := v.Supported(); err != nil {
		t.Skip(err)
	}
	err := v.Check()
	if errors.Is(err, gcm.ErrUnavailable) {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err) // no memory may be locked here
	}
}

// context is a key in a pool of its own, both gone when the test ends.
func context(t testing.TB, v gcm.Variant, key, salt []byte) *gcm.Context {
	t.Helper()
	p := gcm.Pool{Variant: v}
	c, err := p.New(key, salt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
