package wire

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Causes of an [Error].
var (
	ErrTruncated = errors.New("truncated")
	ErrTrailing  = errors.New("trailing octets")
	ErrLength    = errors.New("impossible length")
	ErrTooMany   = errors.New("too many")
	ErrVersion   = errors.New("not IKE version 2")
	ErrVersion1  = errors.New("not IKE version 1")
	ErrValue     = errors.New("impossible value")
	ErrChain     = errors.New("broken payload chain")
)

// Error says where a message is wrong.
type Error struct {
	Payload PayloadType // PayloadNone in the header
	Offset  int         // octets from the start of what was parsed
	Err     error
}

func (e *Error) Error() string {
	where := "header"
	if e.Payload != PayloadNone {
		where = "payload " + e.Payload.String()
	}
	return fmt.Sprintf("parse IKE %s at octet %d: %v", where, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// UnsupportedCriticalError is the cause when a payload is unknown and marked
// critical: the message is refused with UNSUPPORTED_CRITICAL_PAYLOAD and the
// type as its one octet of data (RFC 7296 §2.5).
type UnsupportedCriticalError struct{ Type PayloadType }

func (e *UnsupportedCriticalError) Error() string {
	return fmt.Sprintf("unknown critical payload type %d", uint8(e.Type))
}

// reader walks over input and remembers the first thing wrong with it; after
// that every read yields zero, so parsers read straight through.
type reader struct {
	s       cryptobyte.String
	end     int // offset of the octet after s
	payload PayloadType
	err     error
}

func newReader(b []byte) reader { return reader{s: b, end: len(b)} }

func (r *reader) offset() int { return r.end - len(r.s) }

func (r *reader) more() bool { return r.err == nil && !r.s.Empty() }

func (r *reader) fail(format string, args ...any) {
	r.failAt(r.offset(), format, args...)
}

func (r *reader) failAt(offset int, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{r.payload, offset, fmt.Errorf(format, args...)}
	}
}

func (r *reader) check(ok bool, field string) bool {
	if !ok {
		r.fail("%s: %w", field, ErrTruncated)
	}
	return r.err == nil
}

func (r *reader) uint8(field string) (v uint8) {
	if r.err == nil {
		r.check(r.s.ReadUint8(&v), field)
	}
	return v
}

func (r *reader) uint16(field string) (v uint16) {
	if r.err == nil {
		r.check(r.s.ReadUint16(&v), field)
	}
	return v
}

func (r *reader) uint32(field string) (v uint32) {
	if r.err == nil {
		r.check(r.s.ReadUint32(&v), field)
	}
	return v
}

func (r *reader) uint64(field string) (v uint64) {
	if r.err == nil {
		r.check(r.s.ReadUint64(&v), field)
	}
	return v
}

func (r *reader) bytes(n int, field string) (v []byte) {
	if r.err == nil {
		r.check(r.s.ReadBytes(&v, n), field)
	}
	return v
}

func (r *reader) rest() []byte { return r.bytes(len(r.s), "rest") }

// sub cuts off the next n octets, to be read on their own.
func (r *reader) sub(n int, field string) reader {
	b := r.bytes(n, field)
	return reader{s: b, end: r.offset(), payload: r.payload, err: r.err}
}

// join takes over what went wrong in a reader that sub gave, which must have
// been read to its end.
func (r *reader) join(s reader) {
	if s.more() {
		s.fail("%d octets: %w", len(s.s), ErrTrailing)
	}
	if r.err == nil {
		r.err = s.err
	}
}
