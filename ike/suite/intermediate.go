package suite

import (
	"encoding/binary"
	"fmt"
	"slices"

	"spindle/ike/wire"
)

// IntAuth binds the IKE_INTERMEDIATE messages of an IKE SA into its AUTH
// payloads (RFC 9242 §3.3.2). The zero value stands for none.
//
//	IntAuth_i1 = prf(SK_pi1, IntAuth_i1A [| IntAuth_i1P])
//	IntAuth_i2 = prf(SK_pi2, IntAuth_i1 | IntAuth_i2A [| IntAuth_i2P])
type IntAuth struct {
	initiator, responder []byte
	rounds               int
}

// Add takes one exchange: the octets of its request and its response, as
// wire's IntermediateOctets gives them. keys are those that protected it, so
// before the key exchange in it changed them.
func (a *IntAuth) Add(prf wire.PRF, keys *IKEKeys, request, response []byte) error {
	i, err := PRF(prf, keys.PI, a.initiator, request)
	if err != nil {
		return fmt.Errorf("authenticate IKE_INTERMEDIATE: %w", err)
	}
	r, err := PRF(prf, keys.PR, a.responder, response)
	if err != nil {
		return fmt.Errorf("authenticate IKE_INTERMEDIATE: %w", err)
	}
	a.initiator, a.responder = i, r
	a.rounds++
	return nil
}

// Octets are what SignedOctets covers in addition, empty when there was no
// IKE_INTERMEDIATE. authID is the Message ID of the first IKE_AUTH request.
//
//	IntAuth = IntAuth_iN | IntAuth_rN | IKE_AUTH_MID
func (a *IntAuth) Octets(authID uint32) []byte {
	if a.rounds == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint32(slices.Concat(a.initiator, a.responder), authID)
}
