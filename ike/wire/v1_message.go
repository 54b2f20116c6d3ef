package wire

import (
	"fmt"
	"strings"
)

// V1Message is an IKEv1 message (RFC 2408 §3.1). The header is that of IKEv2:
// the SPIs are the cookies.
type V1Message struct {
	Header   Header
	Payloads []Payload
	// Octets are the payloads as received, generic header included, one for each
	// of Payloads: the hashes of IKEv1 cover them.
	Octets [][]byte
}

// V1Encrypted says that what follows the header is encrypted.
func (h Header) V1Encrypted() bool { return h.Flags&V1FlagEncrypted != 0 }

// ParseV1Message reads an IKEv1 message that is not encrypted.
func ParseV1Message(b []byte) (V1Message, error) {
	r := newReader(b)
	h := readV1Header(&r)
	if r.err == nil && h.V1Encrypted() {
		r.failAt(19, "encrypted message: %w", ErrChain)
	}
	payloads, octets := readV1Chain(&r, h.NextPayload, b)
	if r.more() {
		r.fail("%d octets after the last payload: %w", len(r.s), ErrTrailing)
	}
	if r.err != nil {
		return V1Message{}, r.err
	}
	return V1Message{h, payloads, octets}, nil
}

func readV1Header(r *reader) Header {
	h := readHeader(r)
	if r.err == nil && h.Version.Major() != Version1.Major() {
		r.failAt(17, "version %v: %w", h.Version, ErrVersion1)
	}
	return h
}

// AppendV1Message writes a message in the clear to dst. Version, Length and
// NextPayload of h are ignored.
func AppendV1Message(dst []byte, h Header, payloads []Payload) ([]byte, error) {
	start := len(dst)
	h.Version = Version1
	h.Flags &^= V1FlagEncrypted
	dst = appendHeader(dst, h, firstType(payloads))
	dst, err := appendChain(dst, payloads)
	if err != nil {
		return nil, fmt.Errorf("append IKEv1 message: %w", err)
	}
	patchLength(dst[start:], len(dst)-start)
	return dst, nil
}

// V1Cipher encrypts the messages of one exchange, each with the initialization
// vector that the one before it left (RFC 2409 appendix B).
type V1Cipher interface {
	BlockSize() int
	// Encrypt appends the ciphertext of whole blocks to dst.
	Encrypt(dst, plaintext []byte) []byte
	// Decrypt returns the plaintext of whole blocks in new memory.
	Decrypt(ciphertext []byte) []byte
}

// AppendV1Encrypted writes a message whose payloads are encrypted. They are
// filled up with zeros: RFC 2409 appendix B, "payloads are padded up to the
// nearest block size using bytes containing 0x00", which tells no length.
func AppendV1Encrypted(dst []byte, h Header, payloads []Payload, c V1Cipher) ([]byte, error) {
	plaintext, err := appendChain(nil, payloads)
	if err != nil {
		return nil, fmt.Errorf("append encrypted IKEv1 message: %w", err)
	}
	block := c.BlockSize()
	plaintext = append(plaintext, make([]byte, (block-len(plaintext)%block)%block)...)
	start := len(dst)
	h.Version = Version1
	h.Flags |= V1FlagEncrypted
	dst = appendHeader(dst, h, firstType(payloads))
	dst = c.Encrypt(dst, plaintext)
	patchLength(dst[start:], len(dst)-start)
	return dst, nil
}

// OpenV1Encrypted decrypts and parses a message. Nothing proves yet who sent
// it: with the wrong key the payloads are noise, and mostly an error. What
// stands after the last payload is padding.
func OpenV1Encrypted(b []byte, c V1Cipher) (V1Message, error) {
	r := newReader(b)
	h := readV1Header(&r)
	if r.err != nil {
		return V1Message{}, r.err
	}
	body := b[HeaderSize:]
	switch {
	case !h.V1Encrypted():
		r.failAt(19, "message in the clear: %w", ErrChain)
	case len(body) == 0 || len(body)%c.BlockSize() != 0:
		r.failAt(HeaderSize, "%d octets of ciphertext: %w", len(body), ErrLength)
	}
	if r.err != nil {
		return V1Message{}, r.err
	}
	plaintext := c.Decrypt(body)
	inner := newReader(plaintext)
	payloads, octets := readV1Chain(&inner, h.NextPayload, plaintext)
	if inner.err != nil {
		return V1Message{}, inner.err
	}
	return V1Message{h, payloads, octets}, nil
}

// AppendV1Chain writes payloads as they follow a header or another payload:
// what the hashes of phase 2 cover.
func AppendV1Chain(dst []byte, payloads []Payload) ([]byte, error) {
	return appendChain(dst, payloads)
}

// V1Body is the body of a payload, without its generic header: what the hashes
// of RFC 2409 write as "<P>_b".
func V1Body(p Payload) ([]byte, error) { return p.appendBody(nil) }

// Body is the body of the first payload of a type as it was received.
func (m V1Message) Body(t PayloadType) []byte {
	for i, p := range m.Payloads {
		if p.PayloadType() == t && i < len(m.Octets) {
			return m.Octets[i][payloadHeaderSize:]
		}
	}
	return nil
}

// AfterFirst are the octets of all payloads but the first, as received: what
// HASH(1) and HASH(2) cover of a message that starts with them (RFC 2409 §5.5).
func (m V1Message) AfterFirst() []byte {
	var rest []byte
	for i := 1; i < len(m.Octets); i++ {
		rest = append(rest, m.Octets[i]...)
	}
	return rest
}

// String is the message as RFC 2409 writes it, without any of its data:
// "MAIN_MODE 00000000 [ SA VID VID ]". An asterisk marks an encrypted one.
func (m V1Message) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v", m.Header.Exchange)
	if m.Header.V1Encrypted() {
		s.WriteByte('*')
	}
	s.WriteString(" [ ")
	for _, p := range m.Payloads {
		if n, ok := p.(V1Notify); ok {
			fmt.Fprintf(&s, "N(%v) ", n.Type)
			continue
		}
		fmt.Fprintf(&s, "%v ", p.PayloadType())
	}
	s.WriteByte(']')
	return s.String()
}
