package esp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"spindle/datapath/packet"
	"spindle/sadb"
)

const flagDF = 0x4000

// outer is the tunnel's header as far as packets do not change it: IP, and UDP
// when encapsulated. It is never changed after Rebind published it.
type outer struct {
	header [packet.IPv6Len + packet.UDPLen]byte
	ip     int // length of the IP header
	n      int // length of all of it
	remote netip.Addr
	local  netip.Addr
}

func newOuter(local, remote netip.AddrPort, encap bool) (*outer, error) {
	from, to := local.Addr().Unmap(), remote.Addr().Unmap()
	if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
		return nil, fmt.Errorf("outer header %v to %v: need two addresses of one family", local.Addr(), remote.Addr())
	}
	if encap && (local.Port() == 0 || remote.Port() == 0) {
		return nil, fmt.Errorf("outer header %v to %v: UDP encapsulation needs ports", local, remote)
	}
	t := &outer{remote: to, local: from}
	protocol := uint8(packet.ESP)
	if encap {
		protocol = packet.UDP
	}
	if from.Is4() {
		t.ip = packet.IPv4Len
		t.header[0] = 0x45
		t.header[8], t.header[9] = packet.DefaultTTL, protocol
		copy(t.header[12:], from.AsSlice())
		copy(t.header[16:], to.AsSlice())
	} else {
		t.ip = packet.IPv6Len
		t.header[0] = 0x60
		t.header[6], t.header[7] = protocol, packet.DefaultTTL
		copy(t.header[8:], from.AsSlice())
		copy(t.header[24:], to.AsSlice())
	}
	t.n = t.ip
	if encap {
		binary.BigEndian.PutUint16(t.header[t.ip:], local.Port())
		binary.BigEndian.PutUint16(t.header[t.ip+2:], remote.Port())
		t.n += packet.UDPLen
	}
	return t, nil
}

// encap is how long the UDP header is, 0 without one.
func (t *outer) encap() int { return t.n - t.ip }

// most is the longest packet that a header can name.
func most(version uint8) int {
	if version == 6 {
		return packet.IPv6Len + 0xffff
	}
	return 0xffff
}

func (t *outer) version() uint8 { return t.header[0] >> 4 }

// style is what an SA decides about outer headers.
type style struct {
	df        sadb.DFPolicy
	fixed     bool
	dscp      uint8
	ttl       uint8
	label     uint32
	copyLabel bool
}

const (
	maxDSCP  = 1<<6 - 1
	maxLabel = 1<<20 - 1
)

func newStyle(sa *sadb.SA) (style, error) {
	if sa.DSCP > maxDSCP || sa.FlowLabel > maxLabel {
		return style{}, fmt.Errorf("sa %v: DSCP %d or flow label %d is too large", sa.SPI, sa.DSCP, sa.FlowLabel)
	}
	s := style{df: sa.DF, fixed: sa.FixDSCP, dscp: sa.DSCP, ttl: sa.TTL, label: sa.FlowLabel, copyLabel: sa.CopyFlowLabel}
	if s.ttl == 0 {
		s.ttl = packet.DefaultTTL
	}
	return s, nil
}

// marks are the fields of an outer header that may differ between packets.
type marks struct {
	tos   uint8
	ttl   uint8
	df    bool
	id    uint16
	label uint32
}

// of decides the outer header's fields by the inner packet (RFC 4301 §5.1.2). The
// congestion mark is copied (RFC 6040 §4.1, normal mode), and DSCP with it
// unless the SA has its own. id numbers IPv4 packets; those with DF set do not
// need it (RFC 6864).
func (s *style) of(inner []byte, id uint16) marks {
	m := marks{tos: packet.TOS(inner), ttl: s.ttl, id: id, label: s.label}
	if s.fixed {
		m.tos = s.dscp<<2 | m.tos&packet.ECNMask
	}
	v6 := inner[0]>>4 == 6
	if s.copyLabel && v6 {
		m.label = binary.BigEndian.Uint32(inner) & maxLabel
	}
	switch s.df {
	case sadb.DFSet:
		m.df = true
	case sadb.DFCopy:
		// RFC 4301 §8.1. Copying from IPv6 sets it: no router may fragment that either.
		m.df = v6 || inner[6]&(flagDF>>8) != 0
	}
	return m
}

// put writes the header of a tunnel packet that is complete behind it.
func (t *outer) put(b []byte, m marks) {
	copy(b, t.header[:t.n])
	if t.ip == packet.IPv4Len {
		b[1] = m.tos
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], m.id)
		if m.df {
			binary.BigEndian.PutUint16(b[6:], flagDF)
		}
		b[8] = m.ttl
		packet.SetIPv4Checksum(b)
	} else {
		binary.BigEndian.PutUint32(b, 6<<28|uint32(m.tos)<<20|m.label)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-t.ip))
		b[7] = m.ttl
	}
	t.finishUDP(b, t.ip)
}

// keep writes the headers of a transport mode packet that is complete behind
// them: the packet's own, with ESP or UDP as what follows them.
func (t *outer) keep(b, headers []byte) {
	at := copy(b, headers)
	copy(b[at:], t.header[t.ip:t.n])
	next := uint8(packet.ESP)
	if t.encap() > 0 {
		next = packet.UDP
	}
	packet.Restack(b, at, next)
	t.finishUDP(b, at)
}

// finishUDP completes the UDP header at b[at:], if there is to be one.
func (t *outer) finishUDP(b []byte, at int) {
	if t.encap() == 0 {
		return
	}
	binary.BigEndian.PutUint16(b[at+4:], uint16(len(b)-at))
	if b[0]>>4 == 4 {
		return // RFC 3948 §2.1: the UDP checksum over IPv4 SHOULD be sent as zero
	}
	// Middleboxes drop IPv6 UDP without a checksum (RFC 8200 §8.1), and RFC 6936
	// §5 allows zero only to those who agreed on it: IKE has no such agreement.
	packet.SetChecksum(b, &packet.Header{Version: 6, Protocol: packet.UDP, Length: len(b), Payload: at})
}
