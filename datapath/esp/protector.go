package esp

import (
	"spindle/sadb"
)

// protector is a suite with its key: what Seal and Open leave to cryptography.
// esp is one whole packet, from the ESP header to the end of the ICV. Scratch
// lives in the protectors, not on the stack: slices that go through an interface
// escape, and would be allocated anew for each packet.
type protector interface {
	// seal writes the IV, encrypts what stands between IV and ICV in place, and
	// writes the ICV. seq must never come twice.
	seal(esp []byte, seq uint64)
	// open verifies the ICV and decrypts into dst, which has exactly the length of
	// the ciphertext, and room behind it for as much as esp has more. It leaves
	// esp as it is. When it is false, dst holds no plaintext.
	open(dst, esp []byte, seq uint64) bool
	wipe()
}

// protector makes one, in k if it is a kernel.
func (s *Suite) protector(sa *sadb.SA, c *Crypto, k *kernel) (protector, error) {
	switch s.kind {
	case aesGCM:
		return newGCM(s, sa, c, k)
	case chacha:
		return newChaCha(sa)
	case aesGMAC:
		return newGMAC(s, sa)
	}
	return newSeparate(s, sa)
}
