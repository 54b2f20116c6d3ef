package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"spindle/ike/wire"
)

// confidential is one direction of a cipher that needs a checksum beside it.
// encrypt and decrypt work in place.
type confidential interface {
	blockSize() int
	ivSize() int
	appendIV(dst []byte) ([]byte, error)
	encrypt(iv, text []byte)
	decrypt(iv, text []byte)
}

func newConfidential(e encryption, key Secret, rand io.Reader) (confidential, error) {
	var block cipher.Block
	var err error
	switch e.id {
	case wire.EncryptionAESCTR:
		block, err = aes.NewCipher(key[:e.key])
		return &ctr{block: block, nonce: slices.Clone(key[e.key:])}, err
	case wire.Encryption3DES: // weak, see AllowWeak
		block, err = des.NewTripleDESCipher(key)
	case wire.EncryptionDES:
		block, err = des.NewCipher(key)
	default:
		block, err = aes.NewCipher(key)
	}
	return &cbc{block, rand}, err
}

// cbc is a block cipher in CBC (RFC 3602, RFC 2451).
type cbc struct {
	block cipher.Block
	rand  io.Reader
}

func (c *cbc) blockSize() int { return c.block.BlockSize() }
func (c *cbc) ivSize() int    { return c.block.BlockSize() }

// appendIV takes the IV from rand: "Senders MUST select a new unpredictable IV
// for every message" (RFC 7296 §3.14).
func (c *cbc) appendIV(dst []byte) ([]byte, error) {
	iv := make([]byte, c.ivSize())
	if _, err := io.ReadFull(c.rand, iv); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return append(dst, iv...), nil
}

func (c *cbc) encrypt(iv, text []byte) { cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(text, text) }
func (c *cbc) decrypt(iv, text []byte) { cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(text, text) }

// ctr is AES in counter mode (RFC 5930 §2.2, RFC 3686 §4): the counter block is
// nonce | IV | block counter, which starts at one. The nonce is the end of KEYMAT.
type ctr struct {
	block    cipher.Block
	nonce    Secret
	sequence uint64 // the IV of the next message
}

func (c *ctr) blockSize() int { return 1 }
func (c *ctr) ivSize() int    { return explicitIV }

// appendIV counts: the IV "MUST be chosen by the encryptor in a manner that
// ensures that the same IV value is used only once for a given key" (RFC 3686 §3.1).
func (c *ctr) appendIV(dst []byte) ([]byte, error) {
	if c.sequence == math.MaxUint64 {
		return nil, errExhausted
	}
	dst = binary.BigEndian.AppendUint64(dst, c.sequence)
	c.sequence++
	return dst, nil
}

func (c *ctr) encrypt(iv, text []byte) {
	counter := binary.BigEndian.AppendUint32(slices.Concat(c.nonce, iv), 1)
	cipher.NewCTR(c.block, counter).XORKeyStream(text, text)
}

func (c *ctr) decrypt(iv, text []byte) { c.encrypt(iv, text) }
