package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"spindle/datapath/packet"
)

// Ports of IKE (RFC 7296 §2, §2.23).
const (
	portIKE  = 500
	portNATT = 4500
)

// Sockets are the kernel's way in and out, for what the rings cannot carry:
// outer fragments that the kernel reassembled, datagrams that found no AF_XDP
// socket, and everything this host sends itself to a peer. Holding them open also
// keeps the kernel from answering ESP and IKE with ICMP errors.
type Sockets struct {
	ike  [4]*net.UDPConn // 500 and 4500, IPv4 then IPv6
	esp  [2]*net.IPConn  // receive ESP: IPv4, IPv6
	icmp [2]*net.IPConn  // receive ICMP errors: IPv4, IPv6
	raw  [2]int          // send whole IP packets: IPv4, IPv6
	mark int
}

// OpenSockets binds them in the current network namespace. mark is the SO_MARK
// that keeps our own packets out of the routes that lead into the tunnel device.
func OpenSockets(mark int) (_ *Sockets, err error) {
	s := &Sockets{raw: [2]int{-1, -1}, mark: mark}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	lc := net.ListenConfig{Control: s.prepare}
	for i, at := range []struct {
		network string
		port    int
	}{{"udp4", portIKE}, {"udp4", portNATT}, {"udp6", portIKE}, {"udp6", portNATT}} {
		c, err := lc.ListenPacket(context.Background(), at.network, fmt.Sprintf(":%d", at.port))
		if noIPv6(at.network, err) {
			continue
		}
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("listen on UDP port %d: another IKE daemon holds it, stop that one first: %w", at.port, err)
		}
		if err != nil {
			return nil, fmt.Errorf("listen on UDP port %d: %w", at.port, err)
		}
		s.ike[i] = c.(*net.UDPConn)
	}
	for i, network := range []string{"ip4:50", "ip6:50"} {
		c, err := lc.ListenPacket(context.Background(), network, "")
		if noIPv6(network, err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open raw ESP socket: %w", err)
		}
		s.esp[i] = c.(*net.IPConn)
	}
	if err := s.openICMP(); err != nil {
		return nil, err
	}
	for i, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if s.raw[i], err = openRaw(family, mark); err != nil && !(family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT)) {
			return nil, fmt.Errorf("open raw IP socket: %w", err)
		}
	}
	return s, nil
}

// noIPv6 reports a kernel that was started without IPv6, which is no error.
func noIPv6(network string, err error) bool {
	return isIPv6(network) && errors.Is(err, unix.EAFNOSUPPORT)
}

func isIPv6(network string) bool {
	return strings.HasPrefix(network, "udp6") || strings.HasPrefix(network, "ip6")
}

// prepare sets what every receiving socket needs before it is bound.
func (s *Sockets) prepare(network, _ string, c syscall.RawConn) error {
	var err error
	set := func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
		if isIPv6(network) {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		}
		err = errors.Join(
			unix.SetsockoptInt(int(fd), level, option, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, s.mark))
	}
	return errors.Join(c.Control(set), err)
}

// openRaw opens a socket that sends packets with their IP header included.
// IPPROTO_RAW implies that and receives nothing (raw(7)).
func openRaw(family, mark int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	if family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1)
	}
	if err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark)); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Close closes all of them.
func (s *Sockets) Close() error {
	for _, c := range s.ike {
		if c != nil {
			c.Close()
		}
	}
	for _, c := range append(s.esp[:], s.icmp[:]...) {
		if c != nil {
			c.Close()
		}
	}
	for _, fd := range s.raw {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// SendIKE sends an IKE message from local to remote, behind the non-ESP marker
// unless local is port 500 (RFC 3948 §2.2).
func (s *Sockets) SendIKE(local, remote netip.AddrPort, message []byte) error {
	i := 0
	if local.Port() != portIKE {
		message = append(make([]byte, 4, 4+len(message)), message...)
		i = 1
	}
	if remote.Addr().Is6() {
		i += 2
	}
	if s.ike[i] == nil {
		return fmt.Errorf("send to %v: %w", remote, unix.EAFNOSUPPORT)
	}
	_, _, err := s.ike[i].WriteMsgUDPAddrPort(message, sourceAddress(local.Addr()), remote)
	return err
}

// SendKeepalive sends the one octet that keeps the mapping of a NAT in front of
// us, from the port that has it (RFC 3948 §2.3).
func (s *Sockets) SendKeepalive(local, remote netip.AddrPort) error {
	i := 1
	if remote.Addr().Is6() {
		i += 2
	}
	if s.ike[i] == nil {
		return fmt.Errorf("send to %v: %w", remote, unix.EAFNOSUPPORT)
	}
	_, _, err := s.ike[i].WriteMsgUDPAddrPort([]byte{0xff}, sourceAddress(local.Addr()), remote)
	return err
}

// sourceAddress is the control message that selects the source address of one
// datagram (ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO).
func sourceAddress(local netip.Addr) []byte {
	switch {
	case !local.IsValid() || local.IsUnspecified():
		return nil
	case local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	default:
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
	}
}

// SendPacket sends a whole IP packet by the kernel's routes; the kernel resolves
// the neighbour. It refuses what is longer than the MTU: packets with their own
// header are not fragmented (raw(7)).
func (s *Sockets) SendPacket(packet []byte, dst netip.Addr) error {
	if dst.Is4() {
		return unix.Sendto(s.raw[0], packet, unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: dst.As4()})
	}
	return unix.Sendto(s.raw[1], packet, unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: dst.As16()})
}

