package esp

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"spindle/sadb"
)

// aead is AES-GCM (RFC 4106) or ChaCha20-Poly1305 (RFC 7634), which ESP gives
// the same shape:
//
//	nonce:  salt (4) | IV (8)
//	AAD:    SPI (4) | sequence number (4, or 8 with ESN, RFC 4106 §5)
type aead struct {
	cipher cipher.AEAD
	nonce  [saltLen + aeadIV]byte
	aad    [12]byte
	esn    bool
}

const aeadIV = 8

func newAEAD(c cipher.AEAD, s *Suite, sa *sadb.SA) *aead {
	g := &aead{cipher: c, esn: sa.ESN}
	copy(g.nonce[:saltLen], sa.Key[s.encryption:])
	binary.BigEndian.PutUint32(g.aad[:], uint32(sa.SPI))
	return g
}

func newChaCha(sa *sadb.SA) (protector, error) {
	c, err := chacha20poly1305.New(sa.Key[:chacha20poly1305.KeySize])
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	return newAEAD(c, &Suite{encryption: chacha20poly1305.KeySize}, sa), nil
}

// bind fills the associated data.
func (g *aead) bind(seq uint64) []byte {
	if g.esn {
		binary.BigEndian.PutUint64(g.aad[4:], seq)
		return g.aad[:12]
	}
	binary.BigEndian.PutUint32(g.aad[4:], uint32(seq))
	return g.aad[:8]
}

// number takes the sequence number for the IV: RFC 4106 §3.1 asks that it never
// repeats under one key and names a counter as a way to get that; RFC 7634 §2
// says the same.
func (g *aead) number(seq uint64) { binary.BigEndian.PutUint64(g.nonce[saltLen:], seq) }

func (g *aead) seal(esp []byte, seq uint64) {
	g.number(seq)
	binary.BigEndian.PutUint64(esp[HeaderLen:], seq)
	body := esp[HeaderLen+aeadIV : len(esp)-g.cipher.Overhead()]
	g.cipher.Seal(body[:0], g.nonce[:], body, g.bind(seq))
}

// open relies on the AEAD to clear dst when the ICV is wrong, and so that this
// does not rest on one implementation's habit, clears it once more.
func (g *aead) open(dst, esp []byte, seq uint64) bool {
	copy(g.nonce[saltLen:], esp[HeaderLen:HeaderLen+aeadIV])
	_, err := g.cipher.Open(dst[:0], g.nonce[:], esp[HeaderLen+aeadIV:], g.bind(seq))
	if err != nil {
		clear(dst)
		return false
	}
	return true
}

// wipe clears the salt and lets go of the key schedule, which the standard
// library gives no way to overwrite.
func (g *aead) wipe() {
	clear(g.nonce[:])
	g.cipher = nil
}

// equal compares ICVs in a time that tells nothing.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
