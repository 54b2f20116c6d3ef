package wire

import (
	"encoding/binary"
	"fmt"
)

// HashAlgorithm is a hash under a digital signature (RFC 7427 §7).
type HashAlgorithm uint16

const (
	HashSHA1     HashAlgorithm = 1
	HashSHA2256  HashAlgorithm = 2
	HashSHA2384  HashAlgorithm = 3
	HashSHA2512  HashAlgorithm = 4
	HashIdentity HashAlgorithm = 5 // RFC 8420: the signature hashes by itself
)

func (h HashAlgorithm) String() string {
	switch h {
	case HashSHA1:
		return "sha1"
	case HashSHA2256:
		return "sha256"
	case HashSHA2384:
		return "sha384"
	case HashSHA2512:
		return "sha512"
	case HashIdentity:
		return "identity"
	}
	return fmt.Sprintf("hash(%d)", uint16(h))
}

// SignatureHashAlgorithms are the hashes under which the sender accepts
// signatures, in IKE_SA_INIT (RFC 7427 §4).
type SignatureHashAlgorithms []HashAlgorithm

// Notify is the notification that announces them.
func (s SignatureHashAlgorithms) Notify() Notify {
	n := Notify{Type: NotifySignatureHashAlgorithms}
	for _, h := range s {
		n.Data = binary.BigEndian.AppendUint16(n.Data, uint16(h))
	}
	return n
}

// ParseSignatureHashAlgorithms reads the data of SIGNATURE_HASH_ALGORITHMS.
func ParseSignatureHashAlgorithms(n Notify) (SignatureHashAlgorithms, error) {
	var s SignatureHashAlgorithms
	r := notifyReader(n)
	for r.more() {
		s = append(s, HashAlgorithm(r.uint16("hash algorithm")))
	}
	if r.err == nil && len(s) == 0 {
		r.fail("hash algorithm: %w", ErrTruncated)
	}
	if err := r.close(n); err != nil {
		return nil, err
	}
	return s, nil
}
