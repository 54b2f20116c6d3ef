package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Bounds on a message in fragments. Memory is held for authenticated fragments
// only, but before IKE_AUTH anybody can authenticate.
const (
	MaxFragments   = 64
	MaxReassembled = 0xffff // octets of plaintext
)

// fragmentHeaderSize is Fragment Number and Total Fragments.
const fragmentHeaderSize = 4

// AppendFragments makes the messages that carry payloads, each of at most size
// octets: one with an SK payload if that is enough, else several with SKF
// payloads, which are to be sent in order (RFC 7383 §2.5). size is what is left
// of the datagram after IP and UDP header and the non-ESP marker.
func AppendFragments(h Header, payloads []Payload, p Protector, size int) ([][]byte, error) {
	plaintext, err := appendChain(nil, payloads)
	if err != nil {
		return nil, fmt.Errorf("append IKE fragments: %w", err)
	}
	if HeaderSize+payloadHeaderSize+p.Overhead()+padded(len(plaintext), p.BlockSize()) <= size {
		message, err := AppendEncrypted(nil, h, payloads, p)
		return [][]byte{message}, err
	}
	room := fragmentRoom(p, size)
	if room < 1 {
		return nil, fmt.Errorf("append IKE fragments: no room in %d octets: %w", size, ErrLength)
	}
	total := (len(plaintext) + room - 1) / room
	if total > MaxFragments || len(plaintext) > MaxReassembled {
		return nil, fmt.Errorf("append IKE fragments: %d octets in %d fragments: %w", len(plaintext), total, ErrTooMany)
	}
	var messages [][]byte
	first := firstType(payloads)
	for chunk := range slices.Chunk(plaintext, room) {
		f := SKF{First: first, Fragment: uint16(len(messages) + 1), Total: uint16(total), Body: chunk}
		message, err := sealFragment(h, f, p)
		if err != nil {
			return nil, err
		}
		messages = append(messages, message)
		first = PayloadNone // RFC 7383 §2.5: Next Payload counts in the first fragment only
	}
	return messages, nil
}

// padded is the length of n octets with padding and Pad Length.
func padded(n, block int) int { return (n + block) / block * block }

// fragmentRoom is how many octets of plaintext fit in a fragment.
func fragmentRoom(p Protector, size int) int {
	room := size - HeaderSize - payloadHeaderSize - fragmentHeaderSize - p.Overhead()
	return room/p.BlockSize()*p.BlockSize() - 1 // the last octet is the Pad Length
}

// sealFragment makes a message of f, whose Body is still plaintext. The checksum
// covers the two numbers as well.
func sealFragment(h Header, f SKF, p Protector) ([]byte, error) {
	plaintext := appendPadding(slices.Clone(f.Body), p.BlockSize())
	body := payloadHeaderSize + fragmentHeaderSize + len(plaintext) + p.Overhead()
	if body > 0xffff {
		return nil, fmt.Errorf("append IKE fragment: payload of %d octets: %w", body, ErrLength)
	}
	b := appendHeader(nil, h, PayloadSKF)
	patchLength(b, HeaderSize+body)
	b = append(b, byte(f.First), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(body))
	b = binary.BigEndian.AppendUint16(b, f.Fragment)
	b = binary.BigEndian.AppendUint16(b, f.Total)
	b, err := p.Seal(b, b, plaintext)
	if err != nil {
		return nil, fmt.Errorf("seal IKE fragment: %w", err)
	}
	return b, nil
}

// Causes why a fragment is of no use. Neither is an error of the peer's: the
// network repeats and delays, and a peer that retransmits may have found
// another path MTU.
var (
	ErrRepeated = errors.New("fragment is already there")
	ErrOutdated = errors.New("fragment of an earlier fragmentation")
)

// Reassembly puts the fragments of one message together (RFC 7383 §2.6). It
// holds one message at a time, so an IKE SA has one for requests and one for
// responses. The zero value is ready.
//
// Which Message ID is expected is for the caller to check before Add, so that an
// earlier message, or a later one, never comes this far.
type Reassembly struct {
	header    Header
	first     PayloadType
	parts     [][]byte // by fragment number less one, nil where missing
	have      int
	octets    int
	completed bool // with header's message: its fragments are repetitions now
}

