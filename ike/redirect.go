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

// MayFollow counts one redirect, unless there were too many lately.
func (h hostV2) MayFollow(now time.Time, sa *v2.SA) bool {
	c := h.byName[sa.Conn().Name]
	if c == nil {
		return false
	}
	c.redirects = slices.DeleteFunc(c.redirects, func(at time.Time) bool { return now.Sub(at) >= v2.RedirectLoopPeriod })
	if len(c.redirects) >= v2.MaxRedirects {
		return false
	}
	c.redirects = append(c.redirects, now)
	return true
}

// Redirected opens an IKE SA with another gateway. One that stands goes on beside it
// and is left alone if the other gateway does not answer.
func (h hostV2) Redirected(now time.Time, sa *v2.SA, to netip.Addr, child *session.Child, flow sadb.Flow) {
	old := h.bySPI[sa.LocalSPI()]
	if old == nil || old.conn == nil || len(old.conn.conf.Children) == 0 {
		return
	}
	c := old.conn
	local, reason := c.localEnd(to, h.addresses)
	switch {
	case reason != "":
		h.out.Audit(slog.LevelWarn, "redirect not followed", slog.String("conn", c.conf.Name), slog.String("reason", reason))
	case child != nil:
		h.beginFrom(now, c, local, netip.AddrPortFrom(to, ikePort), child, flow, old.peer)
	case c.renewing == nil:
		c.renewed = old
		c.renewing = h.beginFrom(now, c, local, netip.AddrPortFrom(to, ikePort), firstCarried(c, old), sadb.Flow{}, old.peer)
	}
}

// sendOn tells the peers of a connection that stands to go where it now says.
func (e *Engine) sendOn(now time.Time, c *connection, conf *session.Connection) {
	was := c.conf.Redirect
	c.conf.Redirect, c.conf.RedirectGrace = conf.Redirect, conf.RedirectGrace
	if was == conf.Redirect {
		return
	}
	for _, m := range slices.Clone(c.sas) {
		if sa, ok := m.association.(*v2.SA); ok {
			sa.SendAway(now)
			e.sync(now, m)
		}
	}
}
