package v1

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// Mode config (draft-dukes-ike-mode-cfg-02): a client gets its inner address and
// what belongs to it. Either it asks (pull) or the server tells it (push).

// Pools hands out the inner addresses of clients.
type Pools interface {
	// Lease gives a client an address of the connection's pool, the same one
	// again if it still can.
	Lease(conn *session.Connection, client string) (netip.Addr, error)
	// Release takes it back once it was released as often as it was leased.
	Release(addr netip.Addr)
}

// config is what mode config and XAUTH gave: to us as a client, or by us.
type config struct {
	user   string
	leased bool       // addr is of our pool
	hosted bool       // addr was put on this host
	told   bool       // by the server, who need not give an address
	addr   netip.Addr // of the client
	dns    []netip.Addr
	wins   []netip.Addr
	split  []netip.Prefix // what to reach through the tunnel, empty for all
	banner string
	domain string
	wanted []wanted
}

// wanted is a child that waits for the address.
type wanted struct {
	conf *session.Child
	flow sadb.Flow
}

// wantsConfig reports whether mode config is part of coming up: a client that
// needs an address, or a server that pushes one.
func (s *SA) wantsConfig() bool {
	if s.conn == nil {
		return false
	}
	if s.initiator {
		return s.conn.V1.Config
	}
	return s.conn.Pool != nil && s.conn.V1.Push
}

// seekConfig asks for the configuration, or pushes it, or waits for a push.
func (s *SA) seekConfig(now time.Time) {
	switch {
	case s.initiator && s.conn.V1.Push:
	case s.initiator:
		s.transact(now, wire.ConfigRequest, s.configWish(), func(now time.Time, a wire.V1Attributes) {
			s.configured(now, a)
		})
	default:
		list, ok := s.grantConfig(nil)
		if !ok {
			s.fail(now, "no address is left in the pool (configuration key: pool)")
			return
		}
		s.transact(now, wire.ConfigSet, list, func(now time.Time, _ wire.V1Attributes) { s.establish(now) })
	}
}

// configWish are the attributes that a client asks for, empty. In network-extension
// mode it needs no address; servers that give nothing without one give it for nothing.
func (s *SA) configWish() (list []wire.Attribute) {
	for _, t := range []uint16{uint16(wire.ConfigIP4Address), uint16(wire.ConfigIP4Netmask), uint16(wire.ConfigIP4DNS), uint16(wire.ConfigIP4NBNS),
		wire.V1UnityBanner, wire.V1UnityDefDomain, wire.V1UnitySplit} {
		list = append(list, octets(t, nil))
	}
	return list
}

// configured takes the answer to our request, and goes on with what waited.
func (s *SA) configured(now time.Time, a wire.V1Attributes) {
	c := &s.config
	c.told = true
	c.read(a)
	if !c.addr.IsValid() && !s.conn.V1.Extend {
		s.fail(now, "peer assigns no address (mode config)")
		return
	}
	s.audit(slog.LevelInfo, "mode config taken", slog.String("address", join(valid(c.addr))), slog.String("dns", join(c.dns)),
		slog.String("wins", join(c.wins)), slog.String("domain", c.domain), slog.String("split", join(c.split)), slog.String("banner", c.banner))
	if c.addr.IsValid() && !c.hosted && !s.conn.V1.Extend && s.conn.OwnsAssigned() {
		c.hosted = true
		s.env.Assigned.Add(s.env.Out, c.addr)
	}
	waiting := c.wanted
	c.wanted = nil
	s.establish(now)
	for _, w := range waiting {
		s.Want(now, w.conf, w.flow)
	}
}

// valid is the address as a list, empty when there is none.
func valid(a netip.Addr) (list []netip.Addr) {
	if a.IsValid() {
		list = append(list, a)
	}
	return list
}

func join[T fmt.Stringer](list []T) string {
	var words []string
	for _, v := range list {
		words = append(words, v.String())
	}
	return strings.Join(words, " ")
}

