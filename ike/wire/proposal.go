package wire

import (
	"encoding/binary"
	"fmt"
)

// ProposalOf is a proposal of either version of IKE: they differ in their transforms.
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
type ProposalOf[T any] struct {
	Number     uint8
	Protocol   Protocol
	SPI        []byte
	Transforms []T
}

// What stands in front of a substructure that another one follows. In IKEv1 these are
// the types of the payloads Proposal and Transform.
const (
	moreProposals  = 2
	moreTransforms = 3
)

// readProposals reads all of an SA payload, whose transforms read does.
func readProposals[T any](r *reader, read func(*reader) (T, bool)) (list []ProposalOf[T]) {
	transforms := 0
	for more := true; more && r.err == nil; {
		if len(list) == MaxProposals {
			r.fail("more than %d proposals: %w", MaxProposals, ErrTooMany)
		}
		var p ProposalOf[T]
		p, more = readProposal(r, read)
		list = append(list, p)
		if transforms += len(p.Transforms); transforms > MaxTransforms {
			r.fail("more than %d transforms: %w", MaxTransforms, ErrTooMany)
		}
	}
	return list
}

func readProposal[T any](r *reader, read func(*reader) (T, bool)) (ProposalOf[T], bool) {
	more, s := readSubstructure(r, "proposal", moreProposals)
	p := ProposalOf[T]{Number: s.uint8("proposal number"), Protocol: Protocol(s.uint8("protocol"))}
	size := int(s.uint8("SPI size"))
	count := int(s.uint8("number of transforms"))
	p.SPI = s.bytes(size, "SPI")
	for i := range count {
		t, another := read(&s)
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

func appendProposals[T any](dst []byte, list []ProposalOf[T], write func([]byte, T, bool) ([]byte, error)) ([]byte, error) {
	if len(list) == 0 || len(list) > MaxProposals {
		return nil, fmt.Errorf("%d proposals: %w", len(list), ErrTooMany)
	}
	for i, p := range list {
		var err error
		if dst, err = appendProposal(dst, p, i < len(list)-1, write); err != nil {
			return nil, fmt.Errorf("proposal %d: %w", p.Number, err)
		}
	}
	return dst, nil
}

func appendProposal[T any](dst []byte, p ProposalOf[T], more bool, write func([]byte, T, bool) ([]byte, error)) ([]byte, error) {
	if len(p.SPI) > 0xff || len(p.Transforms) > 0xff {
		return nil, ErrTooMany
	}
	start := len(dst)
	dst = append(dst, lastOr(more, moreProposals), 0, 0, 0,
		p.Number, byte(p.Protocol), byte(len(p.SPI)), byte(len(p.Transforms)))
	dst = append(dst, p.SPI...)
	for i, t := range p.Transforms {
		var err error
		if dst, err = write(dst, t, i < len(p.Transforms)-1); err != nil {
			return nil, err
		}
	}
	return dst, patch16(dst, start)
}

func lastOr(more bool, mark byte) byte {
	if more {
		return mark
	}
	return 0
}

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

const attributeShort = 0x8000

func readAttributes(r *reader) (list []Attribute) {
	for r.more() {
		if len(list) == MaxAttributes {
			r.fail("more than %d attributes: %w", MaxAttributes, ErrTooMany)
		}
		list = append(list, readAttribute(r))
	}
	return list
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

func appendAttributes(dst []byte, list []Attribute) ([]byte, error) {
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
