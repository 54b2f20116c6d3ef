package ike

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/v1"
	"spindle/ike/v2"
	"spindle/ike/wire"
	"spindle/sadb"
)

// association is an SA of either version of IKE, as far as the engine treats
// both alike.
type association interface {
	LocalSPI() wire.SPI
	Conn() *session.Connection
	Remote() netip.AddrPort
	Peer() string
	Deadline() time.Time
	Tick(now time.Time)
	Receive(now time.Time, d session.Datagram, h wire.Header)
	Repeat(d session.Datagram)

	Gone() bool
	HalfOpen() bool
	Established() bool
	Usable() bool
	Retiring() bool
	Negotiating() bool
	Up() bool
	Carries(child string) bool
	Sends(spi uint32) bool
	Listed() bool
	Status(now time.Time) session.IKEStatus
	Children(now time.Time) []session.ChildStatus
	Leases() []session.LeaseStatus

	Want(now time.Time, child *session.Child, flow sadb.Flow)
	Rekey(now time.Time, child string)
	Terminate(now time.Time, child string)
	Shutdown(now time.Time)
	ForgetAll(now time.Time)
	Readdress(now time.Time, addresses []netip.Addr)
	Expire(now time.Time, pair sadb.SPI, hard bool, cause string)
	Silence(now, lastIn time.Time)
	Moved(remote netip.AddrPort)
	Doubt(now time.Time)
	InvalidSPI(now time.Time, spi sadb.SPI)
}

var (
	_ association = (*v1.SA)(nil)
	_ association = (*v2.SA)(nil)
)

func (e *Engine) newV1() *v1.Env {
	return &v1.Env{Rand: e.cfg.Rand, SPIs: e.reserved, SPD: e.spd, Out: &e.out, Host: hostV1{host[*v1.SA]{e, 1}},
		Revocations: e.env.Revocations, Pools: e.env.Leases, Assigned: e.env.Assigned, Trace: e.cfg.Trace}
}

// receiveV1 finds the ISAKMP SA of a message by the cookie that we chose.
func (e *Engine) receiveV1(now time.Time, d session.Datagram, h wire.Header) {
	for _, cookie := range []wire.SPI{h.ResponderSPI, h.InitiatorSPI} {
		if m := e.bySPI[cookie]; m != nil {
			if _, ok := m.association.(*v1.SA); ok {
				m.Receive(now, d, h)
				e.sync(now, m)
				return
			}
		}
	}
	opens := h.Exchange == wire.V1ExchangeMainMode || h.Exchange == wire.V1ExchangeAggressive
	if opens && h.ResponderSPI == 0 && h.InitiatorSPI != 0 && h.MessageID == 0 && !h.V1Encrypted() {
		e.openV1(now, d, h)
		return
	}
	// RFC 2408 §5.2: INVALID-COOKIE may be sent; nobody may believe it.
	e.stray(now, d, "no ISAKMP SA with these cookies")
}

// openV1 lets a peer open an ISAKMP SA, within limits. Main mode costs no key
// exchange until its second round trip, which proves the address; aggressive
// mode does at once, so that fewer of them may be half open.
func (e *Engine) openV1(now time.Time, d session.Datagram, h wire.Header) {
	key := keyOf(d)
	if m := e.byInit[key]; m != nil {
		m.Repeat(d)
		return
	}
	limit := v1Limit
	if h.Exchange == wire.V1ExchangeAggressive {
		limit = cookieThreshold
	}
	if e.halfOpen >= limit {
		e.stray(now, d, "too many half-open ISAKMP SAs")
		return
	}
	if e.refuseVersion(now, d, 1) {
		v1.Refuse(e.v1, now, d, h)
		return
	}
	msg, err := wire.ParseV1Message(d.Data)
	if err != nil {
		e.stray(now, d, err.Error())
		return
	}
	if sa := v1.Respond(e.v1, now, d, msg); sa != nil {
		m := e.add(now, sa)
		m.init = key
		e.byInit[key] = m
	}
}

// refuseVersion says why a peer may not use this version of IKE and reports true,
// or false when it may: the connections that have its address are all of the other one.
func (e *Engine) refuseVersion(now time.Time, d session.Datagram, version int) bool {
	var other *session.Connection
	for _, c := range e.candidates(d.Local.Addr(), d.Remote.Addr()) {
		if c.Version == version {
			return false
		}
		if other == nil {
			other = c
		}
	}
	if other == nil {
		return false
	}
	reason := fmt.Sprintf("peer speaks IKEv%d, connection %s is for IKEv%d only (configuration key: version)", version, other.Name, other.Version)
	e.refused(now, other.Name, reason)
	if e.logs.take(now) {
		e.out.Audit(slog.LevelWarn, "negotiation refused", slog.String("conn", other.Name), slog.String("peer", d.Remote.String()), slog.String("reason", reason))
	}
	return true
}

// hostV1 is the engine as its ISAKMP SAs see it.
type hostV1 struct{ host[*v1.SA] }

func (h hostV1) Alone(sa *v1.SA) bool {
	return !h.elsewhere(sa) && !slices.ContainsFunc(h.byPeer[sa.Remote().Addr()], func(m *machine) bool {
		other, ok := m.association.(*v1.SA)
		return ok && other != sa && (other.State() == v1.Established || other.State() == v1.Detached)
	})
}

// Renew starts phase 1 anew from and to where the ISAKMP SA is now.
func (h hostV1) Renew(now time.Time, sa *v1.SA) {
	c := h.byName[sa.Conn().Name]
	if c == nil || slices.ContainsFunc(c.sas, func(m *machine) bool { return m.Negotiating() && !m.HalfOpen() && !m.Established() }) {
		return
	}
	h.add(now, v1.Initiate(h.v1, now, c.conf, sa.Local(), sa.Remote(), nil, sadb.Flow{}))
}

func (h hostV1) Changed(now time.Time, sa *v1.SA) { h.syncAll(now, sa) }
