package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"

	"spindle/ike/wire"
)

// combined is AES-GCM (RFC 5282) or ChaCha20-Poly1305 (RFC 7634 §2) in IKE: an
// explicit IV of 8 octets, the salt from KEYMAT in front of it in the nonce, no
// padding beyond the Pad Length.
type combined struct {
	seal, open aead
	icv        int
	sequence   uint64 // of the next message sealed; its IV, so none ever repeats under one key
}

const explicitIV = 8

// aead is one direction. Tags shorter than 12 octets are beyond crypto/cipher,
// so the block of GCM is kept to compute them by hand.
type aead struct {
	block cipher.Block // nil without short tags
	mode  cipher.AEAD
	salt  Secret
}

func newAEAD(e encryption, key Secret) (aead, error) {
	a := aead{salt: slices.Clone(key[e.key:])}
	var err error
	if e.id == wire.EncryptionChaCha20Poly1305 {
		a.mode, err = chacha20poly1305.New(key[:e.key])
		return a, err
	}
	if a.block, err = aes.NewCipher(key[:e.key]); err != nil {
		return aead{}, err
	}
	a.mode, err = cipher.NewGCM(a.block)
	return a, err
}

func newCombined(e encryption, sealKey, openKey Secret) (wire.Protector, error) {
	seal, err := newAEAD(e, sealKey)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages with %s: %w", e.keyword, err)
	}
	open, err := newAEAD(e, openKey)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages with %s: %w", e.keyword, err)
	}
	return &combined{seal: seal, open: open, icv: e.icv}, nil
}

func (c *combined) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

func (c *combined) BlockSize() int { return 1 }

func (c *combined) Overhead() int { return explicitIV + c.icv }

func (c *combined) Seal(dst, aad, plaintext []byte) ([]byte, error) {
	if c.sequence == math.MaxUint64 {
		return nil, errExhausted
	}
	nonce := binary.BigEndian.AppendUint64(slices.Clone(c.seal.salt), c.sequence)
	c.sequence++
	dst = append(dst, nonce[len(c.seal.salt):]...)
	dst = c.seal.mode.Seal(dst, nonce, plaintext, aad)
	return dst[:len(dst)-c.seal.mode.Overhead()+c.icv], nil
}

// Open decrypts, seals again and compares as much of the tag as there is: the
// same work for every length of the tag, and no plaintext leaves unchecked.
func (c *combined) Open(aad, body []byte) ([]byte, error) {
	if len(body) < c.Overhead() {
		return nil, errShort
	}
	nonce := slices.Concat(c.open.salt, body[:explicitIV])
	sealed := body[explicitIV:]
	if c.icv == c.open.mode.Overhead() {
		plaintext, err := c.open.mode.Open(nil, nonce, sealed, aad)
		if err != nil {
			return nil, errChecksum
		}
		return plaintext, nil
	}
	return c.open.openShort(nonce, sealed, aad, c.icv)
}

// openShort opens GCM with a tag that is truncated to icv octets (RFC 4106 §6).
func (a aead) openShort(nonce, sealed, aad []byte, icv int) ([]byte, error) {
	ciphertext, tag := sealed[:len(sealed)-icv], sealed[len(sealed)-icv:]
	// Block 1 makes the tag, the text starts with block 2 (NIST SP 800-38D §7.1).
	counter := binary.BigEndian.AppendUint32(slices.Clone(nonce), 2)
	plaintext := make(Secret, len(ciphertext))
	cipher.NewCTR(a.block, counter).XORKeyStream(plaintext, ciphertext)
	again := a.mode.Seal(nil, nonce, plaintext, aad)
	if subtle.ConstantTimeCompare(again[len(ciphertext):len(ciphertext)+icv], tag) != 1 {
		plaintext.Wipe()
		return nil, errChecksum
	}
	return plaintext, nil
}
