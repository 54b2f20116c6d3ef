package wire

import "encoding/binary"

// SA is the Security Association payload: proposals in the sender's order of
// preference (RFC 7296 §3.3).
type SA struct{ Proposals []Proposal }

// Proposal is one proposal substructure (RFC 7296 §3.3.1). Its SPI is empty in
// IKE_SA_INIT, of 8 octets when an IKE SA is rekeyed, of 4 for ESP and AH.
type Proposal = ProposalOf[Transform]

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

// KeyLength is the attribute for a key of that many bits.
func KeyLength(bits uint16) Attribute {
	return Attribute{AttributeKeyLength, true, binary.BigEndian.AppendUint16(nil, bits)}
}

func (SA) PayloadType() PayloadType { return PayloadSA }

func readSA(r *reader) Payload { return SA{readProposals(r, readTransform)} }

func readTransform(r *reader) (Transform, bool) {
	more, s := readSubstructure(r, "transform", moreTransforms)
	t := Transform{Type: TransformType(s.uint8("transform type"))}
	s.uint8("reserved")
	t.ID = s.uint16("transform ID")
	t.Attributes = readAttributes(&s)
	r.join(s)
	return t, more
}

func (p SA) appendBody(dst []byte) ([]byte, error) {
	return appendProposals(dst, p.Proposals, appendTransform)
}

func appendTransform(dst []byte, t Transform, more bool) ([]byte, error) {
	start := len(dst)
	dst = append(dst, lastOr(more, moreTransforms), 0, 0, 0, byte(t.Type), 0)
	dst = binary.BigEndian.AppendUint16(dst, t.ID)
	dst, err := appendAttributes(dst, t.Attributes)
	if err != nil {
		return nil, err
	}
	return dst, patch16(dst, start)
}
