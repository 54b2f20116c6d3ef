package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// IntermediateOctets are what IntAuth covers of a received IKE_INTERMEDIATE
// message (RFC 9242 §3.3.2): the message as if its SK payload were neither
// encrypted nor padded, with both lengths corrected for that. Nil for a message
// that was not opened.
func (m Message) IntermediateOctets() []byte {
	if m.Envelope == nil {
		return nil
	}
	octets := slices.Concat(m.Envelope, m.Plaintext)
	patchLength(octets, len(octets))
	binary.BigEndian.PutUint16(octets[len(m.Envelope)-2:], uint16(payloadHeaderSize+len(m.Plaintext)))
	return octets
}

// IntermediateOctets are the same of a message that is to be sent by
// AppendEncrypted or AppendFragments with h and payloads.
func IntermediateOctets(h Header, payloads []Payload) ([]byte, error) {
	plaintext, err := appendChain(nil, payloads)
	if err != nil {
		return nil, fmt.Errorf("octets for IntAuth: %w", err)
	}
	return AppendMessage(nil, h, []Payload{SK{First: firstType(payloads), Body: plaintext}})
}
