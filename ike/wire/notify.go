package wire

import (
	"encoding/binary"
	"fmt"
)

// Notify is the Notify payload (RFC 7296 §3.10).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Protocol ID  |   SPI Size    |      Notify Message Type      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                Security Parameter Index (SPI)                 ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                       Notification Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Notify struct {
	Protocol Protocol // ProtocolNone unless SPI is present
	SPI      []byte
	Type     NotifyType
	Data     []byte
}

func (Notify) PayloadType() PayloadType { return PayloadNotify }

func readNotify(r *reader) Payload {
	p := Notify{Protocol: Protocol(r.uint8("protocol"))}
	size := int(r.uint8("SPI size"))
	p.Type = NotifyType(r.uint16("notify type"))
	p.SPI = r.bytes(size, "SPI")
	p.Data = r.rest()
	return p
}

func (p Notify) appendBody(dst []byte) ([]byte, error) {
	if len(p.SPI) > 0xff {
		return nil, fmt.Errorf("SPI of %d octets: %w", len(p.SPI), ErrLength)
	}
	dst = append(dst, byte(p.Protocol), byte(len(p.SPI)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Type))
	return append(append(dst, p.SPI...), p.Data...), nil
}

// Delete is the Delete payload (RFC 7296 §3.11). For ESP and AH it names the
// SPIs that its sender receives on; for IKE it names none: the IKE SA it is sent in goes.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Protocol ID   |   SPI Size    |          Num of SPIs          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~               Security Parameter Index(es) (SPI)              ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Delete struct {
	Protocol Protocol
	SPIs     []uint32
}

func (Delete) PayloadType() PayloadType { return PayloadDelete }

// spiSize "MUST be zero for IKE (SPI is in message header) or four for AH and ESP".
func spiSize(p Protocol) int {
	if p == ProtocolIKE {
		return 0
	}
	return 4
}

func readDelete(r *reader) Payload {
	p := Delete{Protocol: Protocol(r.uint8("protocol"))}
	at := r.offset()
	size := int(r.uint8("SPI size"))
	count := int(r.uint16("number of SPIs"))
	if r.err == nil && size != spiSize(p.Protocol) {
		r.failAt(at, "SPI size %d for %v: %w", size, p.Protocol, ErrLength)
	}
	if r.err == nil && size*count > len(r.s) {
		r.fail("%d SPIs in %d octets: %w", count, len(r.s), ErrTruncated)
	}
	for range count * size / 4 {
		p.SPIs = append(p.SPIs, r.uint32("SPI"))
		if r.err != nil {
			break
		}
	}
	return p
}

func (p Delete) appendBody(dst []byte) ([]byte, error) {
	size := spiSize(p.Protocol)
	if len(p.SPIs) > 0xffff || size == 0 && len(p.SPIs) > 0 {
		return nil, fmt.Errorf("%d SPIs for %v: %w", len(p.SPIs), p.Protocol, ErrTooMany)
	}
	dst = append(dst, byte(p.Protocol), byte(size))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		dst = binary.BigEndian.AppendUint32(dst, spi)
	}
	return dst, nil
}

// VendorID is the Vendor ID payload (RFC 7296 §3.12): nothing but its data.
type VendorID struct{ Data []byte }

func (VendorID) PayloadType() PayloadType { return PayloadVendorID }

func (p VendorID) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }
