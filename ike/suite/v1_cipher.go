package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"fmt"
	"io"
	"slices"

	"spindle/ike/wire"
)

// V1Chain encrypts the messages of one exchange. Its initialization vector is
// the last block of the message before, whoever sent it (RFC 2409 appendix B);
// it moves on only by Advance, when a message proved to be the peer's.
type V1Chain struct {
	block cipher.Block
	iv    []byte
}

// NewV1Chain is that of phase 1, which starts with hash(g^xi | g^xr).
func NewV1Chain(p Proposal, keys *V1Keys, publicI, publicR []byte) (*V1Chain, error) {
	block, err := v1Block(p.Encryption, keys.Cipher)
	if err != nil {
		return nil, fmt.Errorf("protect IKEv1 messages: %w", err)
	}
	return newV1Chain(p.PRF, block, publicI, publicR)
}

func newV1Chain(prf wire.PRF, block cipher.Block, parts ...[]byte) (*V1Chain, error) {
	h, err := newHash(prf)
	if err != nil {
		return nil, err
	}
	sum := h()
	for _, part := range parts {
		sum.Write(part)
	}
	return &V1Chain{block, sum.Sum(nil)[:block.BlockSize()]}, nil
}

// v1Block is the block cipher of phase 1. The parity bits of DES keys do not matter.
func v1Block(e wire.Encryption, key Secret) (cipher.Block, error) {
	switch e {
	case wire.EncryptionAESCBC:
		return aes.NewCipher(key)
	case wire.Encryption3DES:
		return des.NewTripleDESCipher(key)
	case wire.EncryptionDES:
		return des.NewCipher(key)
	}
	return nil, fmt.Errorf("encryption %d is not supported", e)
}

// Phase2 is the chain of another exchange of the same ISAKMP SA: it starts with
// hash(last block of phase 1 | M-ID).
func (c *V1Chain) Phase2(prf wire.PRF, id uint32) (*V1Chain, error) {
	return newV1Chain(prf, c.block, c.iv, []byte{byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)})
}

// Advance moves on to the message after the one given, which was sent or proved
// to be the peer's.
func (c *V1Chain) Advance(message []byte) {
	if n := c.block.BlockSize(); len(message) >= wire.HeaderSize+n {
		c.iv = slices.Clone(message[len(message)-n:])
	}
}

// IV is the initialization vector of the next message. It is no secret: it is
// sent, or a hash of what is.
func (c *V1Chain) IV() []byte { return slices.Clone(c.iv) }

// Format keeps what the chain holds out of logs.
func (c *V1Chain) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// BlockSize, Encrypt and Decrypt make the chain a wire.V1Cipher.
func (c *V1Chain) BlockSize() int { return c.block.BlockSize() }

func (c *V1Chain) Encrypt(dst, plaintext []byte) []byte {
	ciphertext := make([]byte, len(plaintext))
	cipher.NewCBCEncrypter(c.block, c.iv).CryptBlocks(ciphertext, plaintext)
	return append(dst, ciphertext...)
}

func (c *V1Chain) Decrypt(ciphertext []byte) []byte {
	plaintext := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(c.block, c.iv).CryptBlocks(plaintext, ciphertext)
	return plaintext
}
