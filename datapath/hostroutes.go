package datapath

import (
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"spindle/datapath/tun"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// Refresh follows a change of this host's addresses, routes and links.
func (s *Server) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.widths)
	for _, out := range s.out {
		s.measure(out)
	}
	return errors.Join(s.setRoutes(), s.fitMTU())
}

// setRoutes leads this host's packets for protected prefixes into the tunnel
// device, from an address that the policy allows. A local prefix inside a wider
// remote one stays with the kernel's other routes.
func (s *Server) setRoutes() error {
	local := s.Routes.Table().LocalAddrs()
	routes := map[netip.Prefix]tun.Route{}
	var protected bart.Lite
	for _, id := range slices.Sorted(maps.Keys(s.policies)) {
		p := s.policies[id]
		if p.Action != sadb.Protect {
			continue
		}
		for _, prefix := range prefixes(p.Remote) {
			if r, ok := routes[prefix]; !ok || !r.Src.IsValid() {
				routes[prefix] = tun.Route{Prefix: prefix, Src: sourceFor(prefix, p.Local, local)}
				protected.Insert(prefix)
			}
		}
	}
	for _, p := range s.policies {
		for _, prefix := range prefixes(p.Local) {
			if _, ok := routes[prefix]; !ok && protected.LookupPrefix(prefix) {
				routes[prefix] = tun.Route{Prefix: prefix, Bypass: true}
			}
		}
	}
	return s.Host.SetRoutes(slices.Collect(maps.Values(routes)))
}

// HostAddress puts an inside address that a peer assigned on the tunnel device, or
// takes it away. Routes from it follow with the kernel's word of the change.
func (s *Server) HostAddress(m keysock.HostAddress) error {
	if m.Remove {
		return s.Host.RemoveAddress(m.Addr)
	}
	return s.Host.AddAddress(m.Addr)
}

// sourceFor is an address of this host that the selectors allow, if there is one.
func sourceFor(remote netip.Prefix, selectors []sadb.Selector, local []netip.Addr) netip.Addr {
	for _, a := range local {
		if a.Is4() != remote.Addr().Is4() {
			continue
		}
		for _, t := range selectors {
			if t.First.Compare(a) <= 0 && a.Compare(t.Last) <= 0 {
				return a
			}
		}
	}
	return netip.Addr{}
}

// DefaultMTU is that of the tunnel device while there is no tunnel. What it is
// too small for, the kernel fragments or refuses on our behalf.
const DefaultMTU = 1400

// leastMTU keeps IPv6 alive on the device (RFC 8200 §5).
const leastMTU = 1280

// measure notes how wide an outbound SA's tunnel is as the routes stand now. The
// widths are counted, so that a change costs the same with one SA and 100,000.
func (s *Server) measure(out *outboundSA) {
	out.held.width = 0
	if adj := s.Routes.Table().Lookup(out.Remote()); adj != nil {
		out.held.width = out.fits(adj)
	}
	if s.widths == nil {
		s.widths = map[int]int{}
	}
	s.widths[out.held.width]++
}

func (s *Server) unmeasure(out *outboundSA) {
	if s.widths[out.held.width]--; s.widths[out.held.width] == 0 {
		delete(s.widths, out.held.width)
	}
}

// fitMTU gives the tunnel device the MTU of the narrowest tunnel, so that the
// kernel fragments, or refuses with ICMP, exactly what does not fit.
func (s *Server) fitMTU() error {
	mtu := 0
	for width := range s.widths {
		if width > 0 && (mtu == 0 || width < mtu) {
			mtu = width
		}
	}
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if mtu = max(mtu, leastMTU); mtu == s.mtu {
		return nil
	}
	if err := s.Host.SetMTU(mtu); err != nil {
		return err
	}
	s.mtu = mtu
	return nil
}
