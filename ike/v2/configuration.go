package v2

import (
	"log/slog"
	"net/netip"
	"slices"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// inside is what the configuration payload of IKE_AUTH settled (RFC 7296
// §2.19). It belongs to the IKE SA and goes over to its successors.
type inside struct {
	leased  []netip.Addr   // to the peer, from our pool
	ours    []netip.Addr   // given to us by the peer
	dns     []netip.Addr   // that came with them
	subnets []netip.Prefix // likewise: what is behind the peer
}

const (
	// maxInside bounds what a peer can make us put on this host.
	maxInside = 8
	// maxHints bounds what else it can make us remember.
	maxHints = 64
)

// configRequest asks for an inside address of each family, and for what goes
// with it (RFC 7296 §3.15.1).
func (s *SA) configRequest() []wire.Payload {
	if !s.conn.VirtualIP {
		return nil
	}
	request := wire.CP{Type: wire.ConfigRequest}
	wish := []wire.ConfigAttributeType{wire.ConfigIP4Address, wire.ConfigIP4DNS, wire.ConfigIP4Subnet}
	if !s.conn.Translate { // which is IPv4's alone
		wish = append(wish, wire.ConfigIP6Address, wire.ConfigIP6DNS, wire.ConfigIP6Subnet)
	}
	for _, t := range wish {
		request.Attributes = append(request.Attributes, wire.ConfigAttribute{Type: t})
	}
	return []wire.Payload{request}
}

// takeConfiguration puts the addresses that the peer assigns on this host. What
// cannot be read is as if it had not been sent.
func (s *SA) takeConfiguration(m wire.Message) {
	reply, ok := wire.Find[wire.CP](m.Payloads)
	if !ok || !s.conn.VirtualIP || reply.Type != wire.ConfigReply {
		return
	}
	for _, a := range reply.Attributes {
		switch a.Type {
		case wire.ConfigIP4Address, wire.ConfigIP6Address:
			p, err := a.Prefix()
			if err == nil && assignable(p.Addr()) && len(s.inside.ours) < maxInside && !slices.Contains(s.inside.ours, p.Addr()) {
				s.inside.ours = append(s.inside.ours, p.Addr())
			}
		case wire.ConfigIP4DNS, wire.ConfigIP6DNS:
			if d, err := a.Addr(); err == nil && d.IsValid() && len(s.inside.dns) < maxHints {
				s.inside.dns = append(s.inside.dns, d)
			}
		case wire.ConfigIP4Subnet, wire.ConfigIP6Subnet:
			if p, err := a.Prefix(); err == nil && p.IsValid() && len(s.inside.subnets) < maxHints {
				s.inside.subnets = append(s.inside.subnets, p.Masked())
			}
		}
	}
	if len(s.inside.ours) == 0 {
		return
	}
	for _, a := range s.inside.ours {
		if s.conn.OwnsAssigned() {
			s.env.Assigned.Add(s.env.Out, a)
		}
	}
	s.audit(slog.LevelInfo, "inside address assigned", slog.Any("address", s.inside.ours),
		slog.Any("dns", s.inside.dns), slog.Any("subnets", s.inside.subnets))
}

// assignable refuses what would do harm on an interface.
func assignable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.Is4In6()
}

// configReply leases inside addresses to a peer that asks for them. A notify
// instead says why it gets none: RFC 7296 §3.10.1, INTERNAL_ADDRESS_FAILURE.
func (s *SA) configReply(payloads []wire.Payload) ([]wire.Payload, *wire.Notify) {
	request, ok := wire.Find[wire.CP](payloads)
	if !ok || request.Type != wire.ConfigRequest || s.conn.Pool == nil {
		return nil, nil
	}
	asked := false
	for _, four := range []bool{true, false} {
		want, ok := wanted(request, four)
		if !ok {
			continue
		}
		asked = true
		if a, ok := s.env.Leases.Take(s.conn.Name, s.conn.Pool, s.peerID.String(), want, four); ok {
			s.inside.leased = append(s.inside.leased, a)
		}
	}
	if asked && len(s.inside.leased) == 0 {
		return nil, &wire.Notify{Type: wire.NotifyInternalAddressFailure}
	}
	if asked {
		s.audit(slog.LevelInfo, "inside address leased", slog.Any("address", s.inside.leased))
	}
	return []wire.Payload{s.composeReply()}, nil
}

