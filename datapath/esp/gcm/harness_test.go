package gcm_test

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
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

// context is a key in a pool of its own, both gone when the test ends.
func context(t testing.TB, key, salt []byte) *gcm.Context {
	t.Helper()
	if err := gcm.Check(); err != nil {
		t.Skip(err)
	}
	var p gcm.Pool
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