// What is taken of one server.
const (
	maxHints  = 64   // addresses or networks of one kind
	maxBanner = 1024 // octets
)

// read takes what a server gives.
func (c *config) read(a wire.V1Attributes) {
	for _, at := range a.Attributes {
		addr, isAddr := netip.AddrFromSlice(at.Value)
		isAddr = isAddr && addr.Is4() && !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback()
		switch {
		case at.Type == uint16(wire.ConfigIP4Address) && isAddr:
			c.addr = addr
		case at.Type == uint16(wire.ConfigIP4DNS) && isAddr && len(c.dns) < maxHints:
			c.dns = append(c.dns, addr)
		case at.Type == uint16(wire.ConfigIP4NBNS) && isAddr && len(c.wins) < maxHints:
			c.wins = append(c.wins, addr)
		case at.Type == wire.V1UnityBanner:
			c.banner = readable(at.Value)
		case at.Type == wire.V1UnityDefDomain:
			c.domain = readable(at.Value)
		case at.Type == wire.V1UnitySplit && len(c.split) < maxHints:
			c.split = append(c.split, readSplit(at.Value)...)
		}
	}
}

// readable keeps what a server sends for people from forging lines or filling them.
func readable(text []byte) string {
	text = text[:min(len(text), maxBanner)]
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return ' '
		}
		return r
	}, string(text)))
}

// splitSize is one network of UNITY_SPLIT_INCLUDE: address, mask, and protocol
// and ports that nobody uses.
const splitSize = 14

// readSplit reads the networks; some servers leave out what follows the mask.
func readSplit(b []byte) (list []netip.Prefix) {
	size := splitSize
	if len(b)%splitSize != 0 && len(b)%8 == 0 {
		size = 8
	}
	for ; len(b) >= size; b = b[size:] {
		addr, _ := netip.AddrFromSlice(b[:4])
		if ones, ok := prefixLength(b[4:8]); ok {
			list = append(list, netip.PrefixFrom(addr, ones).Masked())
		}
	}
	return list
}

// appendSplit writes one network.
func appendSplit(dst []byte, p netip.Prefix) []byte {
	mask, _ := maskOf(sadb.PrefixSelector(p))
	dst = append(append(dst, p.Masked().Addr().AsSlice()...), mask...)
	return append(dst, make([]byte, splitSize-8)...)
}

// replyConfig answers a client's request from the pool.
func (s *SA) replyConfig(now time.Time, ask wire.V1Attributes) ([]wire.Attribute, bool) {
	if s.initiator || s.conn == nil || s.state == Authenticating {
		return nil, false
	}
	if s.conn.Pool == nil {
		return nil, true // an answer that grants nothing is one as well
	}
	list, ok := s.grantConfig(func(t uint16) bool { _, asked := ask.Find(t); return asked })
	if !ok {
		s.audit(slog.LevelWarn, "no address is left in the pool (configuration key: pool)")
	}
	return list, ok
}

// grantConfig leases an address and writes the attributes; asked is nil for all.
func (s *SA) grantConfig(asked func(t uint16) bool) (list []wire.Attribute, ok bool) {
	if !s.lease() {
		return nil, false
	}
	pool := s.conn.Pool
	give := func(t uint16, values ...[]byte) {
		for _, v := range values {
			if asked == nil || asked(t) {
				list = append(list, octets(t, v))
			}
		}
	}
	give(uint16(wire.ConfigIP4Address), s.config.addr.AsSlice())
	give(uint16(wire.ConfigIP4Netmask), []byte{255, 255, 255, 255})
	for _, a := range pool.DNS {
		give(uint16(wire.ConfigIP4DNS), a.AsSlice())
	}
	for _, a := range pool.WINS {
		give(uint16(wire.ConfigIP4NBNS), a.AsSlice())
	}
	if len(pool.Subnets) > 0 {
		var b []byte
		for _, p := range pool.Subnets {
			b = appendSplit(b, p)
		}
		give(wire.V1UnitySplit, b)
	}
	if pool.Banner != "" {
		give(wire.V1UnityBanner, []byte(pool.Banner))
	}
	if pool.Domain != "" {
		give(wire.V1UnityDefDomain, []byte(pool.Domain))
	}
	return list, true
}

