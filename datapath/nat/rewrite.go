package nat

import (
	"encoding/binary"

	"spindle/datapath/packet"
)

// kind is what a port number belongs to: each has a space of its own.
type kind uint8

const (
	tcp kind = iota
	udp
	query // ICMP echo and timestamp, by identifier (RFC 5508 §3)
	other // a protocol without ports; its number stands for one
	kinds
)

// side is one end of a packet: where its address stands in the IP header and its
// port in the header of TCP and UDP.
type side struct{ address, port int }

var (
	source      = side{12, 0}
	destination = side{16, 2}
)

// place is where a packet keeps what is translated besides its address: offsets
// from the first byte of the IP header, 0 for what it has not, or not in here.
type place struct {
	kind      kind
	port, sum int
	number    uint16 // the port, or what stands for it
}

// find reads the header behind the IP header, at offset at, of a whole packet, a
// first fragment, or what an ICMP error quotes of one: at least eight bytes (RFC
// 792). asks tells an ICMP query from its answer. It is false for what cannot be
// translated.
func (s side) find(ip []byte, at int, protocol uint8, asks bool) (p place, ok bool) {
	switch protocol {
	case packet.TCP:
		p = place{kind: tcp, port: at + s.port, sum: at + 16}
	case packet.UDP:
		p = place{kind: udp, port: at + s.port, sum: at + 6}
	case packet.ICMP:
		if len(ip) < at+8 || !isQuery(ip[at], asks) {
			return p, false
		}
		p = place{kind: query, port: at + 4, sum: at + 2}
	default:
		return place{kind: other, number: uint16(protocol)}, true
	}
	if len(ip) < at+8 {
		return p, false
	}
	if len(ip) < p.sum+2 {
		p.sum = 0
	}
	p.number = binary.BigEndian.Uint16(ip[p.port:])
	return p, true
}

// isQuery tells echo and timestamp requests, or the answers to them.
func isQuery(kind uint8, asks bool) bool {
	if asks {
		return kind == 8 || kind == 13
	}
	return kind == 0 || kind == 14
}

// replace writes another address and port and keeps the checksums right: that of
// the IP header, and that of TCP or UDP, which covers the address as well (RFC
// 3022 §4.2). An IPv4 UDP packet without a checksum stays without.
func (s side) replace(ip []byte, p place, address [4]byte, port uint16) {
	change := s.readdress(ip, address)
	if p.kind == query {
		change = 0 // ICMP has no pseudo header
	}
	if p.port != 0 {
		change = change.Word(p.number, port)
		binary.BigEndian.PutUint16(ip[p.port:], port)
	}
	if p.sum == 0 {
		return
	}
	sum := ip[p.sum : p.sum+2]
	if p.kind == udp && sum[0] == 0 && sum[1] == 0 {
		return
	}
	change.Apply(sum)
	if p.kind == udp && sum[0] == 0 && sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff // RFC 768: 0 would say that there is none
	}
}

// readdress writes another address, and returns what that changes for a checksum
// over it.
func (s side) readdress(ip []byte, address [4]byte) (change packet.Delta) {
	field := ip[s.address : s.address+4]
	for i := 0; i < 4; i += 2 {
		change = change.Word(binary.BigEndian.Uint16(field[i:]), binary.BigEndian.Uint16(address[i:]))
	}
	copy(field, address[:])
	change.Apply(ip[10:12])
	return change
}
