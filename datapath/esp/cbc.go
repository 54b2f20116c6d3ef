package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

// cbc is AES-CBC (RFC 3602), or DES and 3DES in that mode (RFC 2405, RFC 2451).
type cbc struct {
	encrypter, decrypter chained
	ivs                  cipher.Block
	number               [aes.BlockSize]byte
}

// chained is what the standard library's CBC modes are, and does not say: one
// mode serves every packet of an SA by setting the IV anew.
type chained interface {
	cipher.BlockMode
	SetIV([]byte)
}

func newCBC(block cipher.Block) (*cbc, error) {
	c := &cbc{}
	zero := make([]byte, block.BlockSize())
	var both [2]bool
	c.encrypter, both[0] = cipher.NewCBCEncrypter(block, zero).(chained)
	c.decrypter, both[1] = cipher.NewCBCDecrypter(block, zero).(chained)
	if !both[0] || !both[1] {
		return nil, errors.New("this Go's CBC cannot change its IV")
	}
	// RFC 3602 §3: the IV MUST be unpredictable. A block cipher under a key that
	// only this process ever knew turns the sequence number into one (NIST SP
	// 800-38A appendix C), for AES unique by construction.
	var key [16]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("key for IVs: %w", err)
	}
	var err error
	c.ivs, err = aes.NewCipher(key[:])
	clear(key[:])
	return c, err
}

func (c *cbc) encrypt(iv, body []byte, seq uint64) {
	clear(c.number[:])
	binary.BigEndian.PutUint64(c.number[8:], seq)
	c.ivs.Encrypt(c.number[:], c.number[:])
	copy(iv, c.number[:])
	c.encrypter.SetIV(iv)
	c.encrypter.CryptBlocks(body, body)
}

func (c *cbc) decrypt(dst, iv, body []byte) {
	c.decrypter.SetIV(iv)
	c.decrypter.CryptBlocks(dst, body)
}