// lease holds an address for the client until the ISAKMP SA is gone; one that
// replaces another keeps its address.
func (s *SA) lease() bool {
	if s.config.leased {
		return true
	}
	name := s.config.user
	if name == "" {
		name = s.peerID.String()
	}
	addr, err := s.env.Pools.Lease(s.conn, name)
	if err != nil {
		return false
	}
	s.config.addr, s.config.leased = addr, true
	return true
}

// release gives the address back. Another ISAKMP SA of the client may have it as well.
func (s *SA) release() {
	if s.config.hosted {
		s.config.hosted = false
		s.env.Assigned.Remove(s.env.Out, s.config.addr)
	}
	if !s.config.leased {
		return
	}
	s.config.leased = false
	s.env.Pools.Release(s.config.addr)
}

// pushed takes what a server sets.
func (s *SA) pushed(set wire.V1Attributes) (answer []wire.Attribute, after func(time.Time), ok bool) {
	if !s.initiator || !s.conn.V1.Config || s.state != Authenticating {
		return nil, nil, false
	}
	for _, a := range set.Attributes {
		answer = append(answer, octets(a.Type, nil)) // an ACK names what was taken
	}
	return answer, func(now time.Time) { s.configured(now, set) }, true
}

// leased makes of a child's selectors those that mode config leaves: a client's
// own side is its address, and it reaches what the server names; to a server the
// client is its address, or the network that a child of ours names and no pool
// gives away (network-extension mode).
func (s *SA) leased(list []pair) []pair {
	host := func(a netip.Addr) sadb.Selector { return sadb.PrefixSelector(netip.PrefixFrom(a, a.BitLen())) }
	switch {
	case s.initiator && s.conn.V1.Config:
		return s.assigned(list, host)
	case !s.initiator && s.conn.Pool != nil:
		var narrowed []pair
		for _, p := range list {
			if s.config.leased && p.remote.Contains(host(s.config.addr)) {
				narrowed = append(narrowed, pair{p.local, host(s.config.addr)})
			}
			if !s.conn.Pool.Overlaps(p.remote) {
				narrowed = append(narrowed, p)
			}
		}
		return narrowed
	}
	return list
}

// assigned are the pairs of a client. In network-extension mode its own side is
// what is behind it, and what it was assigned does not matter.
func (s *SA) assigned(list []pair, host func(netip.Addr) sadb.Selector) (result []pair) {
	if !s.config.addr.IsValid() && !s.conn.V1.Extend {
		return nil
	}
	add := func(p pair) {
		if !s.conn.V1.Extend {
			p.local = host(s.config.addr)
		}
		if !slices.Contains(result, p) {
			result = append(result, p)
		}
	}
	for _, p := range list {
		if len(s.config.split) == 0 && p.remote.First.Is4() {
			add(p)
		}
		for _, net := range s.config.split {
			if both, ok := p.remote.Intersect(sadb.PrefixSelector(net)); ok {
				add(pair{p.local, both})
			}
		}
	}
	return result
}

// unity is what Cisco's clients mean, and others who heard our Unity vendor ID: they
// ask for a tunnel to everywhere, and send through it what the server told them to
// (UNITY_SPLIT_INCLUDE). The SA is for the child's own side of that.
func (s *SA) unity(p pair) (*session.Child, pair) {
	if !s.config.leased || len(s.conn.Pool.Subnets) == 0 || p.local != everywhere() {
		return nil, p
	}
	for i := range s.conn.Children {
		conf := &s.conn.Children[i]
		for _, c := range s.leased(pairs(conf)) {
			if c.remote.Contains(p.remote) {
				return conf, pair{c.local, p.remote}
			}
		}
	}
	return nil, p
}
