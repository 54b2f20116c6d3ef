// Package suite is the cryptography of IKE: proposals and their negotiation,
// PRF and key derivation, key exchange, authentication by shared key and by
// signature, and the protection of messages.
//
// Algorithms are chosen by strongSwan's proposal keywords and negotiated as
// wire values. Nothing here keeps time or talks to anyone; randomness comes in
// as an io.Reader, and equal input gives equal output. Secrets never print.
//
// Weak algorithms of old peers are behind [AllowWeak].
//
// RFC 7296 §2.7, §2.13 to §2.18, §2.23, §3.3; encryption and integrity RFC 3686,
// RFC 4106, RFC 4543, RFC 4868, RFC 5282, RFC 5930, RFC 7634; key exchange
// RFC 3526, RFC 5903, RFC 6989, RFC 7748, RFC 8031, RFC 9242, RFC 9370, FIPS 203;
// authentication RFC 4754, RFC 7427, RFC 8420, RFC 8784; RFC 6290.
package suite

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is key material. It prints as "secret" in every form.
type Secret []byte

const redacted = "secret"

func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (Secret) String() string               { return redacted }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }

// Wipe overwrites the secret.
func (s Secret) Wipe() { clear(s) }