// wanted is the address of one family that a client asks for: zero leaves the
// choice to us. A client that names several gets one.
func wanted(request wire.CP, four bool) (netip.Addr, bool) {
	t := wire.ConfigIP6Address
	if four {
		t = wire.ConfigIP4Address
	}
	for _, a := range request.Attributes {
		if a.Type == t {
			p, _ := a.Prefix()
			return p.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// composeReply says what the peer got and what goes with it: only what is of a
// family that it got an address of.
func (s *SA) composeReply() wire.CP {
	reply := wire.CP{Type: wire.ConfigReply}
	has := func(four bool) bool {
		return slices.ContainsFunc(s.inside.leased, func(a netip.Addr) bool { return a.Is4() == four })
	}
	for _, a := range s.inside.leased {
		reply.Attributes = append(reply.Attributes, wire.ConfigAddress(netip.PrefixFrom(a, a.BitLen())))
	}
	for _, a := range s.conn.Pool.DNS {
		if has(a.Is4()) {
			reply.Attributes = append(reply.Attributes, wire.ConfigDNS(a))
		}
	}
	for _, p := range s.conn.Pool.Subnets {
		if has(p.Addr().Is4()) {
			reply.Attributes = append(reply.Attributes, wire.ConfigSubnet(p))
		}
	}
	return reply
}

// giveBack frees the peer's inside addresses and takes ours off this host.
func (s *SA) giveBack() {
	for _, a := range s.inside.leased {
		s.env.Leases.Release(a)
	}
	for _, a := range s.inside.ours {
		if s.conn.OwnsAssigned() {
			s.env.Assigned.Remove(s.env.Out, a)
		}
	}
	s.inside = inside{}
}

// localOf and remoteOf are a child's selectors, with the inside address in the
// place of what the configuration leaves open, or hides behind it.
func (s *SA) localOf(conf *session.Child) []sadb.Selector {
	switch {
	case s.conn.Hides(conf):
		return hostSelectors(s.inside.ours[:min(1, len(s.inside.ours))])
	case len(conf.Local) > 0:
		return conf.Local
	}
	return hostSelectors(s.inside.ours)
}

func (s *SA) remoteOf(conf *session.Child) []sadb.Selector {
	if len(conf.Remote) > 0 {
		return conf.Remote
	}
	return hostSelectors(s.inside.leased)
}

func hostSelectors(addrs []netip.Addr) []sadb.Selector {
	list := make([]sadb.Selector, len(addrs))
	for i, a := range addrs {
		list[i] = sadb.PrefixSelector(netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// anywhere is what a client asks for that does not know its inside address yet:
// RFC 7296 §2.19, the responder narrows it to what it assigns.
func anywhere(remote []sadb.Selector) (list []sadb.Selector) {
	for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		if slices.ContainsFunc(remote, func(r sadb.Selector) bool { return r.First.Is4() == all.Addr().Is4() }) {
			list = append(list, sadb.PrefixSelector(all))
		}
	}
	return list
}

// Leases are the inside addresses of this IKE SA as an operator sees them.
func (s *SA) Leases() (list []session.LeaseStatus) {
	for _, a := range s.inside.leased {
		list = append(list, session.LeaseStatus{Conn: s.conn.Name, Peer: s.peerID.Shown(), Remote: s.remote, Address: a,
			DNS: s.conn.Pool.DNS, Subnets: s.conn.Pool.Subnets})
	}
	for _, a := range s.inside.ours {
		list = append(list, session.LeaseStatus{Conn: s.conn.Name, Peer: s.peerID.Shown(), Remote: s.remote, Address: a, Ours: true,
			DNS: s.inside.dns, Subnets: s.inside.subnets})
	}
	return list
}
