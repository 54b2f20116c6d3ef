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

// need skips a test where the processor cannot run the kernel. One that could and
// fails its self-test is an error.
func need(t testing.TB) {
	t.Helper()
	if err := gcm.Supported(); err != nil {
		t.Skip(err)
	}
	err := gcm.Check()
	if errors.Is(err, gcm.ErrUnavailable) {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err) // no memory may be locked here
	}
}

// context is a key in a pool of its own, both gone when the test ends.
func context(t testing.TB, key, salt []byte) *gcm.Context {
	t.Helper()
	need(t)
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
