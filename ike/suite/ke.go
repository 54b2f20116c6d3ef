package suite

import (
	"crypto/ecdh"
	"fmt"
	"io"

	"spindle/ike/wire"
)

// KE is one side of one key exchange. It is used for one SA and thrown away.
type KE interface {
	Group() wire.Group
	// Public is the Key Exchange Data to send.
	Public() []byte
	// Shared is g^ir as the key schedule takes it. peer is refused as RFC 6989
	// asks: wrong length, a point off the curve, y <= 1 or y >= p-1, an X25519
	// result of all zeros.
	Shared(peer []byte) (Secret, error)
}

// GenerateKE makes a private value from rand; equal octets give equal values.
func GenerateKE(group wire.Group, rand io.Reader) (KE, error) {
	var ke KE
	var err error
	switch group {
	case wire.GroupX25519:
		ke, err = generateEC(group, ecdh.X25519(), 32, 0xff, rand)
	case wire.GroupECP256:
		ke, err = generateEC(group, ecdh.P256(), 32, 0xff, rand)
	case wire.GroupECP384:
		ke, err = generateEC(group, ecdh.P384(), 48, 0xff, rand)
	case wire.GroupECP521:
		ke, err = generateEC(group, ecdh.P521(), 66, 0x01, rand)
	case wire.GroupMODP2048:
		ke, err = generateMODP(group, primeMODP2048, rand)
	case wire.GroupMODP3072:
		ke, err = generateMODP(group, primeMODP3072, rand)
	case wire.GroupMODP4096:
		ke, err = generateMODP(group, primeMODP4096, rand)
	default:
		err = fmt.Errorf("group is not supported")
	}
	if err != nil {
		return nil, fmt.Errorf("generate %v key exchange: %w", group, err)
	}
	return ke, nil
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
