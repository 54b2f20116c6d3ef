package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"spindle/datapath/esp/gcm"
	"spindle/sadb"
)

// newGCM is where AES-GCM (RFC 4106) gets its implementation.
func newGCM(s *Suite, sa *sadb.SA, c *Crypto, k *kernel) (protector, error) {
	key := sa.Key[:s.encryption]
	switch {
	case s.ICVLen == gcm.TagSize && c != nil && c.keys != nil:
		return k.prepare(s, sa, c.keys)
	case s.ICVLen < leastTag:
		return newShort(key, s, sa)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	a, err := cipher.NewGCMWithTagSize(block, s.ICVLen)
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	return newAEAD(a, s, sa), nil
}

// leastTag is the shortest tag that the standard library lets an AEAD have.
const leastTag = 12

// short is AES-GCM with an ICV of 8 bytes, for peers that ask for it (RFC 4106
// §6). The AEAD beneath makes 16, which need not be cut off in place: a packet
// has exactly the missing 8 bytes to lend where its IV stands.
type short struct {
	*aead
	tag [8]byte
}

func newShort(key []byte, s *Suite, sa *sadb.SA) (protector, error) {
	whole := *s
	whole.ICVLen = 16
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	return &short{aead: newAEAD(a, &whole, sa)}, nil
}

// seal moves the plaintext over the IV, so that ciphertext and whole tag end
// where the packet does, and then back.
func (g *short) seal(esp []byte, seq uint64) {
	n := len(esp) - HeaderLen - aeadIV - len(g.tag)
	body := esp[HeaderLen:][:n]
	copy(body, esp[HeaderLen+aeadIV:])
	g.number(seq)
	g.cipher.Seal(body[:0], g.nonce[:], body, g.bind(seq))
	copy(g.tag[:], body[n:n+len(g.tag)])
	copy(esp[HeaderLen+aeadIV:], body)
	binary.BigEndian.PutUint64(esp[HeaderLen:], seq)
	copy(esp[len(esp)-len(g.tag):], g.tag[:])
}

// open knows no way to ask the AEAD for the tag of a ciphertext, so it goes by
// the plaintext: sealing a ciphertext gives its plaintext (counter mode is its
// own inverse) with a tag of no use; sealing that gives the ciphertext back and
// the true tag; and if that is the packet's, the plaintext is made once more.
func (g *short) open(dst, esp []byte, seq uint64) bool {
	n := len(dst)
	copy(g.nonce[saltLen:], esp[HeaderLen:][:aeadIV])
	aad, sealed := g.bind(seq), esp[HeaderLen+aeadIV:]
	g.cipher.Seal(dst[:0], g.nonce[:], sealed[:n], aad)
	g.cipher.Seal(dst[:0], g.nonce[:], dst, aad)
	if !equal(dst[n:n+len(g.tag)], sealed[n:]) {
		clear(dst)
		return false
	}
	g.cipher.Seal(dst[:0], g.nonce[:], dst, aad)
	return true
}
