package datapath

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// openICMP opens the sockets that get copies of the ICMP errors that say that a
// packet was too big; others the kernel keeps from them.
func (s *Sockets) openICMP() error {
	lc := net.ListenConfig{Control: s.prepare}
	for i, network := range []string{"ip4:icmp", "ip6:ipv6-icmp"} {
		c, err := lc.ListenPacket(context.Background(), network, "")
		if noIPv6(network, err) {
			continue
		}
		if err == nil {
			s.icmp[i] = c.(*net.IPConn)
			err = onlyTooBig(s.icmp[i], isIPv6(network))
		}
		if err != nil {
			return fmt.Errorf("open raw ICMP socket: %w", err)
		}
	}
	return nil
}

// ICMP types that tell of an MTU (RFC 792, RFC 4443 §3.2).
const (
	icmpUnreachable = 3
	icmpv6TooBig    = 2
)

// onlyTooBig sets the filter by type (raw(7), RFC 3542 §3.2); a bit that is set
// blocks.
func onlyTooBig(c *net.IPConn, v6 bool) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) {
		if !v6 {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_RAW, unix.ICMP_FILTER, ^(1 << icmpUnreachable))
			return
		}
		var f unix.ICMPv6Filter
		for i := range f.Data {
			f.Data[i] = ^uint32(0)
		}
		f.Data[0] &^= 1 << icmpv6TooBig
		failed = unix.SetsockoptICMPv6Filter(int(fd), unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &f)
	})
	if err != nil {
		return err
	}
	return failed
}

// Path is what an ICMP error changed.
type Path struct {
	Conn, Child  string
	Remote, From netip.Addr
	Path, Inner  int // bytes of the longest outer and inner packet
}

// Unreachable takes an ICMP error. If one of the SAs did send the packet that it
// quotes, the tunnel is as narrow as it says from now on (RFC 4301 §8.2): who cannot
// see that traffic cannot name its SPI and sequence number.
func (s *Server) Unreachable(ip []byte) (told Path, ok bool) {
	var h packet.Header
	if h.ParseIP(ip) != packet.Pass {
		return Path{}, false
	}
	q, ok := packet.ParseQuote(ip, &h, portNATT)
	if !ok || !q.TooBig {
		return Path{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, out := range s.sends[sadb.SPI(q.SPI)] {
		if !out.Learn(&q) {
			continue
		}
		out.held.learned = time.Now().UnixNano()
		s.remeasure(out)
		return Path{out.held.sa.Conn, out.held.sa.Child, q.Dst, q.From, out.PathMTU(), out.held.width}, true
	}
	return Path{}, false
}

func (s *Server) unindex(out *outboundSA) {
	spi := out.held.sa.SPI
	s.sends[spi] = slices.DeleteFunc(s.sends[spi], func(o *outboundSA) bool { return o == out })
	if len(s.sends[spi]) == 0 {
		delete(s.sends, spi)
	}
}

func (s *Server) remeasure(out *outboundSA) {
	s.unmeasure(out)
	s.measure(out)
	_ = s.fitMTU() // Refresh tries again, and tells
}

// pathAge is when a path is tried again at full length: RFC 1191 §6.3 asks for ten
// minutes after the last decrease.
const pathAge = 10 * time.Minute

// ForgetPaths takes back what ICMP said long ago. Calling it once a second is
// enough, and costs the workers nothing.
func (s *Server) ForgetPaths(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, out := range s.out {
		if at := out.held.learned; at != 0 && now.UnixNano()-at >= int64(pathAge) {
			out.held.learned = 0
			out.SetPathMTU(int(out.held.sa.PathMTU))
			s.remeasure(out)
		}
	}
}
