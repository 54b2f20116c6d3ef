package wire

import (
	"encoding/binary"
	"fmt"
)

// V1Attributes is the Attribute payload of the transaction exchange, by which
// XAUTH asks who the user is and mode config gives it an address
// (draft-dukes-ike-mode-cfg-02 §3.2, draft-beaulieu-ike-xauth-02 §6).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |   RESERVED    |           Identifier          |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                           Attributes                          ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1Attributes struct {
	Type       ConfigType // REQUEST, REPLY, SET, ACK: the numbers of IKEv2's CP
	Identifier uint16
	Attributes []Attribute
}

// Attributes of mode config have the numbers of IKEv2's up to 15; these are the
// others (draft-beaulieu-ike-xauth-02 §6.2, and those of Cisco's Unity clients).
const (
	V1XAuthType       uint16 = 16520
	V1XAuthUserName   uint16 = 16521
	V1XAuthPassword   uint16 = 16522
	V1XAuthPasscode   uint16 = 16523
	V1XAuthMessage    uint16 = 16524
	V1XAuthChallenge  uint16 = 16525
	V1XAuthDomain     uint16 = 16526
	V1XAuthStatus     uint16 = 16527
	V1XAuthNextPIN    uint16 = 16528
	V1XAuthAnswer     uint16 = 16529
	V1UnityBanner     uint16 = 28672
	V1UnitySavePasswd uint16 = 28673
	V1UnityDefDomain  uint16 = 28674
	V1UnitySplitDNS   uint16 = 28675
	V1UnitySplit      uint16 = 28676 // networks to reach through the tunnel
	V1UnityNATTPort   uint16 = 28677
	V1UnityLocalLAN   uint16 = 28678 // networks to reach beside it
	V1UnityPFS        uint16 = 28679
	V1UnityFirewall   uint16 = 28680
	V1UnityBackup     uint16 = 28681
	V1UnityDDNSHost   uint16 = 28682
)

func (V1Attributes) PayloadType() PayloadType { return PayloadV1Attributes }

func readV1Attributes(r *reader) Payload {
	p := V1Attributes{Type: ConfigType(r.uint8("type"))}
	r.uint8("reserved")
	p.Identifier = r.uint16("identifier")
	p.Attributes = readAttributes(r)
	return p
}

func (p V1Attributes) appendBody(dst []byte) ([]byte, error) {
	dst = append(dst, byte(p.Type), 0)
	dst = binary.BigEndian.AppendUint16(dst, p.Identifier)
	return appendAttributes(dst, p.Attributes)
}

// Find returns the first attribute of a type.
func (p V1Attributes) Find(t uint16) (Attribute, bool) {
	for _, a := range p.Attributes {
		if a.Type == t {
			return a, true
		}
	}
	return Attribute{}, false
}

// V1Fragment is a piece of a whole IKEv1 message, header and all: Cisco's way
// to send large ones, announced by a vendor ID. It is the only payload of the
// message that carries it, whose header is that of the whole one in the clear.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Fragment ID          |    Number     |     Last      |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                             Data                              ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1Fragment struct {
	ID     uint16
	Number uint8 // from 1
	Last   bool
	Data   []byte
}

func (V1Fragment) PayloadType() PayloadType { return PayloadV1CiscoFragment }

func readV1Fragment(r *reader) Payload {
	p := V1Fragment{ID: r.uint16("fragment ID")}
	at := r.offset()
	p.Number = r.uint8("fragment number")
	last := r.uint8("last fragment")
	if r.err == nil && (p.Number == 0 || last > 1) {
		r.failAt(at, "fragment %d, last %d: %w", p.Number, last, ErrValue)
	}
	p.Last = last == 1
	p.Data = r.rest()
	return p
}

func (p V1Fragment) appendBody(dst []byte) ([]byte, error) {
	if p.Number == 0 {
		return nil, fmt.Errorf("fragment 0: %w", ErrValue)
	}
	dst = binary.BigEndian.AppendUint16(dst, p.ID)
	dst = append(dst, p.Number, 0)
	if p.Last {
		dst[len(dst)-1] = 1
	}
	return append(dst, p.Data...), nil
}

// ParseV1AttributeList reads attributes that stand by themselves: the data of
// RESPONDER-LIFETIME (RFC 2407 §4.6.3.1).
func ParseV1AttributeList(b []byte) ([]Attribute, error) {
	r := newReader(b)
	list := readAttributes(&r)
	return list, r.err
}
