package bench

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"

	"spindle/datapath/esp"
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// The gateway under test and what is around it. Site n has a gateway of its own
// at peer(n), behind it one host at site(n); one host of ours talks to all.
//
//	host 172.16.0.2 -- [in0] gateway 192.0.2.1 [out0] == peer(n) 198.18.0.0/15 -- site(n) 10.0.0.0/8
//
// 198.18.0.0/15 is what RFC 2544 appendix C.2.2 sets apart for benchmarks.
var (
	gatewayAddr = netip.MustParseAddr("192.0.2.1")
	hostAddr    = netip.MustParseAddr("172.16.0.2")
	peerNet     = netip.MustParsePrefix("198.18.0.0/15")
	siteNet     = netip.MustParsePrefix("10.0.0.0/8")
	hostNet     = netip.MustParsePrefix("172.16.0.0/24")

	hostMAC = packet.MAC{2, 0, 0, 0, 0, 1}
	inMAC   = packet.MAC{2, 0, 0, 0, 0, 2}
	outMAC  = packet.MAC{2, 0, 0, 0, 0, 3}
	peerMAC = packet.MAC{2, 0, 0, 0, 0, 4}
)

// Ports of the gateway under test, in the order in which datapath.FindLinks
// numbers them: outside first.
const (
	outPort = iota
	inPort
)

// MaxSAs is how many sites there can be: one for each address of peerNet.
const MaxSAs = 1 << 17

func peerAddr(n int) netip.Addr { return within(peerNet, n) }
func siteAddr(n int) netip.Addr { return within(siteNet, n) }

func within(p netip.Prefix, n int) netip.Addr {
	base := p.Addr().As4()
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(base[:])+uint32(n))
	return netip.AddrFrom4(b)
}

// routes is the gateway's view: every peer behind one router, our host on the link.
func routes() *fib.Table {
	return fib.NewTable(map[netip.Prefix]fib.Adjacency{
		peerNet: {Kind: fib.Direct, Port: outPort, MTU: 1500, SrcMAC: outMAC, DstMAC: peerMAC},
		hostNet: {Kind: fib.Direct, Port: inPort, MTU: 1500, SrcMAC: inMAC, DstMAC: hostMAC},
	}, gatewayAddr)
}

func spiOf(n int) sadb.SPI { return sadb.NewSPI(0, n+1, 1) }

// sa is one direction of the tunnel to site n, seen from our gateway. Both ends
// derive the same key from n.
func sa(n int, direction sadb.Direction, suite esp.Suite) sadb.SA {
	local, remote := netip.AddrPortFrom(gatewayAddr, 0), netip.AddrPortFrom(peerAddr(n), 0)
	return sadb.SA{
		SPI: spiOf(n), Direction: direction, ReplayWindow: 4096, Suite: suite.Keyword, Key: keyOf(n, suite.KeyLen),
		Local: local, Remote: remote, Pair: spiOf(n), Policy: sadb.PolicyID(n + 1),
		LocalTS: selector(hostAddr), RemoteTS: selector(siteAddr(n)), Conn: "bench", Child: fmt.Sprint(n),
	}
}

// peerSA is the other end of one direction: the peer's outbound SA for our inbound one.
func peerSA(n int, ours sadb.Direction, suite esp.Suite) sadb.SA {
	theirs := sadb.Inbound
	if ours == sadb.Inbound {
		theirs = sadb.Outbound
	}
	s := sa(n, theirs, suite)
	s.Local, s.Remote = s.Remote, s.Local
	s.LocalTS, s.RemoteTS = s.RemoteTS, s.LocalTS
	return s
}

func keyOf(n, length int) sadb.Key {
	var key sadb.Key
	for i := byte(0); len(key) < length; i++ {
		sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, uint64(n)), i))
		key = append(key, sum[:]...)
	}
	return key[:length]
}

func selector(a netip.Addr) []sadb.Selector {
	return []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(a, a.BitLen()))}
}

func policy(n int) sadb.Policy {
	return sadb.Policy{
		ID: sadb.PolicyID(n + 1), Priority: 100, Action: sadb.Protect,
		Local: selector(hostAddr), Remote: selector(siteAddr(n)), Conn: "bench", Child: fmt.Sprint(n),
	}
}

// putInner writes a UDP packet with valid checksums, n bytes of IP.
func putInner(b []byte, from, to netip.Addr, n int) {
	b = b[:n]
	clear(b)
	b[0], b[8], b[9] = 0x45, packet.DefaultTTL, packet.UDP
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	udp := b[packet.IPv4Len:]
	binary.BigEndian.PutUint16(udp, 1024)
	binary.BigEndian.PutUint16(udp[2:], 1025)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	for i := range udp[packet.UDPLen:] {
		udp[packet.UDPLen+i] = byte(i)
	}
	packet.SetIPv4Checksum(b)
	packet.SetChecksum(b, &packet.Header{Version: 4, Protocol: packet.UDP, Length: n, Payload: packet.IPv4Len})
}
