package wire

import (
	"encoding/binary"
	"fmt"
)

// V1Notify is the Notification payload (RFC 2408 §3.14).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|              Domain of Interpretation  (DOI)                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Protocol-ID  |   SPI Size    |      Notify Message Type      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                Security Parameter Index (SPI)                 ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                       Notification Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1Notify struct {
	DOI      uint32
	Protocol Protocol
	SPI      []byte
	Type     V1NotifyType
	Data     []byte
}

func (V1Notify) PayloadType() PayloadType { return PayloadV1Notify }

func readV1Notify(r *reader) Payload {
	p := V1Notify{DOI: r.uint32("DOI"), Protocol: Protocol(r.uint8("protocol"))}
	size := int(r.uint8("SPI size"))
	p.Type = V1NotifyType(r.uint16("notify type"))
	p.SPI = r.bytes(size, "SPI")
	p.Data = r.rest()
	return p
}

func (p V1Notify) appendBody(dst []byte) ([]byte, error) {
	if len(p.SPI) > 0xff {
		return nil, fmt.Errorf("SPI of %d octets: %w", len(p.SPI), ErrLength)
	}
	dst = binary.BigEndian.AppendUint32(dst, p.DOI)
	dst = append(dst, byte(p.Protocol), byte(len(p.SPI)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Type))
	return append(append(dst, p.SPI...), p.Data...), nil
}

// V1Delete is the Delete payload (RFC 2408 §3.15). For ISAKMP an SPI is both
// cookies; for ESP it is what its sender receives on.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|              Domain of Interpretation  (DOI)                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Protocol-Id  |   SPI Size    |           # of SPIs           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~               Security Parameter Index(es) (SPI)              ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1Delete struct {
	DOI      uint32
	Protocol Protocol
	SPISize  uint8
	SPIs     [][]byte // each of SPISize octets
}

func (V1Delete) PayloadType() PayloadType { return PayloadV1Delete }

func readV1Delete(r *reader) Payload {
	p := V1Delete{DOI: r.uint32("DOI"), Protocol: Protocol(r.uint8("protocol"))}
	at := r.offset()
	p.SPISize = r.uint8("SPI size")
	count := int(r.uint16("number of SPIs"))
	if r.err == nil && p.SPISize == 0 {
		r.failAt(at, "SPI size 0: %w", ErrLength)
	}
	if r.err == nil && int(p.SPISize)*count > len(r.s) {
		r.fail("%d SPIs in %d octets: %w", count, len(r.s), ErrTruncated)
	}
	for range count {
		if r.err != nil {
			break
		}
		p.SPIs = append(p.SPIs, r.bytes(int(p.SPISize), "SPI"))
	}
	return p
}

func (p V1Delete) appendBody(dst []byte) ([]byte, error) {
	if len(p.SPIs) > 0xffff || p.SPISize == 0 {
		return nil, fmt.Errorf("%d SPIs of %d octets: %w", len(p.SPIs), p.SPISize, ErrTooMany)
	}
	dst = binary.BigEndian.AppendUint32(dst, p.DOI)
	dst = append(dst, byte(p.Protocol), p.SPISize)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		if len(spi) != int(p.SPISize) {
			return nil, fmt.Errorf("SPI of %d octets: %w", len(spi), ErrLength)
		}
		dst = append(dst, spi...)
	}
	return dst, nil
}

// V1VendorID is the Vendor ID payload (RFC 2408 §3.16): nothing but its data.
type V1VendorID struct{ Data []byte }

func (V1VendorID) PayloadType() PayloadType { return PayloadV1VendorID }

func (p V1VendorID) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }
