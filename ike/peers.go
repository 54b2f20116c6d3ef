package ike

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"spindle/sadb"
)

// After a failure of every peer a connection is left alone for firstHold, and
// twice as long after each further one, up to longestHold. Traffic in between
// waits or drops. One that then holds for steady starts anew; one that keeps
// falling does not (P2).
const (
	firstHold   = time.Second
	longestHold = 32 * time.Second
	steady      = time.Minute
)

// hold keeps us from negotiating in vain.
type hold struct {
	failures int // since it was last steady
	until    time.Time
}

// endpoints chooses where to negotiate from and to, or says why that cannot be.
func (c *connection) endpoints(outer []netip.Addr) (local, remote netip.AddrPort, reason string) {
	addr, ok := c.peers.Current()
	switch {
	case c.conf.Remote.Any():
		return local, remote, "remote.addresses is any: only the peer can start"
	case !ok:
		return local, remote, fmt.Sprintf("none of the peer's names has an address now: %s (configuration key: remote.addresses)", strings.Join(c.conf.Remote.Hosts, ", "))
	}
	local, reason = c.localEnd(addr, outer)
	return local, netip.AddrPortFrom(addr, ikePort), reason
}

// localEnd is the configured address. One that is not configured, or may change
// and is not there now, is the first of the outside ports (RFC 4555: a host that
// moved while its IKE SA was lost starts anew from where it is).
func (c *connection) localEnd(remote netip.Addr, outer []netip.Addr) (netip.AddrPort, string) {
	configured := c.conf.Local.Addresses
	if len(configured) > 0 && (!c.conf.MOBIKE || slices.Contains(outer, configured[0])) {
		return netip.AddrPortFrom(configured[0], ikePort), ""
	}
	for _, a := range outer {
		if a.Is4() == remote.Is4() {
			return netip.AddrPortFrom(a, ikePort), ""
		}
	}
	if len(configured) > 0 {
		return netip.AddrPortFrom(configured[0], ikePort), ""
	}
	return netip.AddrPort{}, "local.address is not set: it is needed to start a negotiation"
}

// failed notes why what we negotiated is not up. After a failed IKE SA the next
// peer is tried at once (P1); when none is left to try, and after a failed child
// SA, the next attempt is held back.
func (e *Engine) failed(now time.Time, conn, child, reason string) {
	c := e.byName[conn]
	if c == nil {
		return
	}
	c.lastError, c.lastErrorAt = reason, now
	aside := c.settle()
	if child == "" && c.standing() != nil {
		e.planReturn(now, c)
		return
	}
	if aside && c.usable() != nil {
		return // the next peer is being negotiated with
	}
	if child == "" && c.peers.Failed() {
		next, _ := c.peers.Current()
		e.out.Audit(slog.LevelWarn, "trying the next peer", slog.String("conn", conn),
			slog.String("peer", next.String()), slog.String("reason", reason))
		if c.again != nil {
			e.timers.set(c.retry, now)
		}
		return
	}
	c.again = nil
	was := c.holds[child]
	if !c.upSince.IsZero() && now.Sub(c.upSince) >= steady {
		was.failures = 0
	}
	c.upSince = time.Time{}
	c.holds[child] = hold{was.failures + 1, now.Add(min(firstHold<<min(was.failures, 10), longestHold))}
	e.startAgain(now, c)
}

// refused notes why a peer was refused. What a stranger does must not hold us back.
func (e *Engine) refused(now time.Time, conn, reason string) {
	if c := e.byName[conn]; c != nil {
		c.lastError, c.lastErrorAt = reason, now
	}
}

// up ends the holds of a child SA that stands. How often it failed before is
// forgotten when it stays up.
func (e *Engine) up(conn, child string) {
	c := e.byName[conn]
	if c == nil {
		return
	}
	for _, name := range []string{"", child} {
		if was, ok := c.holds[name]; ok {
			c.holds[name] = hold{failures: was.failures}
		}
	}
}

// startAgain makes a connection with start: now come back, when nothing of it
// is left or a child SA of it failed.
func (e *Engine) startAgain(now time.Time, c *connection) {
	if !c.wantUp || e.byName[c.conf.Name] != c {
		return
	}
	at := now.Add(firstHold)
	for _, h := range c.holds {
		if h.until.After(at) {
			at = h.until
		}
	}
	if c.retry.at.IsZero() || at.Before(c.retry.at) {
		e.timers.set(c.retry, at)
	}
}

