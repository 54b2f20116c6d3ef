package suite

import (
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/dh/x448"

	"spindle/ike/wire"
)

// x448KE is ECDH over Curve448 (RFC 8031), which the standard library lacks.
type x448KE struct{ private, public x448.Key }

func generateX448(rand io.Reader) (KE, error) {
	k := &x448KE{}
	if _, err := io.ReadFull(rand, k.private[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	x448.KeyGen(&k.public, &k.private)
	return k, nil
}

func (k *x448KE) Group() wire.Group { return wire.GroupX448 }

func (k *x448KE) Format(f fmt.State, _ rune) {
	io.WriteString(f, wire.GroupX448.String()+" "+redacted)
}

func (k *x448KE) Public() []byte { return k.public[:] }

// errZero: "Implementations MUST check whether the computed shared secret is the
// all-zero value and abort if so" (RFC 8031 §3.1 through RFC 7748 §6).
var errZero = errors.New("a point of low order")

func (k *x448KE) Shared(peer []byte) (Secret, error) {
	var shared, public x448.Key
	if len(peer) != len(public) {
		return nil, fmt.Errorf("peer's %v public value has %d octets instead of %d", k.Group(), len(peer), len(public))
	}
	copy(public[:], peer)
	if !x448.Shared(&shared, &k.private, &public) {
		return nil, fmt.Errorf("peer's %v public value: %w", k.Group(), errZero)
	}
	return shared[:], nil
}
