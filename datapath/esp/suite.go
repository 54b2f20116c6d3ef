package esp

import (
	"crypto/md5"
	"crypto/sha1"
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

	encryption int // bytes of the encryption key, without salt
	kind       kind
	hash       func() hash.Hash // nil with a combined mode
}

// kind is the shape of a suite's cryptography.
type kind uint8

const (
	aesGCM    kind = iota // RFC 4106
	chacha                // RFC 7634
	aesGMAC               // RFC 4543: integrity alone
	aesCBC                // RFC 3602
	aesCTR                // RFC 3686
	tripleDES             // RFC 2451
	desCBC                // RFC 2405
	null                  // RFC 2410
)

// saltLen is the part of the nonce that comes from KEYMAT (RFC 4106 §8.1, RFC
// 7634 §2, RFC 4543 §5.4; RFC 3686 §5.1 calls it the nonce).
const saltLen = 4

// combined is a mode that brings its own integrity: 8 bytes of IV, and no block
// to fill but the four bytes of RFC 4303 §2.4.
func combined(keyword string, k kind, key, icv int) Suite {
	return Suite{Keyword: keyword, KeyLen: key + saltLen, IVLen: 8, ICVLen: icv, Align: 4, encryption: key, kind: k}
}

// encryptions are joined with each of integrities.
var encryptions = []Suite{
	{Keyword: "aes128", kind: aesCBC, encryption: 16, IVLen: 16, Align: 16},
	{Keyword: "aes192", kind: aesCBC, encryption: 24, IVLen: 16, Align: 16},
	{Keyword: "aes256", kind: aesCBC, encryption: 32, IVLen: 16, Align: 16},
	{Keyword: "aes128ctr", kind: aesCTR, encryption: 16, IVLen: 8, Align: 4},
	{Keyword: "aes192ctr", kind: aesCTR, encryption: 24, IVLen: 8, Align: 4},
	{Keyword: "aes256ctr", kind: aesCTR, encryption: 32, IVLen: 8, Align: 4},
	{Keyword: "3des", kind: tripleDES, encryption: 24, IVLen: 8, Align: 8},
	{Keyword: "des", kind: desCBC, encryption: 8, IVLen: 8, Align: 8},
	{Keyword: "null", kind: null, Align: 4},
}

// integrities are HMACs, whose key is as long as the hash: RFC 4868 §2.3, and
// for old peers RFC 2404 and RFC 2403, cut to 96 bits.
var integrities = []struct {
	keyword   string
	size, icv int
	hash      func() hash.Hash
}{
	{"sha256", sha256.Size, sha256.Size / 2, sha256.New},
	{"sha384", sha512.Size384, sha512.Size384 / 2, sha512.New384},
	{"sha512", sha512.Size, sha512.Size / 2, sha512.New},
	{"sha1", sha1.Size, 12, sha1.New},
	{"md5", md5.Size, 12, md5.New},
}

// Suites lists what Seal and Open can do. Which of it a connection may use is
// the configuration's to say (O3); "null" alone is not in it, for RFC 4303 §3.2
// forbids that encryption and integrity are both NULL.
func Suites() []Suite {
	list := []Suite{
		combined("aes128gcm16", aesGCM, 16, 16),
		combined("aes192gcm16", aesGCM, 24, 16),
		combined("aes256gcm16", aesGCM, 32, 16),
		combined("chacha20poly1305", chacha, 32, 16),
		combined("aes128gcm12", aesGCM, 16, 12),
		combined("aes192gcm12", aesGCM, 24, 12),
		combined("aes256gcm12", aesGCM, 32, 12),
		combined("aes128gcm8", aesGCM, 16, 8),
		combined("aes192gcm8", aesGCM, 24, 8),
		combined("aes256gcm8", aesGCM, 32, 8),
		combined("aes128gmac", aesGMAC, 16, 16),
		combined("aes192gmac", aesGMAC, 24, 16),
		combined("aes256gmac", aesGMAC, 32, 16),
	}
	for _, s := range encryptions {
		for _, a := range integrities {
			list = append(list, s.with(a.keyword, a.size, a.icv, a.hash))
		}
	}
	return list
}

// with joins an encryption with an HMAC.
func (s Suite) with(keyword string, size, icv int, h func() hash.Hash) Suite {
	s.Keyword += "-" + keyword
	s.KeyLen = s.encryption + s.salt() + size
	s.ICVLen, s.hash = icv, h
	return s
}

// salt is how much of KEYMAT goes into nonces.
func (s *Suite) salt() int {
	switch s.kind {
	case aesGCM, chacha, aesGMAC, aesCTR:
		return saltLen
	}
	return 0
}

// known are the suites by keyword: a gateway looks one up for every SA.
var known = func() map[string]*Suite {
	m := map[string]*Suite{}
	for _, s := range Suites() {
		m[s.Keyword] = &s
	}
	return m
}()

// Find returns the suite of a proposal keyword.
func Find(keyword string) (Suite, bool) {
	if s := known[keyword]; s != nil {
		return *s, true
	}
	return Suite{}, false
}

// reservedSPIs are not to be used by an SA (RFC 4303 §2.1).
const reservedSPIs = 256

// suiteFor checks what inbound and outbound SAs have in common.
func suiteFor(sa *sadb.SA, direction sadb.Direction) (*Suite, error) {
	s := known[sa.Suite]
	switch {
	case sa.Direction != direction:
		return s, fmt.Errorf("sa %v: direction is %v, want %v", sa.SPI, sa.Direction, direction)
	case sa.SPI < reservedSPIs:
		return s, fmt.Errorf("sa %v: reserved SPI", sa.SPI)
	case sa.Mode != sadb.Tunnel && sa.Mode != sadb.Transport:
		return s, fmt.Errorf("sa %v: unknown mode %d", sa.SPI, sa.Mode)
	case s == nil:
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
