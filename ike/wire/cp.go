package wire

import (
	"encoding/binary"
	"fmt"
)

// CP is the Configuration payload (RFC 7296 §3.15).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   CFG Type    |                    RESERVED                   |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                   Configuration Attributes                    ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type CP struct {
	Type       ConfigType
	Attributes []ConfigAttribute
}

// ConfigAttribute is one attribute of a CP payload (RFC 7296 §3.15.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|R|         Attribute Type      |            Length             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                             Value                             ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type ConfigAttribute struct {
	Type  ConfigAttributeType
	Value []byte // empty in a request that leaves the choice to the responder
}

func (CP) PayloadType() PayloadType { return PayloadCP }

func readCP(r *reader) Payload {
	p := CP{Type: ConfigType(r.uint8("CFG type"))}
	r.bytes(3, "reserved")
	for r.more() {
		if len(p.Attributes) == MaxAttributes {
			r.fail("more than %d attributes: %w", MaxAttributes, ErrTooMany)
		}
		a := ConfigAttribute{Type: ConfigAttributeType(r.uint16("attribute type") & 0x7fff)}
		n := int(r.uint16("attribute length"))
		a.Value = r.bytes(n, "attribute value")
		p.Attributes = append(p.Attributes, a)
	}
	return p
}

func (p CP) appendBody(dst []byte) ([]byte, error) {
	dst = append(dst, byte(p.Type), 0, 0, 0)
	for _, a := range p.Attributes {
		if len(a.Value) > 0xffff || a.Type > 0x7fff {
			return nil, fmt.Errorf("attribute %d of %d octets: %w", a.Type, len(a.Value), ErrValue)
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(a.Type))
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Value)))
		dst = append(dst, a.Value...)
	}
	return dst, nil
}

// EAP is the Extensible Authentication payload, one EAP message (RFC 7296
// §3.16, RFC 3748 §4). Data is what follows its length: empty in Success and
// Failure, else the EAP type and its data.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Code      | Identifier    |           Length              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      | Type_Data...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-
type EAP struct {
	Code, Identifier uint8
	Data             []byte
}

func (EAP) PayloadType() PayloadType { return PayloadEAP }

func readEAP(r *reader) Payload {
	whole := len(r.s)
	p := EAP{Code: r.uint8("EAP code"), Identifier: r.uint8("EAP identifier")}
	at := r.offset()
	if n := int(r.uint16("EAP length")); r.err == nil && n != whole {
		r.failAt(at, "EAP length %d in a payload of %d octets: %w", n, whole, ErrLength)
	}
	p.Data = r.rest()
	return p
}

func (p EAP) appendBody(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, p.Code, p.Identifier, 0, 0)
	dst = append(dst, p.Data...)
	return dst, patch16(dst, start)
}
