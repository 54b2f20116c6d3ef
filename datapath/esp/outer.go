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
// when encapsulated. It is never changed after Rebind published it. What IPv4 over
// IP needs stands together.
type outer struct {
	second uint64 // IPv4: the header's second eight bytes, without the checksum
	sum    uint32 // IPv4: of all 16-bit words that packets do not change
	ip     uint8  // length of the IP header
	n      uint8  // length of all of it
	header [packet.IPv6Len + packet.UDPLen]byte
	remote netip.Addr
	local  netip.Addr
}

// set fills an empty one.
func (t *outer) set(local, remote netip.AddrPort, encap bool, ttl uint8) error {
	from, to := local.Addr().Unmap(), remote.Addr().Unmap()
	if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
		return fmt.Errorf("outer header %v to %v: need two addresses of one family", local.Addr(), remote.Addr())
	}
	if encap && (local.Port() == 0 || remote.Port() == 0) {
		return fmt.Errorf("outer header %v to %v: UDP encapsulation needs ports", local, remote)
	}
	t.remote, t.local = to, from
	protocol := uint8(packet.ESP)
	if encap {
		protocol = packet.UDP
	}
	if from.Is4() {
		t.ip = packet.IPv4Len
		t.header[0] = 0x45
		t.header[8], t.header[9] = ttl, protocol
		copy(t.header[12:], from.AsSlice())
		copy(t.header[16:], to.AsSlice())
		t.second = binary.BigEndian.Uint64(t.header[8:])
		for i := 0; i < packet.IPv4Len; i += 2 {
			t.sum += uint32(binary.BigEndian.Uint16(t.header[i:]))
		}
	} else {
		t.ip = packet.IPv6Len
		t.header[0] = 0x60
		t.header[6], t.header[7] = protocol, ttl
		copy(t.header[8:], from.AsSlice())
		copy(t.header[24:], to.AsSlice())
	}
	t.n = t.ip
	if encap {
		binary.BigEndian.PutUint16(t.header[t.ip:], local.Port())
		binary.BigEndian.PutUint16(t.header[t.ip+2:], remote.Port())
		t.n += packet.UDPLen
	}
	return nil
}

// encap is how long the UDP header is, 0 without one.
func (t *outer) encap() int { return int(t.n - t.ip) }

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

// tos is the outer traffic class for an inner packet (RFC 4301 §5.1.2). The
// congestion mark is copied (RFC 6040 §4.1, normal mode), and DSCP with it unless
// the SA has its own.
func (s *style) tos(inner []byte) uint8 {
	tos := packet.TOS(inner)
	if s.fixed {
		tos = s.dscp<<2 | tos&packet.ECNMask
	}
	return tos
}

// dontFragment decides the outer DF bit (RFC 4301 §8.1). Copying from IPv6 sets
// it, because no router may fragment that either.
func (s *style) dontFragment(inner []byte) uint16 {
	switch {
	case s.df == sadb.DFSet, s.df == sadb.DFCopy && (inner[0]>>4 == 6 || inner[6]&(flagDF>>8) != 0):
		return flagDF
	}
	return 0
}

// flow is the outer IPv6 flow label.
func (s *style) flow(inner []byte) uint32 {
	if s.copyLabel && inner[0]>>4 == 6 {
		return binary.BigEndian.Uint32(inner) & maxLabel
	}
	return s.label
}

// put4 writes the IPv4 header of a tunnel packet that is complete behind it. id
// numbers packets; those with DF set do not need it (RFC 6864). The checksum
// comes from the sum of what packets do not change: to add up bytes that were
// stored one by one a moment ago would wait for each of them.
func (t *outer) put4(b []byte, tos uint8, id, flags uint16) {
	sum := uint64(t.sum) + uint64(tos) + uint64(len(b)) + uint64(id) + uint64(flags)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint64(b, 0x45<<56|uint64(tos)<<48|uint64(len(b))<<32|uint64(id)<<16|uint64(flags))
	binary.BigEndian.PutUint64(b[8:], t.second|uint64(^uint16(sum))<<32)
	copy(b[16:packet.IPv4Len], t.header[16:packet.IPv4Len])
	t.putUDP(b, packet.IPv4Len)
}

// put6 does the same for IPv6.
func (t *outer) put6(b []byte, tos uint8, label uint32) {
	binary.BigEndian.PutUint32(b, 6<<28|uint32(tos)<<20|label)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-packet.IPv6Len))
	copy(b[6:packet.IPv6Len], t.header[6:packet.IPv6Len])
	t.putUDP(b, packet.IPv6Len)
}

// keep writes the headers of a transport mode packet that is complete behind
// them: the packet's own, with ESP or UDP as what follows them.
func (t *outer) keep(b, headers []byte) {
	at := copy(b, headers)
	next := uint8(packet.ESP)
	if t.encap() > 0 {
		next = packet.UDP
	}
	packet.Restack(b, at, next)
	t.putUDP(b, at)
}

// putUDP writes the UDP header at b[at:], if there is to be one.
func (t *outer) putUDP(b []byte, at int) {
	if t.encap() == 0 {
		return
	}
	copy(b[at:], t.header[t.ip:t.n])
	binary.BigEndian.PutUint16(b[at+4:], uint16(len(b)-at))
	if b[0]>>4 == 4 {
		return // RFC 3948 §2.1: the UDP checksum over IPv4 SHOULD be sent as zero
	}
	// Middleboxes drop IPv6 UDP without a checksum (RFC 8200 §8.1), and RFC 6936
	// §5 allows zero only to those who agreed on it: IKE has no such agreement.
	packet.SetChecksum(b, &packet.Header{Version: 6, Protocol: packet.UDP, Length: len(b), Payload: at})
}