// Receive reads every socket until they are closed. IKE goes to punt; ESP, with
// an outer IP header in front, goes to esp, and so do ICMP errors to icmp. All must
// copy what they keep, and are called from several goroutines.
func (s *Sockets) Receive(punt func(local, remote netip.AddrPort, message []byte), esp, icmp func(packet []byte)) {
	done := make(chan struct{})
	loops := 0
	start := func(loop func()) {
		loops++
		go func() { loop(); done <- struct{}{} }()
	}
	for i, c := range s.ike {
		if c == nil {
			continue
		}
		start(func() { receiveUDP(c, uint16([]int{portIKE, portNATT}[i%2]), punt, esp) })
	}
	for i := range s.esp {
		if c := s.esp[i]; c != nil {
			start(func() { receiveIP(c, packet.ESP, esp) })
		}
		if c := s.icmp[i]; c != nil {
			start(func() { receiveIP(c, packet.ICMPv6, icmp) })
		}
	}
	for range loops {
		<-done
	}
}

func receiveUDP(c *net.UDPConn, port uint16, punt func(local, remote netip.AddrPort, message []byte), esp func([]byte)) {
	space, oob := make([]byte, outerSpace+1<<16), make([]byte, 128)
	buf := space[outerSpace:]
	for {
		n, noob, _, remote, err := c.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for something we sent: IKE has its own timers
		}
		local := netip.AddrPortFrom(destination(oob[:noob]), port)
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
		data := buf[:n]
		switch {
		case !local.Addr().IsValid():
		case port == portIKE:
			punt(local, remote, data)
		case n == 1 && data[0] == 0xff: // NAT keepalive (RFC 3948 §2.3)
		case n >= 4 && binary.BigEndian.Uint32(data) == 0:
			punt(local, remote, data[4:])
		default:
			esp(outerUDP(space, remote, local, n))
		}
	}
}

// receiveIP reads packets of a raw socket. Those of IPv4 deliver the IP header,
// those of IPv6 do not (raw(7), RFC 3542 §3): it is put back, with protocol.
func receiveIP(c *net.IPConn, protocol uint8, take func([]byte)) {
	space, oob := make([]byte, outerSpace+1<<16), make([]byte, 128)
	buf := space[outerSpace:]
	for {
		n, noob, _, remote, err := c.ReadMsgIP(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue
		}
		if src, ok := netip.AddrFromSlice(remote.IP); ok && !src.Unmap().Is4() {
			if dst := destination(oob[:noob]); dst.Is6() {
				take(outerIPv6(space, src, dst, protocol, n))
			}
			continue
		}
		take(buf[:n])
	}
}

// destination reads the local address out of IP_PKTINFO or IPV6_PKTINFO.
func destination(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			return netip.AddrFrom4([4]byte(m.Data[8:12])) // ipi_addr, behind ifindex and spec_dst
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			return netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	return netip.Addr{}
}

// outerSpace is the room before a received payload for the headers that the
// socket took off.
const outerSpace = packet.IPv6Len + packet.UDPLen

// outerUDP puts back the headers before the n bytes of payload at outerSpace.
func outerUDP(space []byte, from, to netip.AddrPort, n int) []byte {
	headers := packet.IPv4Len + packet.UDPLen
	if to.Addr().Is6() {
		headers = packet.IPv6Len + packet.UDPLen
	}
	b := space[outerSpace-headers : outerSpace+n]
	return b[:packet.PutUDP(b, from, to, false, b[headers:], 0)]
}

// outerIPv6 puts back the header before the n bytes of payload at outerSpace.
func outerIPv6(space []byte, src, dst netip.Addr, protocol uint8, n int) []byte {
	b := space[outerSpace-packet.IPv6Len : outerSpace+n]
	clear(b[:packet.IPv6Len])
	b[0], b[6], b[7] = 0x60, protocol, packet.DefaultTTL
	binary.BigEndian.PutUint16(b[4:], uint16(n))
	from, to := src.As16(), dst.As16()
	copy(b[8:], from[:])
	copy(b[24:], to[:])
	return b
}