// tryAgain negotiates what the last attempt was for, or all of a connection that
// is to be up.
func (e *Engine) tryAgain(now time.Time, c *connection) {
	switch {
	case c.wantUp:
		e.bringUp(now, c)
	case c.again != nil:
		e.want(now, c, c.again, sadb.Flow{})
	}
}

// standing is an IKE SA of the connection that is established.
func (c *connection) standing() *machine {
	for _, m := range c.sas {
		if m.Established() {
			return m
		}
	}
	return nil
}

// stands does, once for an IKE SA, what waited for it.
func (e *Engine) stands(now time.Time, m *machine) {
	c := m.conn
	if c.returning == m {
		e.returned(now, m)
	}
	if c.renewing == m {
		e.renewed(now, m)
	}
	if m.stood {
		return
	}
	m.stood = true
	if c.upSince.IsZero() {
		c.upSince = now
	}
	if c.returning != m && c.renewing != m {
		c.peers.Worked(m.peer)
		e.planReturn(now, c)
	}
	e.tellLost(now, m)
}

// elsewhere reports whether an IKE SA of the same connection stands with another
// of its peers: on the way back to the preferred one INITIAL_CONTACT would have the
// peer drop what still carries the traffic, if they are one host.
func (e *Engine) elsewhere(sa association) bool {
	c := e.byName[sa.Conn().Name]
	return c != nil && slices.ContainsFunc(c.sas, func(m *machine) bool { return m.association != sa && m.Established() })
}

// planReturn sets when to go back to the preferred peer (P2).
func (e *Engine) planReturn(now time.Time, c *connection) {
	at := time.Time{}
	if c.failBack.Hold > 0 && !c.peers.Preferred() {
		at = now.Add(c.failBack.Wait())
	}
	e.timers.set(c.failBackTimer, at)
}

// goBack opens an IKE SA with the preferred peer beside the one that stands, so
// that nothing is lost if it does not answer.
func (e *Engine) goBack(now time.Time, c *connection) {
	first, ok := c.peers.First()
	local, reason := c.localEnd(first, e.addresses)
	if !ok || reason != "" || c.standing() == nil || c.returning != nil || len(c.conf.Children) == 0 {
		return
	}
	e.out.Audit(slog.LevelInfo, "trying the preferred peer", slog.String("conn", c.conf.Name), slog.String("peer", first.String()))
	c.returning = e.begin(now, c, local, netip.AddrPortFrom(first, ikePort), &c.conf.Children[0], sadb.Flow{})
}

// settle notes that an attempt to go back, or to authenticate again, was in vain,
// and reports whether there was one.
func (c *connection) settle() (aside bool) {
	if c.returning != nil && c.returning.Gone() {
		c.returning, aside = nil, true
		c.failBack.Failed()
	}
	if c.renewing != nil && c.renewing.Gone() {
		c.renewing, c.renewed, aside = nil, nil, true
	}
	return aside
}

// returned moves every child SA over to the preferred peer, and takes leave of
// the backup when all of them are there.
func (e *Engine) returned(now time.Time, m *machine) {
	c := m.conn
	if !moved(now, c, m) {
		return
	}
	c.returning = nil
	c.failBack.Done()
	c.peers.Worked(m.peer)
	for _, other := range append([]*machine(nil), c.sas...) {
		if other != m {
			other.Terminate(now, "")
			e.sync(now, other)
		}
	}
}

// moved negotiates over an IKE SA every child SA that others of its connection
// carry, and reports whether it carries them all.
func moved(now time.Time, c *connection, m *machine) bool {
	complete := true
	for i := range c.conf.Children {
		child := &c.conf.Children[i]
		if carriedElsewhere(c, m, child.Name) && !m.Carries(child.Name) {
			complete = false
			m.Want(now, child, sadb.Flow{})
		}
	}
	return complete
}

func carriedElsewhere(c *connection, m *machine, child string) bool {
	for _, other := range c.sas {
		if other != m && other.Carries(child) {
			return true
		}
	}
	return false
}
