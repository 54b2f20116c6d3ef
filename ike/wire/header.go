package wire

import (
	"encoding/binary"
	"fmt"
)

// SPI is an IKE SPI (RFC 7296 §2.6). Zero is none.
type SPI uint64

func (s SPI) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// Version is the major version in the upper and the minor one in the lower four bits.
type Version uint8

const Version2 Version = 0x20

func (v Version) Major() int     { return int(v >> 4) }
func (v Version) String() string { return fmt.Sprintf("%d.%d", v>>4, v&0xf) }

// Flags of the IKEv2 header (RFC 7296 §3.1).
type Flags uint8

const (
	FlagInitiator Flags = 1 << 3 // sent by the original initiator of the IKE SA
	FlagVersion   Flags = 1 << 4 // the sender can speak a higher major version
	FlagResponse  Flags = 1 << 5 // an answer to the request with the same Message ID
)

// HeaderSize is the length of the fixed header in octets.
const HeaderSize = 28

// Header is the fixed header of every IKE message (RFC 7296 §3.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IKE SA Initiator's SPI                  |
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                       IKE SA Responder's SPI                  |
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                          Message ID                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                            Length                             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Header struct {
	InitiatorSPI SPI
	ResponderSPI SPI
	NextPayload  PayloadType // set by the Append functions
	Version      Version     // 0 is written as Version2
	Exchange     ExchangeType
	Flags        Flags
	MessageID    uint32
	Length       uint32 // of the whole message in octets; set by the Append functions
}

// Initiator says that the original initiator of the IKE SA sent the message.
func (h Header) Initiator() bool { return h.Flags&FlagInitiator != 0 }

// Response says that the message answers a request.
func (h Header) Response() bool { return h.Flags&FlagResponse != 0 }

// ParseHeader reads the fixed header of a message of any IKE version. The
// Length it declares must be that of b: a datagram carries one message (RFC 7296 §2).
func ParseHeader(b []byte) (Header, error) {
	r := newReader(b)
	h := readHeader(&r)
	if r.err != nil {
		return Header{}, r.err
	}
	return h, nil
}

func readHeader(r *reader) Header {
	size := len(r.s)
	h := Header{
		InitiatorSPI: SPI(r.uint64("initiator SPI")),
		ResponderSPI: SPI(r.uint64("responder SPI")),
		NextPayload:  PayloadType(r.uint8("next payload")),
		Version:      Version(r.uint8("version")),
		Exchange:     ExchangeType(r.uint8("exchange type")),
		Flags:        Flags(r.uint8("flags")),
		MessageID:    r.uint32("message ID"),
	}
	at := r.offset()
	h.Length = r.uint32("length")
	switch {
	case r.err != nil:
	case h.Length < HeaderSize:
		r.failAt(at, "length %d: %w", h.Length, ErrLength)
	case int64(h.Length) > int64(size):
		r.failAt(at, "length %d of %d octets: %w", h.Length, size, ErrTruncated)
	case int64(h.Length) < int64(size):
		r.failAt(int(h.Length), "%d octets after the message: %w", size-int(h.Length), ErrTrailing)
	}
	return h
}

// appendHeader writes h with next as its first payload and a Length of zero,
// which patchLength corrects.
func appendHeader(dst []byte, h Header, next PayloadType) []byte {
	if h.Version == 0 {
		h.Version = Version2
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.InitiatorSPI))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.ResponderSPI))
	dst = append(dst, byte(next), byte(h.Version), byte(h.Exchange), byte(h.Flags))
	dst = binary.BigEndian.AppendUint32(dst, h.MessageID)
	return binary.BigEndian.AppendUint32(dst, 0)
}

// patchLength writes the length of a message, the last field of its header.
func patchLength(message []byte, length int) {
	binary.BigEndian.PutUint32(message[HeaderSize-4:HeaderSize], uint32(length))
}
