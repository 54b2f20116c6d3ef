package wire

import (
	"encoding/binary"
	"fmt"
)

// KE is the Key Exchange payload (RFC 7296 §3.4).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   Diffie-Hellman Group Num    |           RESERVED            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                       Key Exchange Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type KE struct {
	Group Group
	Data  []byte
}

func (KE) PayloadType() PayloadType { return PayloadKE }

func readKE(r *reader) Payload {
	p := KE{Group: Group(r.uint16("group"))}
	r.uint16("reserved")
	if r.err == nil && r.s.Empty() {
		r.fail("no key exchange data: %w", ErrTruncated)
	}
	p.Data = r.rest()
	return p
}

func (p KE) appendBody(dst []byte) ([]byte, error) {
	if len(p.Data) == 0 {
		return nil, fmt.Errorf("no key exchange data: %w", ErrValue)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Group))
	return append(append(dst, 0, 0), p.Data...), nil
}

// Bounds on nonces: "the size of the Nonce Data MUST be between 16 and 256
// octets, inclusive" (RFC 7296 §3.9).
const (
	MinNonce = 16
	MaxNonce = 256
)

// Nonce is the Nonce payload (RFC 7296 §3.9): nothing but its data.
type Nonce struct{ Data []byte }

func (Nonce) PayloadType() PayloadType { return PayloadNonce }

func readNonce(r *reader) Payload {
	if n := len(r.s); n < MinNonce || n > MaxNonce {
		r.fail("nonce of %d octets: %w", n, ErrLength)
	}
	return Nonce{r.rest()}
}

func (p Nonce) appendBody(dst []byte) ([]byte, error) {
	if len(p.Data) < MinNonce || len(p.Data) > MaxNonce {
		return nil, fmt.Errorf("nonce of %d octets: %w", len(p.Data), ErrLength)
	}
	return append(dst, p.Data...), nil
}
