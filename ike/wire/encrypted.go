package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// SK is the Encrypted and Authenticated payload (RFC 7296 §3.14), still closed.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Next Payload  |C|  RESERVED   |         Payload Length        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                     Initialization Vector                     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                    Encrypted IKE Payloads                     ~
//	+               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               |             Padding (0-255 octets)            |
//	+-+-+-+-+-+-+-+-+                               +-+-+-+-+-+-+-+-+
//	|                                               |  Pad Length   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                    Integrity Checksum Data                    ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type SK struct {
	First  PayloadType // of the payloads inside
	Offset int         // of the generic payload header in the message
	Body   []byte      // from the initialization vector to the checksum
}

// SKF is one fragment of an Encrypted payload (RFC 7383 §2.5), still closed.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Next Payload  |C|  RESERVED   |         Payload Length        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|        Fragment Number        |        Total Fragments        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~   IV, encrypted content, padding and checksum as in SK        ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type SKF struct {
	First           PayloadType // of the payloads inside in fragment 1, PayloadNone in all others
	Offset          int
	Fragment, Total uint16 // 1 <= Fragment <= Total
	Body            []byte
}

// encrypted is SK or SKF: their Next Payload field names what is inside.
type encrypted interface{ first() PayloadType }

func (p SK) first() PayloadType  { return p.First }
func (p SKF) first() PayloadType { return p.First }

func (SK) PayloadType() PayloadType  { return PayloadSK }
func (SKF) PayloadType() PayloadType { return PayloadSKF }

func readEncrypted(r *reader, t PayloadType) Payload {
	offset := r.offset()
	first, _, body := readPayloadHeader(r)
	defer func() { r.join(body) }()
	if t == PayloadSK {
		return SK{First: first, Offset: offset, Body: body.rest()}
	}
	at := body.offset()
	p := SKF{First: first, Offset: offset,
		Fragment: body.uint16("fragment number"), Total: body.uint16("total fragments")}
	if body.err == nil && (p.Fragment == 0 || p.Fragment > p.Total) {
		body.failAt(at, "fragment %d of %d: %w", p.Fragment, p.Total, ErrValue)
	}
	p.Body = body.rest()
	return p
}

func (p SK) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Body...), nil }

func (p SKF) appendBody(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint16(dst, p.Fragment)
	dst = binary.BigEndian.AppendUint16(dst, p.Total)
	return append(dst, p.Body...), nil
}

// Protector encrypts and authenticates for one IKE SA; each side seals with its
// own keys and opens with the peer's.
type Protector interface {
	// BlockSize is what the plaintext's length must be a multiple of.
	BlockSize() int
	// Overhead is how many octets a sealed body is longer than its plaintext.
	Overhead() int
	// Seal appends to dst the initialization vector, the ciphertext and the
	// checksum. The checksum also covers aad. dst may end with aad.
	Seal(dst, aad, plaintext []byte) ([]byte, error)
	// Open checks what Seal wrote and returns the plaintext in new memory.
	Open(aad, body []byte) ([]byte, error)
}

// ErrUnauthenticated means that nothing in a message can be trusted, not even
// that the peer sent it: it is dropped without an answer and changes nothing.
var ErrUnauthenticated = errors.New("message does not authenticate")

// AppendEncrypted writes to dst a message whose payloads are all inside one SK payload.
func AppendEncrypted(dst []byte, h Header, payloads []Payload, p Protector) ([]byte, error) {
	plaintext, err := appendChain(nil, payloads)
	if err != nil {
		return nil, fmt.Errorf("append encrypted IKE message: %w", err)
	}
	plaintext = appendPadding(plaintext, p.BlockSize())
	body := payloadHeaderSize + len(plaintext) + p.Overhead()
	if body > 0xffff {
		return nil, fmt.Errorf("append encrypted IKE message: payload of %d octets: %w", body, ErrLength)
	}
	start := len(dst)
	dst = appendHeader(dst, h, PayloadSK)
	patchLength(dst[start:], HeaderSize+body)
	dst = append(dst, byte(firstType(payloads)), 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(body))
	if dst, err = p.Seal(dst, dst[start:], plaintext); err != nil {
		return nil, fmt.Errorf("seal IKE message: %w", err)
	}
	return dst, nil
}

// appendPadding fills up to the block size. The last octet is the Pad Length,
// which does not count itself; the others may be anything (RFC 7296 §3.14).
func appendPadding(plaintext []byte, block int) []byte {
	pad := (block - (len(plaintext)+1)%block) % block
	plaintext = append(plaintext, make([]byte, pad)...)
	return append(plaintext, byte(pad))
}

// OpenEncrypted checks, decrypts and parses a message with an SK payload. An
// error that is ErrUnauthenticated asks for silence; any other is about content
// that the peer did send, and is answered inside the IKE SA. Then Header is valid.
// Payloads in front of the SK payload are authenticated but not returned.
func OpenEncrypted(msg []byte, p Protector) (Message, error) {
	m, err := ParseMessage(msg)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	sk, ok := m.Encrypted()
	if !ok {
		return Message{}, fmt.Errorf("%w: no SK payload", ErrUnauthenticated)
	}
	envelope := msg[:len(msg)-len(sk.Body)]
	plaintext, err := p.Open(envelope, sk.Body)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	plaintext, err = trimPadding(plaintext)
	if err != nil {
		return Message{Header: m.Header}, err
	}
	payloads, err := ParsePayloads(sk.First, plaintext)
	if err != nil {
		return Message{Header: m.Header}, err
	}
	return Message{m.Header, payloads, envelope, plaintext}, nil
}

func trimPadding(plaintext []byte) ([]byte, error) {
	if len(plaintext) == 0 {
		return nil, &Error{PayloadSK, 0, fmt.Errorf("pad length: %w", ErrTruncated)}
	}
	last := len(plaintext) - 1
	n := int(plaintext[last])
	if n > last {
		return nil, &Error{PayloadSK, last, fmt.Errorf("pad length %d: %w", n, ErrLength)}
	}
	return plaintext[:last-n], nil
}
