package wire

import "encoding/binary"

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

// V1Proposal is a proposal (RFC 2408 §3.5), in the form of IKEv2 and with its numbers
// of protocols. Those of one number are wanted together; the transforms of one are
// alternatives.
type V1Proposal = ProposalOf[V1Transform]

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
	return V1SA{readProposals(r, readV1Transform)}
}

func readV1Transform(r *reader) (V1Transform, bool) {
	more, s := readSubstructure(r, "transform", moreTransforms)
	t := V1Transform{Number: s.uint8("transform number"), ID: s.uint8("transform ID")}
	s.uint16("reserved")
	t.Attributes = readAttributes(&s)
	r.join(s)
	return t, more
}

func (p V1SA) appendBody(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint32(dst, DOIIPsec)
	dst = binary.BigEndian.AppendUint32(dst, SituationIdentityOnly)
	return appendProposals(dst, p.Proposals, appendV1Transform)
}

func appendV1Transform(dst []byte, t V1Transform, more bool) ([]byte, error) {
	start := len(dst)
	dst, err := appendAttributes(append(dst, lastOr(more, moreTransforms), 0, 0, 0, t.Number, t.ID, 0, 0), t.Attributes)
	if err != nil {
		return nil, err
	}
	return dst, patch16(dst, start)
}
