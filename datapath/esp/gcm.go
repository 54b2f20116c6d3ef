package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"spindle/sadb"
)

// protector is a suite with its key: what Seal and Open leave to cryptography.
// esp is one whole packet, from the ESP header to the end of the ICV.
type protector interface {
	// seal writes the IV, encrypts what stands between IV and ICV in place, and
	// writes the ICV. seq must never come twice.
	seal(esp []byte, seq uint64)
	// open verifies the ICV and decrypts into dst, which has exactly the length of
	// the ciphertext. When it is false, dst holds no plaintext.
	open(dst, esp []byte, seq uint64) bool
	wipe()
}

func (s *Suite) protector(sa *sadb.SA) (protector, error) {
	if s.hash != nil {
		return newCBC(s, sa)
	}
	return newGCM(s, sa)
}

// gcm is AES-GCM with a 16-byte ICV (RFC 4106). Nonce and AAD live here because
// slices handed to the AEAD escape: on the stack they would be allocated anew
// for each packet.
//
//	nonce:  salt (4) | IV (8)
//	AAD:    SPI (4) | sequence number (4, or 8 with ESN, RFC 4106 §5)
type gcm struct {
	aead  cipher.AEAD
	nonce [gcmSalt + 8]byte
	aad   [12]byte
	esn   bool
}

func newGCM(s *Suite, sa *sadb.SA) (*gcm, error) {
	block, err := aes.NewCipher(sa.Key[:s.encryption])
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	g := &gcm{aead: aead, esn: sa.ESN}
	copy(g.nonce[:gcmSalt], sa.Key[s.encryption:])
	binary.BigEndian.PutUint32(g.aad[:], uint32(sa.SPI))
	return g, nil
}

// bind fills the associated data.
func (g *gcm) bind(seq uint64) []byte {
	if g.esn {
		binary.BigEndian.PutUint64(g.aad[4:], seq)
		return g.aad[:12]
	}
	binary.BigEndian.PutUint32(g.aad[4:], uint32(seq))
	return g.aad[:8]
}

// seal takes the sequence number for the IV: RFC 4106 §3.1 asks that it never
// repeats under one key and names a counter as a way to get that.
func (g *gcm) seal(esp []byte, seq uint64) {
	binary.BigEndian.PutUint64(esp[HeaderLen:], seq)
	binary.BigEndian.PutUint64(g.nonce[gcmSalt:], seq)
	body := esp[HeaderLen+8 : len(esp)-g.aead.Overhead()]
	g.aead.Seal(body[:0], g.nonce[:], body, g.bind(seq))
}

// open relies on the AEAD to clear dst when the ICV is wrong, and so that this
// does not rest on one implementation's habit, clears it once more.
func (g *gcm) open(dst, esp []byte, seq uint64) bool {
	copy(g.nonce[gcmSalt:], esp[HeaderLen:HeaderLen+8])
	_, err := g.aead.Open(dst[:0], g.nonce[:], esp[HeaderLen+8:], g.bind(seq))
	if err != nil {
		clear(dst)
		return false
	}
	return true
}

// wipe clears the salt and lets go of the key schedule, which the standard
// library gives no way to overwrite.
func (g *gcm) wipe() {
	clear(g.nonce[:])
	g.aead = nil
}
