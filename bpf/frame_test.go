package bpf_test

import (
	"encoding/binary"
	"net/netip"
)

// The running example: this gateway is R6, the SPD's far side is 10.8.8.0/24.
var (
	ourMAC    = []byte{0x02, 0, 0, 0, 0, 0x06}
	peerMAC   = []byte{0x02, 0, 0, 0, 0, 0x08}
	everybody = []byte{255, 255, 255, 255, 255, 255}
	local4    = netip.MustParseAddr("192.0.2.1")
	local6    = netip.MustParseAddr("2001:db8::1")
	host4     = netip.MustParseAddr("10.6.6.1") // ours, in a network that policies protect
	host6     = netip.MustParseAddr("2001:db8:6::1")
	transit4  = netip.MustParseAddr("10.9.9.9")
	transit6  = netip.MustParseAddr("2001:db8:9::9")
	inside4   = netip.MustParseAddr("10.8.8.8")
	inside6   = netip.MustParseAddr("2001:db8:8::8")
	prefix4   = netip.MustParsePrefix("10.8.8.0/24")
	prefix6   = netip.MustParsePrefix("2001:db8:8::/48")
	near4     = netip.MustParseAddr("10.6.6.6")
	near6     = netip.MustParseAddr("2001:db8:6::6")
	home4     = netip.MustParsePrefix("10.6.6.0/24")
	home6     = netip.MustParsePrefix("2001:db8:6::/48")
	ownHome   = netip.PrefixFrom(local4, 32) // a policy for this host itself
	knownSPI  = uint32(3<<26 | 77<<8 | 5)
	staleSPI  = uint32(3<<26 | 77<<8 | 4) // the generation before
	foreign   = uint32(3<<26 | 78<<8 | 5)
	srcAddr4  = netip.MustParseAddr("198.51.100.7")
	srcAddr6  = netip.MustParseAddr("2001:db8:ffff::7")
	tag8021Q  = []byte{0x81, 0x00, 0x00, 0x0a}
	tag8021AD = []byte{0x88, 0xa8, 0x00, 0x64}
)

const (
	protoHopByHop = 0
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoESP      = 50
	protoICMPv6   = 58
	protoNone     = 59
	protoDestOpts = 60
)

func cat(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func be16(v int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

// ethernet frames a payload for dst; each tag is 4 bytes, its TPID first.
func ethernet(dst []byte, tags [][]byte, etherType int, payload []byte) []byte {
	return cat(dst, peerMAC, cat(tags...), be16(etherType), payload)
}

func or(a, otherwise netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return otherwise
}

type v4 struct {
	src     netip.Addr // zero is srcAddr4
	dst     netip.Addr
	proto   byte
	ttl     byte   // 0 is 64
	frag    int    // flags and offset
	options []byte // a multiple of 4
	length  int    // 0 is the true one
	version byte   // 0 is version 4 with the true header length
}

func ipv4(h v4, payload []byte) []byte {
	b := make([]byte, 20)
	b[0] = 0x40 | byte(5+len(h.options)/4)
	if h.version != 0 {
		b[0] = h.version
	}
	length := 20 + len(h.options) + len(payload)
	if h.length != 0 {
		length = h.length
	}
	binary.BigEndian.PutUint16(b[2:], uint16(length))
	binary.BigEndian.PutUint16(b[6:], uint16(h.frag))
	if b[8] = h.ttl; h.ttl == 0 {
		b[8] = 64
	}
	b[9] = h.proto
	copy(b[12:], or(h.src, srcAddr4).AsSlice())
	copy(b[16:], h.dst.AsSlice())
	return cat(b, h.options, payload)
}

type v6 struct {
	src        netip.Addr // zero is srcAddr6
	dst        netip.Addr
	proto      byte // of the upper layer
	hops       byte // 0 is 64
	extensions []extension
	length     int  // 0 is the true one
	version    byte // 0 is version 6
}

// extension is one header; its data is 6 bytes or 8 more each.
type extension struct {
	kind byte
	data []byte
}

func ipv6(h v6, payload []byte) []byte {
	next, chain := h.proto, []byte(nil)
	for i := len(h.extensions) - 1; i >= 0; i-- {
		e := h.extensions[i]
		chain = cat([]byte{next, byte((len(e.data) - 6) / 8)}, e.data, chain)
		next = e.kind
	}
	b := make([]byte, 40)
	if b[0] = 0x60; h.version != 0 {
		b[0] = h.version
	}
	length := len(chain) + len(payload)
	if h.length != 0 {
		length = h.length
	}
	binary.BigEndian.PutUint16(b[4:], uint16(length))
	b[6] = next
	if b[7] = h.hops; h.hops == 0 {
		b[7] = 64
	}
	copy(b[8:], or(h.src, srcAddr6).AsSlice())
	copy(b[24:], h.dst.AsSlice())
	return cat(b, chain, payload)
}

func udp(port int, payload []byte) []byte {
	return cat(be16(40000), be16(port), be16(8+len(payload)), []byte{0, 0}, payload)
}

func esp(spi uint32) []byte { return cat(be32(spi), be32(1), make([]byte, 24)) }

func ike() []byte { return make([]byte, 28) }

func options(kinds ...byte) []extension {
	var all []extension
	for _, k := range kinds {
		all = append(all, extension{k, make([]byte, 6)})
	}
	return all
}

func eth4(h v4, payload []byte) []byte { return ethernet(ourMAC, nil, 0x0800, ipv4(h, payload)) }
func eth6(h v6, payload []byte) []byte { return ethernet(ourMAC, nil, 0x86dd, ipv6(h, payload)) }
