package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"

	"spindle/sadb"
)

// cbc is AES-CBC (RFC 3602) with HMAC-SHA2 over the ciphertext (RFC 4868), for
// peers without AES-GCM. Like gcm it keeps its scratch to itself.
type cbc struct {
	encrypt, decrypt chained
	mac              hash.Hash
	ivs              cipher.Block
	esn              bool
	high             [4]byte
	sum              [sha512.Size]byte
	icv              int
}

// chained is what the standard library's CBC modes are, and does not say: one
// mode serves every packet of an SA by setting the IV anew.
type chained interface {
	cipher.BlockMode
	SetIV([]byte)
}

func newCBC(s *Suite, sa *sadb.SA) (*cbc, error) {
	block, err := aes.NewCipher(sa.Key[:s.encryption])
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	c := &cbc{mac: hmac.New(s.hash, sa.Key[s.encryption:]), esn: sa.ESN, icv: s.ICVLen}
	var zero [aes.BlockSize]byte
	var both [2]bool
	c.encrypt, both[0] = cipher.NewCBCEncrypter(block, zero[:]).(chained)
	c.decrypt, both[1] = cipher.NewCBCDecrypter(block, zero[:]).(chained)
	if !both[0] || !both[1] {
		return nil, fmt.Errorf("sa %v: this Go's CBC cannot change its IV", sa.SPI)
	}
	// RFC 3602 §3: the IV MUST be unpredictable. A block cipher under a key that
	// only this process ever knew turns the sequence number into one (NIST SP
	// 800-38A appendix C), unique by construction.
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("sa %v: key for IVs: %w", sa.SPI, err)
	}
	c.ivs, err = aes.NewCipher(key[:])
	clear(key[:])
	return c, err
}

func (c *cbc) seal(esp []byte, seq uint64) {
	iv := esp[HeaderLen : HeaderLen+aes.BlockSize]
	clear(iv)
	binary.BigEndian.PutUint64(iv[8:], seq)
	c.ivs.Encrypt(iv, iv)
	covered := esp[:len(esp)-c.icv]
	body := covered[HeaderLen+aes.BlockSize:]
	c.encrypt.SetIV(iv)
	c.encrypt.CryptBlocks(body, body)
	copy(esp[len(covered):], c.authenticate(covered, seq))
}

func (c *cbc) open(dst, esp []byte, seq uint64) bool {
	covered := esp[:len(esp)-c.icv]
	if subtle.ConstantTimeCompare(c.authenticate(covered, seq), esp[len(covered):]) != 1 {
		clear(dst)
		return false
	}
	c.decrypt.SetIV(esp[HeaderLen : HeaderLen+aes.BlockSize])
	c.decrypt.CryptBlocks(dst, covered[HeaderLen+aes.BlockSize:])
	return true
}

// authenticate computes the ICV. With ESN the high half of the sequence number
// is covered as if it followed the packet (RFC 4303 §2.2.1).
func (c *cbc) authenticate(covered []byte, seq uint64) []byte {
	c.mac.Reset()
	c.mac.Write(covered)
	if c.esn {
		binary.BigEndian.PutUint32(c.high[:], uint32(seq>>32))
		c.mac.Write(c.high[:])
	}
	return c.mac.Sum(c.sum[:0])[:c.icv]
}

func (c *cbc) wipe() { *c = cbc{} }
