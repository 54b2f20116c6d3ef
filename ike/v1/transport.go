package v1

import (
	"net/netip"

	"spindle/ike/session"
	"spindle/sadb"
)

// matchSeen finds the child in transport mode that a peer means who names the ends
// as it sees them: a NAT in between put others in their place, and the SA is between
// those that we see (RFC 3947 §5.2: the original addresses serve the checksums,
// which the data path makes anew).
func (s *SA) matchSeen(p pair) (*session.Child, pair) {
	seen := p
	if s.natLocal && p.local.First == p.local.Last {
		seen.local = onAddress(p.local, s.local.Addr())
	}
	if s.natRemote && p.remote.First == p.remote.Last {
		seen.remote = onAddress(p.remote, s.remote.Addr())
	}
	conf := s.match(seen)
	if seen == p || conf == nil || conf.Mode != sadb.Transport {
		return nil, p
	}
	return conf, seen
}

// onAddress is the selector for the same protocol and ports of another host.
func onAddress(s sadb.Selector, a netip.Addr) sadb.Selector {
	s.First, s.Last = a, a
	return s
}
