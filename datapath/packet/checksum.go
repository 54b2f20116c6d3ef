package packet

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to a ones' complement sum (RFC 1071) kept in 64 bits: 2^16 is 1
// modulo 2^16-1, so eight bytes at a time give the same folded result.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var tail uint64
	for i, c := range b {
		tail |= uint64(c) << (56 - 8*i)
	}
	acc, carry = bits.Add64(acc, tail, carry)
	// Two rounds: the first end-around carry may carry again.
	acc, carry = bits.Add64(acc, carry, 0)
	return acc + carry
}

// fold reduces a sum to 16 bits, not complemented.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// Checksum is the Internet checksum of b (RFC 1071).
func Checksum(b []byte) uint16 { return ^fold(sum(b, 0)) }

// SetIPv4Checksum writes the header checksum of the IPv4 packet at the start of
// ip, whose header length must be valid.
func SetIPv4Checksum(ip []byte) {
	header := ip[:int(ip[0]&15)*4]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], Checksum(header))
}

// Delta gathers the 16-bit words of covered data that change, for a checksum to
// take up (RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m')). The zero value is no
// change.
type Delta uint64

// Word adds one word that changes.
func (d Delta) Word(from, to uint16) Delta { return d + Delta(^from) + Delta(to) }

// Apply updates a checksum.
func (d Delta) Apply(field []byte) {
	acc := uint64(^binary.BigEndian.Uint16(field)) + uint64(d)
	binary.BigEndian.PutUint16(field, ^fold(acc))
}

// adjust updates a checksum for one word.
func adjust(field []byte, from, to uint16) { Delta(0).Word(from, to).Apply(field) }

// pseudo is the sum of the pseudo header (RFC 793 §3.1, RFC 8200 §8.1) for a next
// layer of n bytes. ip holds the full IP header.
func pseudo(ip []byte, protocol uint8, n int) uint64 {
	acc := uint64(protocol) + uint64(n)
	if ip[0]>>4 == 4 {
		return sum(ip[12:20], acc)
	}
	return sum(ip[8:40], acc)
}

// checksumOffset is where the next layer keeps its checksum, and how long its
// header must be to hold it; -1 when it has none under a pseudo header.
func checksumOffset(protocol uint8) int {
	switch protocol {
	case TCP:
		return 16
	case UDP:
		return 6
	case ICMPv6:
		return 2
	}
	return -1
}

// transport returns the next layer of an unfragmented packet and the offset of
// its checksum in it. UDP is cut to its own length (RFC 768).
func transport(ip []byte, h *Header) (layer []byte, at int, ok bool) {
	at = checksumOffset(h.Protocol)
	if at < 0 || h.Fragment || len(ip) < h.Length {
		return nil, 0, false
	}
	layer = ip[h.Payload:h.Length]
	if h.Protocol == UDP && len(layer) >= UDPLen {
		n := int(binary.BigEndian.Uint16(layer[4:]))
		if n < UDPLen || n > len(layer) {
			return nil, 0, false
		}
		layer = layer[:n]
	}
	if len(layer) < at+2 {
		return nil, 0, false
	}
	return layer, at, true
}

// ChecksumOK verifies the TCP, UDP or ICMPv6 checksum. It is true as well for
// packets that have none to verify: fragments, other protocols, IPv4 UDP with 0.
func ChecksumOK(ip []byte, h *Header) bool {
	layer, at, ok := transport(ip, h)
	if !ok {
		return true
	}
	if h.Protocol == UDP && h.Version == 4 && layer[at] == 0 && layer[at+1] == 0 {
		return true
	}
	return fold(sum(layer, pseudo(ip, h.Protocol, len(layer)))) == 0xffff
}

// SetChecksum computes and stores the TCP, UDP or ICMPv6 checksum of an
// unfragmented packet. It reports whether there was one to set.
func SetChecksum(ip []byte, h *Header) bool {
	layer, at, ok := transport(ip, h)
	if !ok {
		return false
	}
	putChecksum(ip, layer, at, h.Protocol)
	return true
}

func putChecksum(ip, layer []byte, at int, protocol uint8) {
	layer[at], layer[at+1] = 0, 0
	c := ^fold(sum(layer, pseudo(ip, protocol, len(layer))))
	if c == 0 && protocol == UDP {
		c = 0xffff // RFC 768: a computed 0 is sent as all ones, 0 means none
	}
	binary.BigEndian.PutUint16(layer[at:], c)
}

// RepairChecksum completes a TCP or UDP checksum that a local stack left to
// hardware which is not there. Behind a veth or virtio port such a packet holds
// the folded pseudo header sum in the checksum's place (Linux CHECKSUM_PARTIAL),
// and neither XDP nor AF_XDP says so. The test costs a few additions; the one
// honest packet in 65,536 that happens to hold that value is saved by verifying
// it fully before anything is stored. It reports whether it stored a checksum.
func RepairChecksum(ip []byte, h *Header) bool {
	if h.Protocol != TCP && h.Protocol != UDP {
		return false
	}
	layer, at, ok := transport(ip, h)
	if !ok {
		return false
	}
	partial := pseudo(ip, h.Protocol, len(layer))
	if binary.BigEndian.Uint16(layer[at:]) != fold(partial) {
		return false
	}
	if fold(sum(layer, partial)) == 0xffff {
		return false
	}
	putChecksum(ip, layer, at, h.Protocol)
	return true
}