// Add opens one message with an SKF payload. With the last missing fragment it
// returns the message, as OpenEncrypted does, and true. ErrUnauthenticated asks
// for silence, as do ErrRepeated and ErrOutdated; ErrTooMany is beyond the
// bounds. Any other error is about the content of a complete message, which
// then comes with its Header.
func (a *Reassembly) Add(msg []byte, p Protector) (Message, bool, error) {
	m, err := ParseMessage(msg)
	if err != nil {
		return Message{}, false, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	f, ok := Find[SKF](m.Payloads)
	if !ok {
		return Message{}, false, fmt.Errorf("%w: no SKF payload", ErrUnauthenticated)
	}
	if err := a.useful(m.Header, f); err != nil {
		return Message{}, false, err
	}
	plaintext, err := p.Open(msg[:len(msg)-len(f.Body)], f.Body)
	if err != nil {
		return Message{}, false, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	if plaintext, err = trimPadding(plaintext); err != nil {
		return Message{}, false, fmt.Errorf("fragment %d of %d: %w", f.Fragment, f.Total, err)
	}
	if err := a.keep(m.Header, f, plaintext); err != nil {
		return Message{}, false, err
	}
	if a.have < len(a.parts) {
		return Message{}, false, nil
	}
	whole, err := a.finish()
	return whole, true, err
}

// sameMessage says whether h is of the message that is being put together.
func (a *Reassembly) sameMessage(h Header) bool {
	return a.header.InitiatorSPI == h.InitiatorSPI && a.header.ResponderSPI == h.ResponderSPI &&
		a.header.Exchange == h.Exchange && a.header.Flags == h.Flags && a.header.MessageID == h.MessageID &&
		(a.completed || a.parts != nil)
}

// useful refuses, before anything is decrypted, what would not be kept
// (RFC 7383 §2.6: the checks in front of the ICV's).
func (a *Reassembly) useful(h Header, f SKF) error {
	switch {
	case f.Total > MaxFragments:
		return fmt.Errorf("fragment %d of %d: %w", f.Fragment, f.Total, ErrTooMany)
	case !a.sameMessage(h) || !a.completed && int(f.Total) > len(a.parts):
		return nil
	case a.completed || int(f.Total) == len(a.parts) && a.parts[f.Fragment-1] != nil:
		return fmt.Errorf("fragment %d of %d: %w", f.Fragment, f.Total, ErrRepeated)
	case int(f.Total) < len(a.parts):
		return fmt.Errorf("fragment %d of %d, not %d: %w", f.Fragment, f.Total, len(a.parts), ErrOutdated)
	}
	return nil
}

// keep stores an authenticated fragment. One of another message replaces all
// that was there, and so does one of a larger Total: its sender has cut the same
// message anew for a smaller path MTU (RFC 7383 §2.5.1, §2.6).
func (a *Reassembly) keep(h Header, f SKF, plaintext []byte) error {
	if !a.sameMessage(h) || int(f.Total) != len(a.parts) {
		*a = Reassembly{header: h, parts: make([][]byte, f.Total)}
	}
	if a.octets+len(plaintext) > MaxReassembled {
		*a = Reassembly{}
		return fmt.Errorf("reassembled message of more than %d octets: %w", MaxReassembled, ErrTooMany)
	}
	if f.Fragment == 1 {
		a.first = f.First
	}
	if plaintext == nil {
		plaintext = []byte{}
	}
	a.parts[f.Fragment-1] = plaintext
	a.have++
	a.octets += len(plaintext)
	return nil
}

// finish parses the whole and lets go of the parts. Its Envelope is that of the
// message had it not been cut (RFC 9242 §3.3.2).
func (a *Reassembly) finish() (Message, error) {
	plaintext := slices.Concat(a.parts...)
	header, first := a.header, a.first
	*a = Reassembly{header: header, completed: true}
	envelope, err := AppendMessage(nil, header, []Payload{SK{First: first}})
	if err != nil {
		return Message{}, err
	}
	payloads, err := ParsePayloads(first, plaintext)
	if err != nil {
		return Message{Header: header}, err
	}
	return Message{header, payloads, envelope, plaintext}, nil
}
