package wire

import (
	"encoding/binary"
	"fmt"
)

// SA is the Security Association payload: proposals in the sender's order of
// preference (RFC 7296 §3.3).
type SA struct{ Proposals []Proposal }

// Proposal is one proposal substructure (RFC 7296 §3.3.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Last Substruc |   RESERVED    |         Proposal Length       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                        SPI (variable)                         ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                        <Transforms>                           ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Proposal struct {
	Number     uint8
	Protocol   Protocol
	SPI        []byte // empty in IKE_SA_INIT, 8 octets when an IKE SA is rekeyed, 4 for ESP and AH
	Transforms []Transform
}

// Transform is one transform substructure (RFC 7296 §3.3.2).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Last Substruc |   RESERVED    |        Transform Length       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|Transform Type |   RESERVED    |          Transform ID         |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                      Transform Attributes                     ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Transform struct {
	Type       TransformType
	ID         uint16
	Attributes []Attribute
}

// AttributeKeyLength is the only attribute of IKEv2 transforms: the key length
// in bits, always in the short form (RFC 7296 §3.3.5).
const AttributeKeyLength uint16 = 14

// Attribute is one transform attribute (RFC 7296 §3.3.5). In the short form,
// whose AF bit is set, the two octets of Value stand where else its length does.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|A|       Attribute Type        |    AF=0  Attribute Length     |
//	|F|                             |    AF=1  Attribute Value      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                   AF=0  Attribute Value                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Attribute struct {
	Type  uint16
	Short bool
	Value []byte
}

const (
	attributeShort = 0x8000
	moreProposals  = 2
	moreTransforms = 3
)

// KeyLength is the attribute for a key of that many bits.
func KeyLength(bits uint16) Attribute {
	return Attribute{AttributeKeyLength, true, binary.BigEndian.AppendUint16(nil, bits)}
}

func (SA) PayloadType() PayloadType { return PayloadSA }

func readSA(r *reader) Payload {
	var sa SA
	transforms := 0
	for more := true; more && r.err == nil; {
		if len(sa.Proposals) == MaxProposals {
			r.fail("more than %d proposals: %w", MaxProposals, ErrTooMany)
		}
		var p Proposal
		p, more = readProposal(r)
		sa.Proposals = append(sa.Proposals, p)
		if transforms += len(p.Transforms); transforms > MaxTransforms {
			r.fail("more than %d transforms: %w", MaxTransforms, ErrTooMany)
		}
	}
	return sa
}

func readProposal(r *reader) (Proposal, bool) {
	more, s := readSubstructure(r, "proposal", moreProposals)
	p := Proposal{Number: s.uint8("proposal number"), Protocol: Protocol(s.uint8("protocol"))}
	size := int(s.uint8("SPI size"))
	count := int(s.uint8("number of transforms"))
	p.SPI = s.bytes(size, "SPI")
	for i := range count {
		t, moreT := readTransform(&s)
		p.Transforms = append(p.Transforms, t)
		if s.err == nil && moreT != (i < count-1) {
			s.fail("transform %d of %d says otherwise: %w", i+1, count, ErrChain)
		}
		if s.err != nil {
			break
		}
	}
	r.join(s)
	return p, more
}

func readTransform(r *reader) (Transform, bool) {
	more, s := readSubstructure(r, "transform", moreTransforms)
	t := Transform{Type: TransformType(s.uint8("transform type"))}
	s.uint8("reserved")
	t.ID = s.uint16("transform ID")
	for s.more() {
		if len(t.Attributes) == MaxAttributes {
			s.fail("more than %d attributes: %w", MaxAttributes, ErrTooMany)
		}
		t.Attributes = append(t.Attributes, readAttribute(&s))
	}
	r.join(s)
	return t, more
}

func readAttribute(r *reader) Attribute {
	t := r.uint16("attribute type")
	a := Attribute{Type: t &^ attributeShort, Short: t&attributeShort != 0}
	if a.Short {
		a.Value = r.bytes(2, "attribute value")
		return a
	}
	n := int(r.uint16("attribute length"))
	a.Value = r.bytes(n, "attribute value")
	return a
}

// readSubstructure reads the first word of a proposal or transform and cuts off
// the rest of it. The first octet is more when another one follows, else 0.
func readSubstructure(r *reader, name string, more uint8) (bool, reader) {
	at := r.offset()
	last := r.uint8(name)
	if r.err == nil && last != 0 && last != more {
		r.failAt(at, "%s starts with %d: %w", name, last, ErrChain)
	}
	r.uint8(name + " reserved")
	at = r.offset()
	length := int(r.uint16(name + " length"))
	if r.err == nil && length < payloadHeaderSize {
		r.failAt(at, "%s length %d: %w", name, length, ErrLength)
	}
	return last == more, r.sub(length-payloadHeaderSize, name)
}

func (p SA) appendBody(dst []byte) ([]byte, error) {
	if len(p.Proposals) == 0 || len(p.Proposals) > MaxProposals {
		return nil, fmt.Errorf("%d proposals: %w", len(p.Proposals), ErrTooMany)
	}
	for i, proposal := range p.Proposals {
		var err error
		if dst, err = appendProposal(dst, proposal, i < len(p.Proposals)-1); err != nil {
			return nil, fmt.Errorf("proposal %d: %w", proposal.Number, err)
		}
	}
	return dst, nil
}

func appendProposal(dst []byte, p Proposal, more bool) ([]byte, error) {
	if len(p.SPI) > 0xff || len(p.Transforms) > 0xff {
		return nil, ErrTooMany
	}
	start := len(dst)
	dst = append(dst, lastOr(more, moreProposals), 0, 0, 0,
		p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	dst = append(dst, p.SPI...)
	for i, t := range p.Transforms {
		var err error
		if dst, err = appendTransform(dst, t, i < len(p.Transforms)-1); err != nil {
			return nil, err
		}
	}
	return dst, patch16(dst, start)
}

func appendTransform(dst []byte, t Transform, more bool) ([]byte, error) {
	start := len(dst)
	dst = append(dst, lastOr(more, moreTransforms), 0, 0, 0, byte(t.Type), 0)
	dst = binary.BigEndian.AppendUint16(dst, t.ID)
	for _, a := range t.Attributes {
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
	return dst, patch16(dst, start)
}

func lastOr(more bool, mark byte) byte {
	if more {
		return mark
	}
	return 0
}
