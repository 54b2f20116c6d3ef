package wire

import (
	"encoding/binary"
	"fmt"
)

// V1SA is the Security Association payload of the IPsec DOI (RFC 2407 §4.6.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|              Domain of Interpretation  (DOI)                  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                           Situation                           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                          Proposals                            ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1SA struct{ Proposals []V1Proposal }

// V1Proposal is a proposal (RFC 2408 §3.5). Those of one number are wanted
// together; the transforms of one are alternatives.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Next Payload  |   RESERVED    |         Payload Length        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Proposal #   |  Protocol-Id  |    SPI Size   |# of Transforms|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        SPI (variable)                         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1Proposal struct {
	Number     uint8
	Protocol   Protocol // 1 ISAKMP, 2 AH, 3 ESP: the numbers of IKEv2
	SPI        []byte
	Transforms []V1Transform
}

// V1Transform is one way to fulfil a proposal (RFC 2408 §3.6).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Next Payload  |   RESERVED    |         Payload Length        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  Transform #  |  Transform-Id |           RESERVED2           |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                        SA Attributes                          ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1Transform struct {
	Number     uint8
	ID         uint8
	Attributes []Attribute // basic ones are Short (RFC 2408 §3.3)
}

// V1Basic is an attribute of two octets.
func V1Basic(t, value uint16) Attribute {
	return Attribute{t, true, binary.BigEndian.AppendUint16(nil, value)}
}

// V1Number is an attribute in the shortest form that holds the value.
func V1Number(t uint16, value uint32) Attribute {
	if value <= 0xffff {
		return V1Basic(t, uint16(value))
	}
	return Attribute{Type: t, Value: binary.BigEndian.AppendUint32(nil, value)}
}

// V1Value is the number that an attribute holds, false when it is empty or has
// more than 64 bits.
func (a Attribute) V1Value() (uint64, bool) {
	if len(a.Value) == 0 || len(a.Value) > 8 {
		return 0, false
	}
	var v uint64
	for _, b := range a.Value {
		v = v<<8 | uint64(b)
	}
	return v, true
}

func (V1SA) PayloadType() PayloadType { return PayloadV1SA }

func readV1SA(r *reader) Payload {
	at := r.offset()
	if doi := r.uint32("DOI"); r.err == nil && doi != DOIIPsec {
		r.failAt(at, "DOI %d: %w", doi, ErrValue)
	}
	at = r.offset()
	if s := r.uint32("situation"); r.err == nil && s != SituationIdentityOnly {
		r.failAt(at, "situation %d: %w", s, ErrValue)
	}
	var sa V1SA
	transforms := 0
	for more := true; more && r.err == nil; {
		if len(sa.Proposals) == MaxProposals {
			r.fail("more than %d proposals: %w", MaxProposals, ErrTooMany)
		}
		var p V1Proposal
		p, more = readV1Proposal(r)
		sa.Proposals = append(sa.Proposals, p)
		if transforms += len(p.Transforms); transforms > MaxTransforms {
			r.fail("more than %d transforms: %w", MaxTransforms, ErrTooMany)
		}
	}
	return sa
}

func readV1Proposal(r *reader) (V1Proposal, bool) {
	more, s := readSubstructure(r, "proposal", uint8(PayloadV1Proposal))
	p := V1Proposal{Number: s.uint8("proposal number"), Protocol: Protocol(s.uint8("protocol"))}
	size := int(s.uint8("SPI size"))
	count := int(s.uint8("number of transforms"))
	p.SPI = s.bytes(size, "SPI")
	for i := range count {
		t, another := readV1Transform(&s)
		p.Transforms = append(p.Transforms, t)
		if s.err == nil && another != (i < count-1) {
			s.fail("transform %d of %d says otherwise: %w", i+1, count, ErrChain)
		}
		if s.err != nil {
			break
		}
	}
	r.join(s)
	return p, more
}

func readV1Transform(r *reader) (V1Transform, bool) {
	more, s := readSubstructure(r, "transform", uint8(PayloadV1Transform))
	t := V1Transform{Number: s.uint8("transform number"), ID: s.uint8("transform ID")}
	s.uint16("reserved")
	t.Attributes = readV1AttributeList(&s)
	r.join(s)
	return t, more
}

func readV1AttributeList(r *reader) (list []Attribute) {
	for r.more() {
		if len(list) == MaxAttributes {
			r.fail("more than %d attributes: %w", MaxAttributes, ErrTooMany)
		}
		list = append(list, readAttribute(r))
	}
	return list
}

func (p V1SA) appendBody(dst []byte) ([]byte, error) {
	if len(p.Proposals) == 0 || len(p.Proposals) > MaxProposals {
		return nil, fmt.Errorf("%d proposals: %w", len(p.Proposals), ErrTooMany)
	}
	dst = binary.BigEndian.AppendUint32(dst, DOIIPsec)
	dst = binary.BigEndian.AppendUint32(dst, SituationIdentityOnly)
	for i, proposal := range p.Proposals {
		var err error
		if dst, err = appendV1Proposal(dst, proposal, i < len(p.Proposals)-1); err != nil {
			return nil, fmt.Errorf("proposal %d: %w", proposal.Number, err)
		}
	}
	return dst, nil
}

func appendV1Proposal(dst []byte, p V1Proposal, more bool) ([]byte, error) {
	if len(p.SPI) > 0xff || len(p.Transforms) > 0xff {
		return nil, ErrTooMany
	}
	start := len(dst)
	dst = append(dst, lastOr(more, byte(PayloadV1Proposal)), 0, 0, 0,
		p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	dst = append(dst, p.SPI...)
	for i, t := range p.Transforms {
		at := len(dst)
		dst = append(dst, lastOr(i < len(p.Transforms)-1, byte(PayloadV1Transform)), 0, 0, 0, t.Number, t.ID, 0, 0)
		var err error
		if dst, err = appendV1AttributeList(dst, t.Attributes); err != nil {
			return nil, err
		}
		if err := patch16(dst, at); err != nil {
			return nil, err
		}
	}
	return dst, patch16(dst, start)
}

func appendV1AttributeList(dst []byte, list []Attribute) ([]byte, error) {
	for _, a := range list {
		switch {
		case a.Type >= attributeShort || len(a.Value) > 0xffff || a.Short && len(a.Value) != 2:
			return nil, fmt.Errorf("attribute %d of %d octets: %w", a.Type, len(a.Value), ErrValue)
		case a.Short:
			dst = binary.BigEndian.AppendUint16(dst, a.Type|attributeShort)
		default:
			dst = binary.BigEndian.AppendUint16(dst, a.Type)
			dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Value)))
		}
		dst = append(dst, a.Value...)
	}
	return dst, nil
}
