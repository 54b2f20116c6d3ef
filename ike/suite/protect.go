package suite

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"spindle/ike/wire"
)

// NewProtector makes the protection of an IKE SA's messages. initiator says
// that we are the original initiator of the IKE SA. rand gives the
// initialization vectors of CBC; all other modes count theirs. The protector is
// for one goroutine, and for one IKE SA: a second one from the same keys would
// repeat nonces.
func NewProtector(p Proposal, keys *IKEKeys, initiator bool, rand io.Reader) (wire.Protector, error) {
	e, ok := findEncryption(p.Encryption, p.KeyBits)
	if !ok || e.use&forIKE == 0 {
		return nil, fmt.Errorf("protect IKE messages: encryption %d with %d bits is not supported", p.Encryption, p.KeyBits)
	}
	sealE, openE, sealA, openA := keys.EI, keys.ER, keys.AI, keys.AR
	if !initiator {
		sealE, openE, sealA, openA = openE, sealE, openA, sealA
	}
	if len(sealE) != e.keySize() || len(openE) != e.keySize() {
		return nil, fmt.Errorf("protect IKE messages: %s takes %d octets of key", e.keyword, e.keySize())
	}
	if e.aead() {
		return newCombined(e, sealE, openE)
	}
	a, ok := findIntegrity(p.Integrity)
	if !ok {
		return nil, fmt.Errorf("protect IKE messages: integrity %d is not supported", p.Integrity)
	}
	return newSeparate(e, a, sealE, openE, sealA, openA, rand)
}

var (
	errShort     = errors.New("encrypted body too short")
	errChecksum  = errors.New("integrity checksum differs")
	errExhausted = errors.New("initialization vectors exhausted")
)

// separate is a cipher without integrity, then an HMAC over the whole message
// up to the checksum (RFC 7296 §3.14).
type separate struct {
	seal, open   confidential
	sealA, openA hash.Hash
	icv          int
}

func newSeparate(e encryption, a integrity, sealE, openE, sealA, openA Secret, rand io.Reader) (wire.Protector, error) {
	h, err := newHash(a.prf) // the HMAC of a PRF and of its integrity algorithm are the same
	if err != nil {
		return nil, err
	}
	seal, err := newConfidential(e, sealE, rand)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages with %s: %w", e.keyword, err)
	}
	open, err := newConfidential(e, openE, rand)
	if err != nil {
		return nil, fmt.Errorf("protect IKE messages with %s: %w", e.keyword, err)
	}
	return &separate{seal, open, hmac.New(h, sealA), hmac.New(h, openA), a.icv}, nil
}

func (s *separate) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

func (s *separate) BlockSize() int { return s.seal.blockSize() }

func (s *separate) Overhead() int { return s.seal.ivSize() + s.icv }

func (s *separate) Seal(dst, aad, plaintext []byte) ([]byte, error) {
	if len(plaintext)%s.BlockSize() != 0 {
		return nil, errors.New("plaintext is not whole blocks")
	}
	start := len(dst)
	dst, err := s.seal.appendIV(dst)
	if err != nil {
		return nil, err
	}
	text := len(dst)
	dst = append(dst, plaintext...)
	s.seal.encrypt(dst[start:text], dst[text:])
	return append(dst, checksum(s.sealA, s.icv, aad, dst[start:])...), nil
}

func (s *separate) Open(aad, body []byte) ([]byte, error) {
	n := len(body) - s.Overhead()
	if n < s.BlockSize() || n%s.BlockSize() != 0 {
		return nil, errShort
	}
	covered, sum := body[:len(body)-s.icv], body[len(body)-s.icv:]
	if !hmac.Equal(checksum(s.openA, s.icv, aad, covered), sum) {
		return nil, errChecksum
	}
	iv, plaintext := covered[:s.open.ivSize()], slices.Clone(covered[s.open.ivSize():])
	s.open.decrypt(iv, plaintext)
	return plaintext, nil
}

func checksum(mac hash.Hash, icv int, parts ...[]byte) []byte {
	mac.Reset()
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)[:icv]
}
