package esp

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"spindle/sadb"
)

// Suite is one way to protect packets, by its strongSwan proposal keyword.
type Suite struct {
	Keyword string
	KeyLen  int // bytes of KEYMAT: key and salt, or encryption key and integrity key
	IVLen   int // bytes on the wire
	ICVLen  int
	Align   int // what the ciphertext is padded to, in bytes

	encryption int // bytes of the AES key
	hash       func() hash.Hash
}

// gcmSalt is the part of the nonce that comes from KEYMAT (RFC 4106 §8.1).
const gcmSalt = 4

func gcmSuite(keyword string, key int) Suite {
	return Suite{Keyword: keyword, KeyLen: key + gcmSalt, IVLen: 8, ICVLen: 16, Align: 4, encryption: key}
}

// cbcSuite has an integrity key as long as the hash and an ICV half as long
// (RFC 4868 §2.3).
func cbcSuite(keyword string, key, size int, h func() hash.Hash) Suite {
	return Suite{Keyword: keyword, KeyLen: key + size, IVLen: 16, ICVLen: size / 2, Align: 16, encryption: key, hash: h}
}

// Suites lists what Seal and Open can do, in order of preference.
func Suites() []Suite {
	return []Suite{
		gcmSuite("aes128gcm16", 16),
		gcmSuite("aes192gcm16", 24),
		gcmSuite("aes256gcm16", 32),
		cbcSuite("aes128-sha256", 16, sha256.Size, sha256.New),
		cbcSuite("aes192-sha256", 24, sha256.Size, sha256.New),
		cbcSuite("aes256-sha256", 32, sha256.Size, sha256.New),
		cbcSuite("aes128-sha384", 16, sha512.Size384, sha512.New384),
		cbcSuite("aes192-sha384", 24, sha512.Size384, sha512.New384),
		cbcSuite("aes256-sha384", 32, sha512.Size384, sha512.New384),
		cbcSuite("aes128-sha512", 16, sha512.Size, sha512.New),
		cbcSuite("aes192-sha512", 24, sha512.Size, sha512.New),
		cbcSuite("aes256-sha512", 32, sha512.Size, sha512.New),
	}
}

// Find returns the suite of a proposal keyword.
func Find(keyword string) (Suite, bool) {
	for _, s := range Suites() {
		if s.Keyword == keyword {
			return s, true
		}
	}
	return Suite{}, false
}

// reservedSPIs are not to be used by an SA (RFC 4303 §2.1).
const reservedSPIs = 256

// suiteFor checks what inbound and outbound SAs have in common.
func suiteFor(sa *sadb.SA, direction sadb.Direction) (Suite, error) {
	s, ok := Find(sa.Suite)
	switch {
	case sa.Direction != direction:
		return s, fmt.Errorf("sa %v: direction is %v, want %v", sa.SPI, sa.Direction, direction)
	case sa.SPI < reservedSPIs:
		return s, fmt.Errorf("sa %v: reserved SPI", sa.SPI)
	case sa.Mode != sadb.Tunnel:
		return s, fmt.Errorf("sa %v: mode %v is not supported", sa.SPI, sa.Mode)
	case !ok:
		return s, fmt.Errorf("sa %v: unknown suite %q", sa.SPI, sa.Suite)
	case len(sa.Key) != s.KeyLen:
		return s, fmt.Errorf("sa %v: suite %s takes %d bytes of key, got %d", sa.SPI, s.Keyword, s.KeyLen, len(sa.Key))
	}
	return s, nil
}

// overhead is what ESP adds besides trailer padding, without the outer header.
func (s *Suite) overhead() int { return HeaderLen + s.IVLen + trailerLen + s.ICVLen }

// padding is how much goes between n bytes of payload and the trailer's two
// bytes, so that the ciphertext ends aligned (RFC 4303 §2.4).
func (s *Suite) padding(n int) int { return -(n + trailerLen) & (s.Align - 1) }

// HeaderLen is the length of the SPI and the sequence number, which every ESP
// packet starts with.
const HeaderLen = 8

const trailerLen = 2 // pad length, next header
