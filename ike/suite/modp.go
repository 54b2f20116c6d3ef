package suite

import (
	"errors"
	"fmt"
	"io"

	"filippo.io/bigmod"

	"spindle/ike/wire"
)

// modpKE is classic Diffie-Hellman over a safe prime with generator 2 (RFC 3526),
// in constant time. A short exponent costs no security.
type modpKE struct {
	group    wire.Group
	modulus  *bigmod.Modulus
	exponent Secret
	public   []byte
}

func generateMODP(group wire.Group, prime safePrime, rand io.Reader) (KE, error) {
	modulus, err := bigmod.NewModulus(prime.value())
	if err != nil {
		return nil, err
	}
	exponent := make(Secret, prime.exponent)
	if _, err := io.ReadFull(rand, exponent); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	// The highest bit set keeps the exponent large whatever rand gave.
	exponent[0] |= 0x80
	generator := bigmod.NewNat().SetUint(2).ExpandFor(modulus)
	public := bigmod.NewNat().Exp(generator, exponent, modulus).Bytes(modulus)
	return &modpKE{group, modulus, exponent, public}, nil
}

func (k *modpKE) Group() wire.Group { return k.group }

func (k *modpKE) Format(f fmt.State, _ rune) { io.WriteString(f, k.group.String()+" "+redacted) }

func (k *modpKE) Public() []byte { return k.public }

// Shared is as long as the prime, with zeros in front if necessary (RFC 7296
// §2.14), and so must the public values be (§3.4).
func (k *modpKE) Shared(peer []byte) (Secret, error) {
	if len(peer) != k.modulus.Size() {
		return nil, fmt.Errorf("peer's %v public value has %d octets instead of %d", k.group, len(peer), k.modulus.Size())
	}
	y, err := bigmod.NewNat().SetBytes(peer, k.modulus)
	if err != nil || y.IsZero() == 1 || y.IsOne() == 1 || y.IsMinusOne(k.modulus) == 1 {
		// RFC 6989 §2.1: the test for groups over a safe prime.
		return nil, fmt.Errorf("peer's %v public value: %w", k.group, errPublicRange)
	}
	return bigmod.NewNat().Exp(y, k.exponent, k.modulus).Bytes(k.modulus), nil
}

var errPublicRange = errors.New("not above 1 and below p-1")
