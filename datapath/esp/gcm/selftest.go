package gcm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// knownAnswer is the SHA-256 of all that trial seals with one key size, from
// crypto/cipher.
type knownAnswer struct {
	key    int
	digest string
}

func knownAnswers() []knownAnswer {
	return []knownAnswer{
		{16, "127fc956a07aca41e58b991d6f10aaeab0154015101e8bb6013a0c2883cc1bd7"},
		{24, "9aa7bb8eb0d112acfc2655134163a194767e5df3112956b6086c5446c669951f"},
		{32, "72f95977847535e34f5aa104fe29ab600025ba930116aaf67f7d46512e7e3cc0"},
	}
}

// The lengths of the trial go through every piece of the kernel: 0, 23, 46 ...
const (
	trialStep  = 23
	trialCount = 48
)

// selfTest tries a kernel on known answers, with keys of each size.
func (v Variant) selfTest(answers []knownAnswer) (err error) {
	var p Pool
	defer func() { err = errors.Join(err, p.Close()) }()
	for _, known := range answers {
		got, err := p.trial(v, known.key)
		if err != nil {
			return err
		}
		if got != known.digest {
			return fmt.Errorf("%w: self-test with a key of %d bytes: digest %s, want %s", ErrUnavailable, known.key, got, known.digest)
		}
	}
	return nil
}

// trial seals texts of many lengths, with tails of all lengths, and opens them again, as they are and with
// one bit of the tag turned.
func (p *Pool) trial(v Variant, keyLen int) (string, error) {
	c, err := p.context(v, counting(keyLen, 1), counting(SaltSize, 100))
	if err != nil {
		return "", err
	}
	defer c.Close()
	digest := sha256.New()
	for i := range trialCount {
		text, aad := counting(trialStep*i, byte(i)), counting(8+i%2*4, 200)
		sealed, opened := make([]byte, len(text)+TagSize), make([]byte, len(text))
		tail := min(i%(MaxTail+1), len(text))
		c.SealTail(sealed, text[:len(text)-tail], littleEndian(text[len(text)-tail:]), tail, uint64(i)<<56|uint64(i), aad)
		digest.Write(sealed)
		if !c.Open(opened, sealed, uint64(i)<<56|uint64(i), aad) || !bytes.Equal(opened, text) {
			return "", fmt.Errorf("%w: self-test with a key of %d bytes: %d bytes do not open", ErrUnavailable, keyLen, len(text))
		}
		sealed[len(text)+i%TagSize] ^= 1
		if c.Open(opened, sealed, uint64(i)<<56|uint64(i), aad) {
			return "", fmt.Errorf("%w: self-test with a key of %d bytes: a wrong tag opens", ErrUnavailable, keyLen)
		}
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// littleEndian returns at most eight bytes as SealTail takes them.
func littleEndian(b []byte) uint64 {
	var v uint64
	for i, x := range b {
		v |= uint64(x) << (8 * i)
	}
	return v
}

// counting returns n bytes, each one more than the last.
func counting(n int, from byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}
