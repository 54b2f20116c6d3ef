package suite

import (
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"fmt"
	"io"

	"spindle/ike/wire"
)

// kem is ML-KEM (FIPS 203) as a key exchange of IKEv2: the initiator sends an
// encapsulation key, the responder a ciphertext, and 32 octets are shared
// (draft-ietf-ipsecme-ikev2-mlkem). It stands only among the additional key
// exchanges of RFC 9370.
type kem struct {
	group wire.Group
	key   interface {
		Decapsulate(ciphertext []byte) ([]byte, error)
	}
	public []byte
}

func isKEM(group wire.Group) bool {
	_, ok := findNamed(kems, uint16(group))
	return ok
}

func generateKEM(group wire.Group, rand io.Reader) (KE, error) {
	seed := make(Secret, mlkem.SeedSize)
	defer seed.Wipe()
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	if group == wire.GroupMLKEM1024 {
		key, err := mlkem.NewDecapsulationKey1024(seed)
		if err != nil {
			return nil, err
		}
		return &kem{group, key, key.EncapsulationKey().Bytes()}, nil
	}
	key, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		return nil, err
	}
	return &kem{group, key, key.EncapsulationKey().Bytes()}, nil
}

func (k *kem) Group() wire.Group { return k.group }

func (k *kem) Format(f fmt.State, _ rune) { io.WriteString(f, k.group.String()+" "+redacted) }

func (k *kem) Public() []byte { return k.public }

// Shared decapsulates. A ciphertext that was changed on its way gives another
// value on each side and no error (FIPS 203 §6.3): the next message does not authenticate.
func (k *kem) Shared(ciphertext []byte) (Secret, error) {
	shared, err := k.key.Decapsulate(ciphertext)
	if err != nil {
		return nil, fmt.Errorf("peer's %v ciphertext: %w", k.group, err)
	}
	return shared, nil
}

// encapsulate draws the message m of FIPS 203 §7.2 from rand and calls
// ML-KEM.Encaps_internal. crypto/mlkem's Encapsulate draws it from the system:
// equal input would no longer give equal output, which histories replayed from
// a seed rely on.
func encapsulate(group wire.Group, peer []byte, rand io.Reader) (ciphertext []byte, shared Secret, err error) {
	m := make(Secret, 32)
	defer m.Wipe()
	if _, err := io.ReadFull(rand, m); err != nil {
		return nil, nil, fmt.Errorf("read randomness: %w", err)
	}
	if group == wire.GroupMLKEM1024 {
		shared, ciphertext, err = encapsulate1024(peer, m)
	} else {
		shared, ciphertext, err = encapsulate768(peer, m)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("peer's %v encapsulation key: %w", group, err)
	}
	return ciphertext, shared, nil
}

// The constructors check the key as FIPS 203 §7.2 asks: its length, and that
// its coefficients are reduced.
func encapsulate768(peer, m []byte) (shared, ciphertext []byte, err error) {
	key, err := mlkem.NewEncapsulationKey768(peer)
	if err != nil {
		return nil, nil, err
	}
	return mlkemtest.Encapsulate768(key, m)
}

func encapsulate1024(peer, m []byte) (shared, ciphertext []byte, err error) {
	key, err := mlkem.NewEncapsulationKey1024(peer)
	if err != nil {
		return nil, nil, err
	}
	return mlkemtest.Encapsulate1024(key, m)
}
