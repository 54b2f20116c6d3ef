package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"

	"spindle/sadb"
)

// separate is an encryption algorithm, and an HMAC over the ciphertext (RFC
// 4868, RFC 2404, RFC 2403), for peers without a combined mode.
type separate struct {
	text text
	mac  hash.Hash
	esn  bool
	high [4]byte
	sum  [sha512.Size]byte
	iv   int
	icv  int
}

// text is how the payload of a separate suite is hidden.
type text interface {
	// encrypt writes iv and encrypts body in place. What stands behind body is the
	// ICV's place, and may be written.
	encrypt(iv, body []byte, seq uint64)
	// decrypt writes to dst, which is as long as body and has room behind it.
	decrypt(dst, iv, body []byte)
}

func newSeparate(s *Suite, sa *sadb.SA) (protector, error) {
	t, err := newText(s, sa.Key)
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	mac := hmac.New(s.hash, sa.Key[s.encryption+s.salt():])
	return &separate{text: t, mac: mac, esn: sa.ESN, iv: s.IVLen, icv: s.ICVLen}, nil
}

func newText(s *Suite, key []byte) (text, error) {
	secret := key[:s.encryption]
	var block cipher.Block
	var err error
	switch s.kind {
	case null:
		return clearText{}, nil
	case aesCTR:
		return newCTR(secret, key[s.encryption:])
	case tripleDES:
		block, err = des.NewTripleDESCipher(secret)
	case desCBC:
		block, err = des.NewCipher(secret)
	default:
		block, err = aes.NewCipher(secret)
	}
	if err != nil {
		return nil, err
	}
	return newCBC(block)
}

func (c *separate) seal(esp []byte, seq uint64) {
	covered := esp[:len(esp)-c.icv]
	c.text.encrypt(covered[HeaderLen:HeaderLen+c.iv], covered[HeaderLen+c.iv:], seq)
	copy(esp[len(covered):], c.authenticate(covered, seq))
}

func (c *separate) open(dst, esp []byte, seq uint64) bool {
	covered := esp[:len(esp)-c.icv]
	if !equal(c.authenticate(covered, seq), esp[len(covered):]) {
		clear(dst)
		return false
	}
	c.text.decrypt(dst, covered[HeaderLen:HeaderLen+c.iv], covered[HeaderLen+c.iv:])
	return true
}

// authenticate computes the ICV. With ESN the high half of the sequence number
// is covered as if it followed the packet (RFC 4303 §2.2.1).
func (c *separate) authenticate(covered []byte, seq uint64) []byte {
	c.mac.Reset()
	c.mac.Write(covered)
	if c.esn {
		binary.BigEndian.PutUint32(c.high[:], uint32(seq>>32))
		c.mac.Write(c.high[:])
	}
	return c.mac.Sum(c.sum[:0])[:c.icv]
}

func (c *separate) wipe() { *c = separate{} }

// clearText is the NULL encryption of RFC 2410.
type clearText struct{}

func (clearText) encrypt(_, _ []byte, _ uint64) {}
func (clearText) decrypt(dst, _, body []byte)   { copy(dst, body) }
