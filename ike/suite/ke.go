package suite

import (
	"crypto/ecdh"
	"fmt"
	"io"

	"spindle/ike/wire"
)

// KE is the initiator's side of one key exchange, or in a classical group
// either side's. It is used for one SA and thrown away.
type KE interface {
	Group() wire.Group
	// Public is the Key Exchange Data to send; in ML-KEM the encapsulation key.
	Public() []byte
	// Shared is g^ir as the key schedule takes it. peer is refused as RFC 6989
	// asks: wrong length, a point off the curve, y <= 1 or y >= p-1, an X25519 or
	// X448 result of all zeros. In ML-KEM peer is the ciphertext of the responder.
	Shared(peer []byte) (Secret, error)
}

// GenerateKE makes a private value from rand; equal octets give equal values.
// A responder that accepts ML-KEM calls [RespondKE] instead.
func GenerateKE(group wire.Group, rand io.Reader) (KE, error) {
	var ke KE
	var err error
	switch group {
	case wire.GroupX25519:
		ke, err = generateEC(group, ecdh.X25519(), 32, 0xff, rand)
	case wire.GroupX448:
		ke, err = generateX448(rand)
	case wire.GroupECP256:
		ke, err = generateEC(group, ecdh.P256(), 32, 0xff, rand)
	case wire.GroupECP384:
		ke, err = generateEC(group, ecdh.P384(), 48, 0xff, rand)
	case wire.GroupECP521:
		ke, err = generateEC(group, ecdh.P521(), 66, 0x01, rand)
	case wire.GroupMLKEM768, wire.GroupMLKEM1024:
		ke, err = generateKEM(group, rand)
	default:
		prime, ok := safePrimes[group]
		if !ok {
			return nil, fmt.Errorf("generate %v key exchange: group is not supported", group)
		}
		ke, err = generateMODP(group, prime, rand)
	}
	if err != nil {
		return nil, fmt.Errorf("generate %v key exchange: %w", group, err)
	}
	return ke, nil
}

// RespondKE is the responder's side of one key exchange: from the initiator's
// Key Exchange Data it makes what to answer and the shared value. In ML-KEM the
// answer is the ciphertext of the encapsulation, in all other groups the public
// value of a private one that is drawn from rand and forgotten.
func RespondKE(group wire.Group, peer []byte, rand io.Reader) (public []byte, shared Secret, err error) {
	if isKEM(group) {
		return encapsulate(group, peer, rand)
	}
	ke, err := GenerateKE(group, rand)
	if err != nil {
		return nil, nil, err
	}
	if shared, err = ke.Shared(peer); err != nil {
		return nil, nil, err
	}
	return ke.Public(), shared, nil
}

// curveKE is ECDH over a NIST curve (RFC 5903) or X25519 (RFC 8031).
type curveKE struct {
	group wire.Group
	key   *ecdh.PrivateKey
}

// scalarTries bounds the search for a private scalar below the order of the
// curve. Already a second try is rarer than 2^-32 with honest randomness.
const scalarTries = 16

// generateEC draws the scalar itself: crypto/ecdh takes its randomness from
// elsewhere than the reader it is given, and ladders must be reproducible.
func generateEC(group wire.Group, curve ecdh.Curve, size int, topMask byte, rand io.Reader) (KE, error) {
	scalar := make(Secret, size)
	defer scalar.Wipe()
	for range scalarTries {
		if _, err := io.ReadFull(rand, scalar); err != nil {
			return nil, fmt.Errorf("read randomness: %w", err)
		}
		scalar[0] &= topMask
		if key, err := curve.NewPrivateKey(scalar); err == nil {
			return &curveKE{group, key}, nil
		}
	}
	return nil, fmt.Errorf("randomness gave no private key in %d tries", scalarTries)
}

func (k *curveKE) Group() wire.Group { return k.group }

func (k *curveKE) Format(f fmt.State, _ rune) { io.WriteString(f, k.group.String()+" "+redacted) }

// uncompressed marks a point of both coordinates in SEC 1. IKE leaves it out
// and joins x and y (RFC 5903 §7).
const uncompressed = 4

func (k *curveKE) Public() []byte {
	b := k.key.PublicKey().Bytes()
	if k.group == wire.GroupX25519 {
		return b
	}
	return b[1:]
}

// Shared is the x coordinate for NIST curves (RFC 5903 §9).
func (k *curveKE) Shared(peer []byte) (Secret, error) {
	if k.group != wire.GroupX25519 {
		peer = append([]byte{uncompressed}, peer...)
	}
	public, err := k.key.Curve().NewPublicKey(peer)
	if err != nil {
		return nil, fmt.Errorf("peer's %v public value: %w", k.group, err)
	}
	shared, err := k.key.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("%v key exchange: %w", k.group, err)
	}
	return shared, nil
}
