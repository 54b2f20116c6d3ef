package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// ctr is AES in counter mode (RFC 3686):
//
//	counter block:  nonce from KEYMAT (4) | IV (8) | block counter from 1 (4)
//
// The standard library's CTR cannot be given another IV, and a new one for each
// packet would be garbage for each packet. AES-GCM runs the same counter from 2
// on (NIST SP 800-38D §7.1), so it makes all key stream but the first block,
// eight blocks at a time; its tag goes where the HMAC will be written.
type ctr struct {
	block   cipher.Block
	rest    cipher.AEAD
	counter [aes.BlockSize]byte
	first   [aes.BlockSize]byte
}

const ctrNonce = saltLen + 8

func newCTR(key, nonce []byte) (*ctr, error) {
	c := &ctr{}
	var err error
	if c.block, err = aes.NewCipher(key); err != nil {
		return nil, err
	}
	// The shortest tag: none of the HMACs has a shorter ICV to lend its place.
	if c.rest, err = cipher.NewGCMWithTagSize(c.block, leastTag); err != nil {
		return nil, err
	}
	copy(c.counter[:saltLen], nonce)
	c.counter[aes.BlockSize-1] = 1
	return c, nil
}

// encrypt takes the sequence number for the IV, which must not repeat under one
// key (RFC 3686 §4).
func (c *ctr) encrypt(iv, body []byte, seq uint64) {
	binary.BigEndian.PutUint64(iv, seq)
	c.stream(body, iv, body)
}

func (c *ctr) decrypt(dst, iv, body []byte) { c.stream(dst, iv, body) }

// stream adds the key stream. Behind dst is room for the tag.
func (c *ctr) stream(dst, iv, src []byte) {
	copy(c.counter[saltLen:ctrNonce], iv)
	c.block.Encrypt(c.first[:], c.counter[:])
	n := subtle.XORBytes(dst, src, c.first[:])
	if n < len(src) {
		c.rest.Seal(dst[n:n], c.counter[:ctrNonce], src[n:], nil)
	}
}
