package packet

import "encoding/binary"

// EtherTypes that the data path tells apart.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeIPv6 = 0x86dd
	etherTypeVLAN = 0x8100 // IEEE 802.1Q
	etherTypeQinQ = 0x88a8 // IEEE 802.1ad
)

const (
	EthernetLen = 14 // without tags
	VLANLen     = 4
	MaxVLANs    = 2
)

// MAC is an Ethernet address.
type MAC = [6]byte

// Ethernet is the link header of a frame.
//
//	+-----------------+-----------------+----------------+-----------+
//	| destination (6) |   source (6)    | 0-2 tags (4)   | type (2)  |
//	+-----------------+-----------------+----------------+-----------+
type Ethernet struct {
	Dst, Src MAC
	Tags     [MaxVLANs]uint32 // outermost first: TPID<<16 | TCI
	Tagged   int              // how many tags there are
	Type     uint16
	Len      int // bytes up to the network header
}

// ParseEthernet reads the link header. The verdict is Pass for IPv4 and IPv6.
func ParseEthernet(frame []byte) (Ethernet, Verdict) {
	if len(frame) < EthernetLen {
		return Ethernet{}, DropTruncated
	}
	e := Ethernet{
		Dst:  MAC(frame[0:6]),
		Src:  MAC(frame[6:12]),
		Type: binary.BigEndian.Uint16(frame[12:]),
		Len:  EthernetLen,
	}
	for e.Type == etherTypeVLAN || e.Type == etherTypeQinQ {
		if e.Tagged == MaxVLANs {
			return Ethernet{}, DropNotIP
		}
		if len(frame) < e.Len+VLANLen {
			return Ethernet{}, DropTruncated
		}
		tag := frame[e.Len:]
		e.Tags[e.Tagged] = uint32(e.Type)<<16 | uint32(binary.BigEndian.Uint16(tag))
		e.Tagged++
		e.Type = binary.BigEndian.Uint16(tag[2:])
		e.Len += VLANLen
	}
	if e.Type != EtherTypeIPv4 && e.Type != EtherTypeIPv6 {
		return e, DropNotIP
	}
	return e, Pass
}

// NetworkHeader is where a frame's IP header begins. ParseEthernet tells more, and
// takes longer.
func NetworkHeader(frame []byte) (int, Verdict) {
	if len(frame) >= EthernetLen {
		if t := binary.BigEndian.Uint16(frame[12:]); t == EtherTypeIPv4 || t == EtherTypeIPv6 {
			return EthernetLen, Pass
		}
	}
	e, v := ParseEthernet(frame)
	return e.Len, v
}

// PutLink writes a link header without tags before the IP packet that stands in
// the frame behind it.
func PutLink(frame []byte, dst, src *MAC) {
	binary.BigEndian.PutUint16(frame[12:], EtherType(frame[EthernetLen:]))
	*(*MAC)(frame[0:6]) = *dst
	*(*MAC)(frame[6:12]) = *src
}

// VLAN is the identifier of the outermost tag, 0 when there is none.
func (e *Ethernet) VLAN() uint16 { return uint16(e.Tags[0]) & 0x0fff }

// HeaderLen is the length that Put needs for so many tags.
func HeaderLen(tags int) int { return EthernetLen + tags*VLANLen }

// Put writes the link header with its tags and returns its length, or 0 when b
// is too short for it.
func (e *Ethernet) Put(b []byte) int {
	n := HeaderLen(e.Tagged)
	if e.Tagged < 0 || e.Tagged > MaxVLANs || len(b) < n {
		return 0
	}
	copy(b[0:6], e.Dst[:])
	copy(b[6:12], e.Src[:])
	at := 12
	for _, tag := range e.Tags[:e.Tagged] {
		binary.BigEndian.PutUint32(b[at:], tag)
		at += VLANLen
	}
	binary.BigEndian.PutUint16(b[at:], e.Type)
	return n
}

// VLANTag composes an 802.1Q tag for Ethernet.Tags from a VLAN identifier.
func VLANTag(id uint16) uint32 { return etherTypeVLAN<<16 | uint32(id&0x0fff) }

// EtherType is the type of an IP packet by its version nibble, 0 for neither.
func EtherType(ip []byte) uint16 {
	if len(ip) == 0 {
		return 0
	}
	switch ip[0] >> 4 {
	case 4:
		return EtherTypeIPv4
	case 6:
		return EtherTypeIPv6
	}
	return 0
}
