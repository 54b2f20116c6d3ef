package datapath

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"spindle/sadb/keysock"
)

// OuterAddresses are the unicast addresses on the outside ports, in the order of
// the configuration and, on a port, of the kernel: those by which this host can
// be reached from there. Link-local ones reach no further than the link.
func OuterAddresses(links []Link) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, l := range links {
		if !l.Outside {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			return nil, fmt.Errorf("addresses of port %s: %w", l.Name, err)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				addr, _ := netip.AddrFromSlice(n.IP)
				if addr = addr.Unmap(); addr.IsGlobalUnicast() {
					list = append(list, addr)
				}
			}
		}
	}
	return list, nil
}

// Keepalive sends a NAT keepalive, unless a packet on one of the SA pairs has
// kept the mapping alive already (T3).
func (s *Server) Keepalive(m keysock.Keepalive) {
	if !s.quiet(m) {
		return
	}
	_ = s.SendKeepalive(m.Local, m.Remote) // an error is the network's: the next one is due soon
}

func (s *Server) quiet(m keysock.Keepalive) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pair := range m.Pairs {
		if out := s.out[pair]; out != nil && time.Since(time.Unix(0, out.Usage().LastUsed)) < m.Quiet {
			return false
		}
	}
	return true
}
