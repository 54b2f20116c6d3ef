package esp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"spindle/datapath/packet"
)

const flagDF = 0x4000

// outer is the tunnel's header as far as packets do not change it: IP, and UDP
// when encapsulated. It is never changed after Rebind published it.
type outer struct {
	header [packet.IPv6Len + packet.UDPLen]byte
	ip     int // length of the IP header
	n      int // length of all of it
	remote netip.Addr
}

func newOuter(local, remote netip.AddrPort, encap bool) (*outer, error) {
	from, to := local.Addr().Unmap(), remote.Addr().Unmap()
	if !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4() {
		return nil, fmt.Errorf("outer header %v to %v: need two addresses of one family", local.Addr(), remote.Addr())
	}
	if encap && (local.Port() == 0 || remote.Port() == 0) {
		return nil, fmt.Errorf("outer header %v to %v: UDP encapsulation needs ports", local, remote)
	}
	t := &outer{remote: to}
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

// most is the longest packet that the outer header can name.
func (t *outer) most() int {
	if t.ip == packet.IPv6Len {
		return packet.IPv6Len + 0xffff
	}
	return 0xffff
}

// put writes the header of a packet that is complete behind it. The whole
// traffic class is copied from inside (RFC 4301 §5.1.2.1; RFC 6040 §4.1 normal
// mode). id numbers IPv4 packets; those with DF set do not need it (RFC 6864).
func (t *outer) put(b []byte, tos uint8, id uint16, df bool) {
	copy(b, t.header[:t.n])
	if t.n > t.ip {
		binary.BigEndian.PutUint16(b[t.ip+4:], uint16(len(b)-t.ip))
	}
	if t.ip == packet.IPv4Len {
		b[1] = tos
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], id)
		if df {
			binary.BigEndian.PutUint16(b[6:], flagDF)
		}
		// RFC 3948 §2.1: the UDP checksum over IPv4 SHOULD be sent as zero.
		packet.SetIPv4Checksum(b)
		return
	}
	packet.SetTOS(b, tos)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-t.ip))
	if t.n > t.ip {
		// Middleboxes drop IPv6 UDP without a checksum (RFC 8200 §8.1), and RFC 6936
		// §5 allows zero only to those who agreed on it: IKE has no such agreement.
		packet.SetChecksum(b, &packet.Header{Version: 6, Protocol: packet.UDP, Length: len(b), Payload: t.ip})
	}
}
