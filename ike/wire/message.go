package wire

import (
	"fmt"
	"strings"
)

// Message is an IKEv2 message. Payloads are those in the clear, of which an SK
// or SKF payload is the last; after OpenEncrypted they are the decrypted ones.
type Message struct {
	Header   Header
	Payloads []Payload
	// Envelope and Plaintext are of a message that was opened, else nil: its
	// octets up to and with the generic header of the SK payload, and what that
	// payload held, without padding.
	Envelope, Plaintext []byte
}

// ParseMessage reads an IKEv2 message as far as it is not encrypted.
func ParseMessage(b []byte) (Message, error) {
	r := newReader(b)
	h := readHeader(&r)
	if r.err == nil && h.Version.Major() != Version2.Major() {
		r.failAt(17, "version %v: %w", h.Version, ErrVersion)
	}
	payloads := readChain(&r, h.NextPayload, true)
	if r.err != nil {
		return Message{}, r.err
	}
	return Message{Header: h, Payloads: payloads}, nil
}

// AppendMessage writes a message in the clear to dst. Length and NextPayload of
// h are ignored. Errors are values that no message can carry.
func AppendMessage(dst []byte, h Header, payloads []Payload) ([]byte, error) {
	start := len(dst)
	dst = appendHeader(dst, h, firstType(payloads))
	dst, err := appendChain(dst, payloads)
	if err != nil {
		return nil, fmt.Errorf("append IKE message: %w", err)
	}
	patchLength(dst[start:], len(dst)-start)
	return dst, nil
}

// Encrypted returns the SK payload of a message that has not been opened.
func (m Message) Encrypted() (SK, bool) { return Find[SK](m.Payloads) }

// String is the message as the RFC writes it, without any of its data:
// "IKE_SA_INIT request 0 [ SA KE Nonce N(COOKIE) ]".
func (m Message) String() string {
	var s strings.Builder
	kind := "request"
	if m.Header.Response() {
		kind = "response"
	}
	fmt.Fprintf(&s, "%v %s %d [ ", m.Header.Exchange, kind, m.Header.MessageID)
	for _, p := range m.Payloads {
		if n, ok := p.(Notify); ok {
			fmt.Fprintf(&s, "N(%v) ", n.Type)
			continue
		}
		fmt.Fprintf(&s, "%v ", p.PayloadType())
	}
	s.WriteByte(']')
	return s.String()
}
