package wire

import "encoding/binary"

// Bounds on what a message may hold, so that a datagram of 64 KiB cannot make
// its reader allocate many times its size. Real messages stay far below.
const (
	MaxPayloads   = 128 // in one chain
	MaxProposals  = 64  // in one SA payload
	MaxTransforms = 512 // in one SA payload
	MaxAttributes = 256 // in one transform or CP payload
	MaxSelectors  = 255 // in one TS payload, as its count is one octet
)

// Payload is one of the payload types of this package, by value.
type Payload interface {
	PayloadType() PayloadType
	appendBody(dst []byte) ([]byte, error)
}

// flagCritical is the C bit of the generic payload header (RFC 7296 §3.2).
const flagCritical = 0x80

// payloadHeaderSize is the length of the generic payload header.
const payloadHeaderSize = 4

// Unknown is a payload of a type that this package does not know. A critical
// one is an error of parsing (RFC 7296 §2.5), so Critical is set only by hand.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Next Payload  |C|  RESERVED   |         Payload Length        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                             Data                              ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Unknown struct {
	Type     PayloadType
	Critical bool
	Data     []byte
}

func (p Unknown) PayloadType() PayloadType { return p.Type }

func (p Unknown) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }

// Find returns the first payload of Go type T.
func Find[T Payload](payloads []Payload) (T, bool) {
	for _, p := range payloads {
		if t, ok := p.(T); ok {
			return t, true
		}
	}
	var none T
	return none, false
}

// FindNotify returns the first notification of type t.
func FindNotify(payloads []Payload, t NotifyType) (Notify, bool) {
	for _, p := range payloads {
		if n, ok := p.(Notify); ok && n.Type == t {
			return n, true
		}
	}
	return Notify{}, false
}

// ParsePayloads reads a chain of payloads that is not a message by itself: what
// an Encrypted payload held. Offsets in errors count from the start of b.
func ParsePayloads(first PayloadType, b []byte) ([]Payload, error) {
	r := newReader(b)
	payloads := readChain(&r, first, false)
	if r.err != nil {
		return nil, r.err
	}
	return payloads, nil
}

// readChain reads payloads until one says that none follows. An SK or SKF
// payload is always the last (RFC 7296 §3.14), and only a message may hold one.
func readChain(r *reader, next PayloadType, message bool) []Payload {
	var payloads []Payload
	for next != PayloadNone && r.err == nil {
		if len(payloads) == MaxPayloads {
			r.fail("more than %d payloads: %w", MaxPayloads, ErrTooMany)
			return nil
		}
		r.payload = next
		if next == PayloadSK || next == PayloadSKF {
			if !message {
				r.fail("encrypted payload inside another: %w", ErrChain)
				return nil
			}
			payloads = append(payloads, readEncrypted(r, next))
			next = PayloadNone
			continue
		}
		var p Payload
		p, next = readPayload(r, next)
		payloads = append(payloads, p)
	}
	if r.more() {
		r.fail("%d octets after the last payload: %w", len(r.s), ErrTrailing)
	}
	return payloads
}

// readPayload reads one payload of type t and the type of the next one.
func readPayload(r *reader, t PayloadType) (Payload, PayloadType) {
	start := r.offset()
	next, flags, body := readPayloadHeader(r)
	if r.err != nil {
		return nil, PayloadNone
	}
	parse := parserOf(t)
	if parse == nil {
		if flags&flagCritical != 0 {
			r.failAt(start, "%w", &UnsupportedCriticalError{t})
		}
		return Unknown{Type: t, Data: body.rest()}, next
	}
	// The critical bit of a payload that is understood is ignored (RFC 7296 §2.5).
	p := parse(&body)
	r.join(body)
	return p, next
}

func readPayloadHeader(r *reader) (next PayloadType, flags uint8, body reader) {
	next = PayloadType(r.uint8("next payload"))
	flags = r.uint8("flags")
	at := r.offset()
	length := int(r.uint16("payload length"))
	if r.err == nil && length < payloadHeaderSize {
		r.failAt(at, "payload length %d: %w", length, ErrLength)
	}
	if r.err == nil && length-payloadHeaderSize > len(r.s) {
		r.failAt(at, "payload length %d with %d octets left: %w", length, len(r.s)+payloadHeaderSize, ErrTruncated)
	}
	return next, flags, r.sub(length-payloadHeaderSize, "payload")
}

// parserOf returns the parser of the body of a payload, nil for an unknown type.
func parserOf(t PayloadType) func(*reader) Payload {
	switch t {
	case PayloadSA:
		return readSA
	case PayloadKE:
		return readKE
	case PayloadIDi:
		return func(r *reader) Payload { return IDi{readIdentity(r)} }
	case PayloadIDr:
		return func(r *reader) Payload { return IDr{readIdentity(r)} }
	case PayloadCERT:
		return readCERT
	case PayloadCERTREQ:
		return readCERTREQ
	case PayloadAUTH:
		return readAUTH
	case PayloadNonce:
		return readNonce
	case PayloadNotify:
		return readNotify
	case PayloadDelete:
		return readDelete
	case PayloadVendorID:
		return func(r *reader) Payload { return VendorID{r.rest()} }
	case PayloadTSi:
		return func(r *reader) Payload { return TSi{readSelectors(r)} }
	case PayloadTSr:
		return func(r *reader) Payload { return TSr{readSelectors(r)} }
	case PayloadCP:
		return readCP
	case PayloadEAP:
		return readEAP
	}
	return nil
}

// appendChain writes payloads and returns the type of the first one, for the
// field that precedes them.
func appendChain(dst []byte, payloads []Payload) ([]byte, error) {
	for i, p := range payloads {
		next := firstType(payloads[i+1:])
		if sk, ok := p.(encrypted); ok {
			if i != len(payloads)-1 {
				return nil, &Error{p.PayloadType(), len(dst), ErrChain}
			}
			next = sk.first()
		}
		var err error
		if dst, err = appendPayload(dst, next, p); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// firstType is the Next Payload field in front of payloads.
func firstType(payloads []Payload) PayloadType {
	if len(payloads) == 0 {
		return PayloadNone
	}
	return payloads[0].PayloadType()
}

func appendPayload(dst []byte, next PayloadType, p Payload) ([]byte, error) {
	start := len(dst)
	var flags byte
	if u, ok := p.(Unknown); ok && u.Critical {
		flags = flagCritical
	}
	dst = append(dst, byte(next), flags, 0, 0)
	dst, err := p.appendBody(dst)
	if err == nil {
		err = patch16(dst, start)
	}
	if err != nil {
		return nil, &Error{p.PayloadType(), start, err}
	}
	return dst, nil
}

// patch16 writes the length of the structure that starts at start into its
// third and fourth octet, where payloads, proposals, transforms and selectors have it.
func patch16(dst []byte, start int) error {
	n := len(dst) - start
	if n > 0xffff {
		return ErrLength
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(n))
	return nil
}
