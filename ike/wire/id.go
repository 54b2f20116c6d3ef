package wire

// Identity is what IDi and IDr carry (RFC 7296 §3.5).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   ID Type     |                 RESERVED                      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                   Identification Data                         ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Identity struct {
	Type IDType
	// Reserved is kept as received: AUTH covers it (RFC 7296 §2.15).
	Reserved [3]byte
	Data     []byte
}

// Append writes the identity as AUTH covers it: RestOfInitIDPayload or
// RestOfRespIDPayload, the payload without its generic header (RFC 7296 §2.15).
func (id Identity) Append(dst []byte) []byte {
	dst = append(dst, byte(id.Type))
	dst = append(dst, id.Reserved[:]...)
	return append(dst, id.Data...)
}

// IDi is the identity of the initiator.
type IDi struct{ Identity }

// IDr is the identity of the responder; from the initiator, the one it wants.
type IDr struct{ Identity }

func (IDi) PayloadType() PayloadType { return PayloadIDi }
func (IDr) PayloadType() PayloadType { return PayloadIDr }

func readIdentity(r *reader) Identity {
	id := Identity{Type: IDType(r.uint8("ID type"))}
	copy(id.Reserved[:], r.bytes(3, "reserved"))
	id.Data = r.rest()
	return id
}

func (p IDi) appendBody(dst []byte) ([]byte, error) { return p.Append(dst), nil }
func (p IDr) appendBody(dst []byte) ([]byte, error) { return p.Append(dst), nil }
