package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"spindle/sadb"
)

// gmac is AES-GMAC (RFC 4543): integrity, and the payload in the clear. All of
// the packet is associated data of an empty plaintext, with the whole sequence
// number where ESN is in use (RFC 4543 §3.3):
//
//	SPI (4) | sequence number (4 or 8) | IV (8) | payload with trailer
type gmac struct {
	cipher cipher.AEAD
	nonce  [saltLen + aeadIV]byte
	tag    [gmacTag]byte
	esn    bool
}

const gmacTag = 16

func newGMAC(s *Suite, sa *sadb.SA) (protector, error) {
	block, err := aes.NewCipher(sa.Key[:s.encryption])
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	g := &gmac{esn: sa.ESN}
	if g.cipher, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	copy(g.nonce[:saltLen], sa.Key[s.encryption:])
	return g, nil
}

func (g *gmac) seal(esp []byte, seq uint64) {
	binary.BigEndian.PutUint64(g.nonce[saltLen:], seq)
	binary.BigEndian.PutUint64(esp[HeaderLen:], seq)
	covered := esp[:len(esp)-gmacTag]
	if !g.esn {
		g.authenticate(covered)
		copy(esp[len(covered):], g.tag[:])
		return
	}
	// The ICV's place lends the four bytes by which the covered text is longer
	// than the packet.
	wide := esp[:len(covered)+4]
	copy(wide[12:], covered[HeaderLen:])
	binary.BigEndian.PutUint64(wide[4:], seq)
	g.authenticate(wide)
	copy(covered[HeaderLen:], wide[12:])
	binary.BigEndian.PutUint32(covered[4:], uint32(seq))
	copy(esp[len(covered):], g.tag[:])
}

// open lays out in dst and the room behind it what is covered with ESN.
func (g *gmac) open(dst, esp []byte, seq uint64) bool {
	copy(g.nonce[saltLen:], esp[HeaderLen:][:aeadIV])
	covered := esp[:len(esp)-gmacTag]
	if g.esn {
		wide := dst[:len(covered)+4]
		copy(wide, covered[:4])
		binary.BigEndian.PutUint64(wide[4:], seq)
		copy(wide[12:], covered[HeaderLen:])
		g.authenticate(wide)
		clear(wide)
	} else {
		g.authenticate(covered)
	}
	if !equal(g.tag[:], esp[len(covered):]) {
		clear(dst)
		return false
	}
	copy(dst, covered[HeaderLen+aeadIV:])
	return true
}

func (g *gmac) authenticate(covered []byte) { g.cipher.Seal(g.tag[:0], g.nonce[:], nil, covered) }

func (g *gmac) wipe() { *g = gmac{} }
