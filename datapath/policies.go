package datapath

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"spindle/datapath/fib"
	"spindle/datapath/tun"
	"spindle/sadb"
)

// PolicyAdd installs or replaces an SPD entry, and steers its traffic here.
func (s *Server) PolicyAdd(p sadb.Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, replaced := s.policies[p.ID]
	for _, prefix := range remotePrefixes(p) {
		if err := s.Steering.AddPrefix(prefix); err != nil {
			return fmt.Errorf("policy of %s/%s: %w", p.Conn, p.Child, err)
		}
	}
	s.DB.AddPolicy(p)
	s.DB.Publish()
	s.Group.Rouse()
	put(&s.policies, p.ID, p)
	var errs []error
	if replaced {
		errs = append(errs, s.unsteer(old))
	}
	return errors.Join(append(errs, s.setRoutes())...)
}

// PolicyDelete removes an SPD entry.
func (s *Server) PolicyDelete(id sadb.PolicyID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deletePolicy(id)
}

func (s *Server) deletePolicy(id sadb.PolicyID) error {
	p, ok := s.policies[id]
	if !ok {
		return fmt.Errorf("delete policy %d: there is none", id)
	}
	delete(s.policies, id)
	s.DB.DeletePolicy(id)
	s.DB.Publish()
	s.Group.Rouse()
	return errors.Join(s.unsteer(p), s.setRoutes())
}

func (s *Server) unsteer(p sadb.Policy) error {
	var errs []error
	for _, prefix := range remotePrefixes(p) {
		errs = append(errs, s.Steering.DeletePrefix(prefix))
	}
	return errors.Join(errs...)
}

// remotePrefixes is where packets go that the policy governs.
func remotePrefixes(p sadb.Policy) []netip.Prefix { return prefixes(p.Remote) }

func prefixes(ts []sadb.Selector) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range ts {
		for _, prefix := range t.Prefixes() {
			if !slices.Contains(list, prefix) {
				list = append(list, prefix)
			}
		}
	}
	return list
}

// setRoutes leads this host's packets for protected prefixes into the tunnel
// device, from an address that the policy allows. A local prefix inside a wider
// remote one stays with the kernel's other routes.
func (s *Server) setRoutes() error {
	local := s.Routes.Table().LocalAddrs()
	routes := map[netip.Prefix]tun.Route{}
	for _, id := range slices.Sorted(maps.Keys(s.policies)) {
		p := s.policies[id]
		if p.Action != sadb.Protect {
			continue
		}
		for _, prefix := range remotePrefixes(p) {
			if r, ok := routes[prefix]; !ok || !r.Src.IsValid() {
				routes[prefix] = tun.Route{Prefix: prefix, Src: sourceFor(prefix, p.Local, local)}
			}
		}
	}
	protected := slices.Collect(maps.Keys(routes))
	for _, p := range s.policies {
		for _, prefix := range prefixes(p.Local) {
			inside := func(wide netip.Prefix) bool { return wide.Bits() < prefix.Bits() && wide.Overlaps(prefix) }
			if _, ok := routes[prefix]; !ok && slices.ContainsFunc(protected, inside) {
				routes[prefix] = tun.Route{Prefix: prefix, Bypass: true}
			}
		}
	}
	return s.Host.SetRoutes(slices.Collect(maps.Values(routes)))
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

// Refresh follows a change of this host's addresses and links.
func (s *Server) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.setRoutes(), s.fitMTU())
}

// DefaultMTU is that of the tunnel device while there is no tunnel. What it is
// too small for, the kernel fragments or refuses on our behalf.
const DefaultMTU = 1400

// fitMTU gives the tunnel device the MTU of the narrowest tunnel, so that the
// kernel fragments, or refuses with ICMP, exactly what does not fit.
func (s *Server) fitMTU() error {
	mtu := 0
	for _, out := range s.out {
		adj := s.Routes.Table().Lookup(out.Remote())
		if adj == nil || adj.Kind == fib.Local || adj.MTU == 0 {
			continue
		}
		if inner := out.InnerMTU(adj.MTU); mtu == 0 || inner < mtu {
			mtu = inner
		}
	}
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if mtu = max(mtu, leastMTU); mtu == s.mtu {
		return nil
	}
	s.mtu = mtu
	return s.Host.SetMTU(mtu)
}

// leastMTU keeps IPv6 alive on the device (RFC 8200 §5).
const leastMTU = 1280

// Policies lists the SPD entries there are.
func (s *Server) Policies() []sadb.PolicyID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.policies))
}
