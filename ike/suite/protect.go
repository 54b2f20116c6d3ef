package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"slices"

	"spindle/ike/wire"
)

// NewProtector makes the protection of an IKE SA's messages. initiator says
// that we are the original initiator of the IKE SA. rand gives the
// initialization vectors of CBC; combined modes count theirs instead. The
// protector is for one goroutine, and for one IKE SA: a second one from the same
// keys would repeat nonces.
func NewProtector(p Proposal, keys *IKEKeys, initiator bool, rand io.Reader) (wire.Protector, error) {
	e, ok := findEncryption(p.Encryption, p.KeyBits)
	if !ok {
		return nil, fmt.Errorf("protect IKE messages: encryption %d with %d bits is not supported", p.Encryption, p.KeyBits)
	}
	sealE, openE, sealA, openA := keys.EI, keys.ER, keys.AI, keys.AR
	if !initiator {
		sealE, openE, sealA, openA = openE, sealE, openA, sealA
	}
	if e.aead() {
		return newCombined(e, sealE, openE)
	}
	a, ok := findIntegrity(p.Integrity)
	if !ok {
		return nil, fmt.Errorf("protect IKE messages: integrity %d is not supported", p.Integrity)
	}
	return newSeparate(a, sealE, openE, sealA, openA, rand)
}

var (
	errShort     = errors.New("encrypted body too short")
	errChecksum  = errors.New("integrity checksum differs")
	errExhausted = errors.New("initialization vectors exhausted")
)

// combined is AES-GCM in IKE (RFC 5282): an explicit IV of 8 octets, the salt
// from KEYMAT in front of it in the nonce, no padding beyond the Pad Length.
type combined struct {
	seal, open gcm
	icv        int
	sequence   uint64 // of the next message sealed; its IV, so none ever repeats under one key
}

const explicitIV = 8

// gcm is one direction. Tags shorter than 12 octets are beyond crypto/cipher,
// so block is kept to compute them by hand.
type gcm struct {
	block cipher.Block
	aead  cipher.AEAD
	salt  Secret
}

func newGCM(key Secret, salt int) (gcm, error) {
	k := len(key) - salt
	if k < 0 {
		return gcm{}, errors.New("key is shorter than its salt")
	}
	block, err := aes.NewCipher(key[:k])
	if err != nil {
		return gcm{}, err
	}
	aead, err := cipher.NewGCM(block)
	return gcm{block, aead, slices.Clone(key[k:])}, err
}

func newCombined(e encryption, sealKey, openKey Secret) (wire.Protector, error) {
	seal, err := newGCM(sealKey, e.salt)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages with %s: %w", e.keyword, err)
	}
	open, err := newGCM(openKey, e.salt)
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
	dst = c.seal.aead.Seal(dst, nonce, plaintext, aad)
	return dst[:len(dst)-c.seal.aead.Overhead()+c.icv], nil
}

// Open decrypts, seals again and compares as much of the tag as there is: the
// same work for every length of the tag, and no plaintext leaves unchecked.
func (c *combined) Open(aad, body []byte) ([]byte, error) {
	if len(body) < c.Overhead() {
		return nil, errShort
	}
	nonce := slices.Concat(c.open.salt, body[:explicitIV])
	sealed := body[explicitIV:]
	if c.icv == c.open.aead.Overhead() {
		plaintext, err := c.open.aead.Open(nil, nonce, sealed, aad)
		if err != nil {
			return nil, errChecksum
		}
		return plaintext, nil
	}
	return c.open.openShort(nonce, sealed, aad, c.icv)
}

// openShort opens with a tag that is truncated to icv octets (RFC 4106 §6).
func (g gcm) openShort(nonce, sealed, aad []byte, icv int) ([]byte, error) {
	ciphertext, tag := sealed[:len(sealed)-icv], sealed[len(sealed)-icv:]
	// Block 1 makes the tag, the text starts with block 2 (NIST SP 800-38D §7.1).
	counter := binary.BigEndian.AppendUint32(slices.Clone(nonce), 2)
	plaintext := make(Secret, len(ciphertext))
	cipher.NewCTR(g.block, counter).XORKeyStream(plaintext, ciphertext)
	again := g.aead.Seal(nil, nonce, plaintext, aad)
	if subtle.ConstantTimeCompare(again[len(ciphertext):len(ciphertext)+icv], tag) != 1 {
		plaintext.Wipe()
		return nil, errChecksum
	}
	return plaintext, nil
}

// separate is AES-CBC, then an HMAC over the whole message up to the checksum
// (RFC 7296 §3.14).
type separate struct {
	seal, open   cipher.Block
	sealA, openA hash.Hash
	icv          int
	rand         io.Reader
}

func newSeparate(a integrity, sealE, openE, sealA, openA Secret, rand io.Reader) (wire.Protector, error) {
	h, err := newHash(a.prf) // the HMAC of a PRF and of its integrity algorithm are the same
	if err != nil {
		return nil, err
	}
	seal, err := aes.NewCipher(sealE)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages: %w", err)
	}
	open, err := aes.NewCipher(openE)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages: %w", err)
	}
	return &separate{seal, open, hmac.New(h, sealA), hmac.New(h, openA), a.icv, rand}, nil
}

func (s *separate) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

func (s *separate) BlockSize() int { return aes.BlockSize }

func (s *separate) Overhead() int { return aes.BlockSize + s.icv }

// Seal takes the IV from rand: "Senders MUST select a new unpredictable IV for
// every message" (RFC 7296 §3.14).
func (s *separate) Seal(dst, aad, plaintext []byte) ([]byte, error) {
	if len(plaintext)%aes.BlockSize != 0 {
		return nil, errors.New("plaintext is not whole blocks")
	}
	start := len(dst)
	dst = append(dst, make([]byte, aes.BlockSize)...)
	iv := dst[start:]
	if _, err := io.ReadFull(s.rand, iv); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	ciphertext := make([]byte, len(plaintext))
	cipher.NewCBCEncrypter(s.seal, iv).CryptBlocks(ciphertext, plaintext)
	dst = append(dst, ciphertext...)
	return append(dst, checksum(s.sealA, s.icv, aad, dst[start:])...), nil
}

func (s *separate) Open(aad, body []byte) ([]byte, error) {
	n := len(body) - s.Overhead()
	if n < aes.BlockSize || n%aes.BlockSize != 0 {
		return nil, errShort
	}
	covered, sum := body[:len(body)-s.icv], body[len(body)-s.icv:]
	if !hmac.Equal(checksum(s.openA, s.icv, aad, covered), sum) {
		return nil, errChecksum
	}
	iv, ciphertext := covered[:aes.BlockSize], covered[aes.BlockSize:]
	plaintext := make([]byte, n)
	cipher.NewCBCDecrypter(s.open, iv).CryptBlocks(plaintext, ciphertext)
	return plaintext, nil
}

func checksum(mac hash.Hash, icv int, parts ...[]byte) []byte {
	mac.Reset()
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)[:icv]
}
