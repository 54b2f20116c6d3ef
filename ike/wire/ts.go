package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// TSType is the kind of a traffic selector (RFC 7296 §3.13.1).
type TSType uint8

const (
	TSIPv4AddrRange TSType = 7
	TSIPv6AddrRange TSType = 8
)

// TrafficSelector is one selector of a TS payload (RFC 7296 §3.13.1). A type
// other than the two above keeps in Data what follows its Selector Length, and
// fills neither ports nor addresses.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   TS Type     |IP Protocol ID |       Selector Length         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Start Port          |           End Port            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                         Starting Address                      ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                         Ending Address                        ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type TrafficSelector struct {
	Type               TSType
	Protocol           uint8  // of IP, 0 is any
	StartPort, EndPort uint16 // 0..65535 is any, 65535..0 is OPAQUE
	Start, End         netip.Addr
	Data               []byte
}

// TSi selects on the initiator's side of the traffic, TSr on the responder's.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Number of TSs |                 RESERVED                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                       <Traffic Selectors>                     ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type (
	TSi struct{ Selectors []TrafficSelector }
	TSr struct{ Selectors []TrafficSelector }
)

func (TSi) PayloadType() PayloadType { return PayloadTSi }
func (TSr) PayloadType() PayloadType { return PayloadTSr }

func (p TSi) appendBody(dst []byte) ([]byte, error) { return appendSelectors(dst, p.Selectors) }
func (p TSr) appendBody(dst []byte) ([]byte, error) { return appendSelectors(dst, p.Selectors) }

func readSelectors(r *reader) []TrafficSelector {
	at := r.offset()
	count := int(r.uint8("number of selectors"))
	r.bytes(3, "reserved")
	if r.err == nil && count == 0 {
		r.failAt(at, "no traffic selector: %w", ErrValue)
	}
	var selectors []TrafficSelector
	for range count {
		if r.err != nil {
			return nil
		}
		selectors = append(selectors, readSelector(r))
	}
	return selectors
}

func readSelector(r *reader) TrafficSelector {
	ts := TrafficSelector{Type: TSType(r.uint8("TS type")), Protocol: r.uint8("IP protocol")}
	at := r.offset()
	length := int(r.uint16("selector length"))
	if r.err == nil && length < payloadHeaderSize {
		r.failAt(at, "selector length %d: %w", length, ErrLength)
	}
	s := r.sub(length-payloadHeaderSize, "traffic selector")
	size := addressSize(ts.Type)
	if size == 0 {
		ts.Data = s.rest()
		r.join(s)
		return ts
	}
	ts.StartPort, ts.EndPort = s.uint16("start port"), s.uint16("end port")
	at = s.offset()
	ts.Start, _ = netip.AddrFromSlice(s.bytes(size, "starting address"))
	ts.End, _ = netip.AddrFromSlice(s.bytes(size, "ending address"))
	if s.err == nil && ts.End.Less(ts.Start) {
		s.failAt(at, "selector from %v to %v: %w", ts.Start, ts.End, ErrValue)
	}
	r.join(s)
	return ts
}

// addressSize is the length of an address of type t, 0 for an unknown type.
func addressSize(t TSType) int {
	switch t {
	case TSIPv4AddrRange:
		return 4
	case TSIPv6AddrRange:
		return 16
	}
	return 0
}

func appendSelectors(dst []byte, selectors []TrafficSelector) ([]byte, error) {
	if len(selectors) == 0 || len(selectors) > MaxSelectors {
		return nil, fmt.Errorf("%d traffic selectors: %w", len(selectors), ErrTooMany)
	}
	dst = append(dst, byte(len(selectors)), 0, 0, 0)
	for _, ts := range selectors {
		start := len(dst)
		dst = append(dst, byte(ts.Type), ts.Protocol, 0, 0)
		if size := addressSize(ts.Type); size == 0 {
			dst = append(dst, ts.Data...)
		} else if ts.Start.BitLen() != 8*size || ts.End.BitLen() != 8*size || ts.End.Less(ts.Start) {
			return nil, fmt.Errorf("selector from %v to %v: %w", ts.Start, ts.End, ErrValue)
		} else {
			dst = binary.BigEndian.AppendUint16(dst, ts.StartPort)
			dst = binary.BigEndian.AppendUint16(dst, ts.EndPort)
			dst = append(append(dst, ts.Start.AsSlice()...), ts.End.AsSlice()...)
		}
		if err := patch16(dst, start); err != nil {
			return nil, err
		}
	}
	return dst, nil
}
