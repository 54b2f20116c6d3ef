package ike

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/v2"
	"spindle/sadb"
)

// Reauthenticate opens an IKE SA from scratch beside one whose authentication is
// getting old, so that nothing is lost meanwhile, nor if it fails: make before
// break (RFC 7296 §2.8.3).
func (h hostV2) Reauthenticate(now time.Time, sa *v2.SA) {
	old := h.bySPI[sa.LocalSPI()]
	if old == nil || old.conn == nil || old.conn.renewing != nil || len(old.conn.conf.Children) == 0 {
		return
	}
	c := old.conn
	local, reason := c.localEnd(old.peer, h.addresses)
	if reason != "" {
		return
	}
	h.out.Audit(slog.LevelInfo, "authenticating again", slog.String("conn", c.conf.Name), slog.String("peer", old.peer.String()))
	c.renewed = old
	c.renewing = h.begin(now, c, local, netip.AddrPortFrom(old.peer, ikePort), firstCarried(c, old), sadb.Flow{})
}

func (h hostV2) CarriedBeside(sa *v2.SA, child string) bool {
	return slices.ContainsFunc(h.byPeer[sa.Remote().Addr()], func(m *machine) bool {
		other, ok := m.association.(*v2.SA)
		return ok && other != sa && other.SamePeer(sa) && other.Carries(child)
	})
}

// firstCarried is the child SA to bring over with IKE_AUTH.
func firstCarried(c *connection, m *machine) *session.Child {
	i := slices.IndexFunc(c.conf.Children, func(child session.Child) bool { return m.Carries(child.Name) })
	return &c.conf.Children[max(i, 0)]
}

// renewed takes leave of the old IKE SA when the new one carries all that it did.
func (e *Engine) renewed(now time.Time, m *machine) {
	c := m.conn
	if !moved(now, c, m) {
		return
	}
	old := c.renewed
	c.renewing, c.renewed = nil, nil
	if old == nil {
		return
	}
	if sa, ok := old.association.(*v2.SA); ok && sa.State() == v2.Established {
		sa.Retire(now)
		e.sync(now, old)
	}
}

// fetched hands on a CRL or OCSP response to the IKE SAs that wait for it.
func (e *Engine) fetched(now time.Time, in session.Fetched) {
	e.env.Revocations.Take(now, in)
	for _, m := range slices.Clone(e.sas) {
		if sa, ok := m.association.(*v2.SA); ok {
			sa.Fetched(now, in.URL)
			e.sync(now, m)
		}
	}
}
