package v1

import (
	"net/netip"
	"time"

	"spindle/ike/session"
)

// Status is the ISAKMP SA as an operator sees it.
func (s *SA) Status(now time.Time) session.IKEStatus {
	st := session.IKEStatus{
		Version: 1, Exchange: map[bool]string{false: "main", true: "aggressive"}[s.aggressive], State: s.state.String(), Initiator: s.initiator,
		Local: s.local, Remote: s.remote, RemoteID: s.peerID.Shown(),
		SPIi: uint64(s.spiI), SPIr: uint64(s.spiR),
		NATLocal: s.natLocal, NATRemote: s.natRemote,
		Age: now.Sub(s.created), RekeyIn: session.Until(now, s.softAt), DPD: s.dpd.Status(),
	}
	st.DPD.Rejected = s.queries.ignored
	if s.keys != nil {
		st.Suite = s.suite.Proposal.String()
	}
	if s.conn != nil {
		st.Conn, st.LocalID = s.conn.Name, s.conn.Local.ID.Shown()
	}
	return st
}

// Leases are the inner addresses of this ISAKMP SA as an operator sees them.
func (s *SA) Leases() []session.LeaseStatus {
	l := session.LeaseStatus{Remote: s.remote, Peer: s.peerID.Shown(), Address: s.config.addr}
	switch {
	case s.config.leased:
		p := s.conn.Pool
		l.Conn, l.DNS, l.Subnets, l.WINS, l.Domain, l.Banner = s.conn.Name, p.DNS, p.Subnets, p.WINS, p.Domain, p.Banner
	case s.config.told:
		c := &s.config
		l.Conn, l.Ours, l.DNS, l.Subnets, l.WINS, l.Domain, l.Banner = s.conn.Name, true, c.dns, c.split, c.wins, c.domain, c.banner
	default:
		return nil
	}
	return []session.LeaseStatus{l}
}

// Children are its child SAs as an operator sees them.
func (s *SA) Children(now time.Time) []session.ChildStatus {
	var list []session.ChildStatus
	for _, c := range s.children {
		list = append(list, c.Status(now, c.state.String(), s.local, s.remote))
	}
	return list
}

// Up reports whether a child SA carries traffic.
func (s *SA) Up() bool { return s.findChild(func(c *child) bool { return c.Sends() }) != nil }

// Listed reports whether an operator is to see it.
func (s *SA) Listed() bool { return s.state != Dead }

// Carries reports whether a child SA of that name sends.
func (s *SA) Carries(name string) bool {
	return s.findChild(func(c *child) bool { return c.Conf.Name == name && c.Sends() }) != nil
}

// Retiring reports whether another one is to take its place.
func (s *SA) Retiring() bool { return s.rekeyed || s.state == Replaced || s.state == Detached }

// Readdress: an ISAKMP SA stays where it was made. If the address is gone, dead
// peer detection ends it.
func (s *SA) Readdress(time.Time, []netip.Addr) {}

// Usable reports whether child SAs are to be asked for over it.
func (s *SA) Usable() bool {
	return s.state == Opening || s.state == Authenticating || s.state == Established && !s.rekeyed
}

// Negotiating reports whether phase 1 or a new child SA is under way.
func (s *SA) Negotiating() bool {
	return s.state == Opening || s.state == HalfOpen || s.state == Authenticating || s.quick != nil && s.quick.replaces == nil
}

// SamePeer reports whether both are with one authenticated peer. Behind XAUTH that is
// the user: the identity of phase 1 may be that of a whole group, or nobody's proof.
func (s *SA) SamePeer(o *SA) bool {
	if s.conn == nil || s.conn != o.conn || s.config.user != o.config.user {
		return false
	}
	return s.config.user != "" || !s.peerID.IsZero() && s.peerID.Equal(o.peerID)
}

// Peer is what the peer has proved to be: a user, or an identity.
func (s *SA) Peer() string {
	if s.config.user != "" {
		return "user " + s.config.user
	}
	return s.peerID.Shown()
}

// ForgetAll drops everything without a word to the peer.
func (s *SA) ForgetAll(now time.Time) { s.free(now) }

// Sends reports whether a child SA sends with this SPI.
func (s *SA) Sends(spi uint32) bool {
	return s.findChild(func(c *child) bool { return uint32(c.Out) == spi && c.Sends() }) != nil
}
