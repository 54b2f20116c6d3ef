package ike

import (
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/v2"
	"spindle/sadb"
)

// After a failure a connection is left alone for firstHold, and twice as long
// after each further one, up to longestHold. Traffic in between waits or drops.
const (
	firstHold   = time.Second
	longestHold = 32 * time.Second
	ikePort     = 500
)

// hold keeps us from negotiating in vain.
type hold struct {
	failures int // since it last came up
	until    time.Time
}

// connection is one entry of the configuration and what became of it.
type connection struct {
	conf     *session.Connection
	position int        // of its first child among all children
	sas      []*machine // oldest first
	next     int        // which remote address is tried next

	lastError   string
	lastErrorAt time.Time
	holds       map[string]hold // by child, "" for the IKE SA
	wantUp      bool            // start: now, and not taken down by the operator
	retry       *timer
}

// configure replaces the configuration. A connection that is the same as
// before keeps its IKE SAs; one that is gone or changed loses them.
func (e *Engine) configure(now time.Time, conns []session.Connection) {
	old := e.byName
	e.connections, e.fromAny = nil, nil
	e.byName = make(map[string]*connection)
	e.byAddress = make(map[netip.Addr][]*connection)
	kept := make(map[string]bool)
	for _, conf := range conns {
		before := old[conf.Name]
		kept[conf.Name] = before != nil && reflect.DeepEqual(*before.conf, conf)
	}
	for _, name := range sortedNames(old) {
		if !kept[name] {
			e.drop(now, old[name])
		}
	}
	position := 0
	for i := range conns {
		c := old[conns[i].Name]
		if !kept[conns[i].Name] {
			c = e.newConnection(&conns[i])
		}
		e.index(c, position)
		position += len(c.conf.Children)
		if !kept[c.conf.Name] && c.wantUp {
			e.bringUp(now, c)
		}
	}
}

func sortedNames(conns map[string]*connection) []string {
	list := make([]string, 0, len(conns))
	for name := range conns {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func (e *Engine) newConnection(conf *session.Connection) *connection {
	c := &connection{conf: conf, wantUp: conf.Start == session.StartNow, holds: make(map[string]hold)}
	c.retry = e.timers.add(func(now time.Time) {
		if c.wantUp {
			e.bringUp(now, c)
		}
	})
	return c
}

// index makes a connection findable and its policies stand.
func (e *Engine) index(c *connection, position int) {
	c.position = position
	e.connections = append(e.connections, c)
	e.byName[c.conf.Name] = c
	for _, addr := range c.conf.Remote.Addresses {
		e.byAddress[addr] = append(e.byAddress[addr], c)
	}
	if len(c.conf.Remote.Addresses) == 0 {
		e.fromAny = append(e.fromAny, c)
	}
	for i := range c.conf.Children {
		e.spd.Configure(&e.out, c.conf, &c.conf.Children[i], position+i)
	}
}

// drop takes away a connection that is gone or changed.
func (e *Engine) drop(now time.Time, c *connection) {
	c.wantUp = false
	for _, m := range slices.Clone(c.sas) {
		m.Shutdown(now)
		e.sync(now, m)
	}
	e.timers.set(c.retry, time.Time{})
	e.spd.Remove(&e.out, c.conf.Name)
}

// bringUp negotiates every child of a connection.
func (e *Engine) bringUp(now time.Time, c *connection) {
	for i := range c.conf.Children {
		e.want(now, c, &c.conf.Children[i], sadb.Flow{})
	}
}

// want negotiates one child SA, over the IKE SA that stands or a new one.
func (e *Engine) want(now time.Time, c *connection, child *session.Child, flow sadb.Flow) {
	if now.Before(c.holds[""].until) || now.Before(c.holds[child.Name].until) {
		return
	}
	if m := c.usable(); m != nil {
		m.Want(now, child, flow)
		e.sync(now, m)
		return
	}
	local, remote, reason := c.endpoints()
	if reason == "" && (len(c.conf.IKE) == 0 || len(child.ESP) == 0) {
		reason = "no proposals (configuration keys: ike, children.esp)"
	}
	if reason != "" {
		e.out.Audit(slog.LevelWarn, "negotiation failed", slog.String("conn", c.conf.Name), slog.String("reason", reason))
		host{e}.Failed(now, c.conf.Name, "", reason)
		return
	}
	sa := v2.Initiate(e.env, now, c.conf, local, remote, child, flow)
	m := e.add(now, sa)
	e.sync(now, m)
}

// usable is the IKE SA over which child SAs are negotiated: the newest.
func (c *connection) usable() *machine {
	for _, m := range slices.Backward(c.sas) {
		if s := m.State(); s == v2.InitSent || s == v2.AuthSent || s == v2.Established {
			return m
		}
	}
	return nil
}

// endpoints chooses where to negotiate from and to, or says why that cannot be.
func (c *connection) endpoints() (local, remote netip.AddrPort, reason string) {
	switch {
	case c.conf.Version != 2:
		return local, remote, "IKE version 1 is not implemented"
	case len(c.conf.Remote.Addresses) == 0:
		return local, remote, "remote.addresses is any: only the peer can start"
	case len(c.conf.Local.Addresses) == 0:
		return local, remote, "local.address is not set: it is needed to start a negotiation"
	}
	peers := c.conf.Remote.Addresses
	return netip.AddrPortFrom(c.conf.Local.Addresses[0], ikePort),
		netip.AddrPortFrom(peers[c.next%len(peers)], ikePort), ""
}

// acquire answers the first packet of a policy.
func (e *Engine) acquire(now time.Time, in session.Acquire) {
	b, ok := e.spd.Lookup(in.Policy)
	if !ok {
		return
	}
	c := e.byName[b.Policy.Conn]
	if c == nil || c.conf.Start == session.StartNever {
		return
	}
	if child := c.child(b.Policy.Child); child != nil {
		e.want(now, c, child, in.Flow)
	}
}

func (c *connection) child(name string) *session.Child {
	for i := range c.conf.Children {
		if c.conf.Children[i].Name == name {
			return &c.conf.Children[i]
		}
	}
	return nil
}

// initiate is the operator's up: it does not wait for a hold to pass.
func (e *Engine) initiate(now time.Time, in session.Initiate) {
	c := e.byName[in.Conn]
	if c == nil {
		e.out.Audit(slog.LevelWarn, "no such connection", slog.String("conn", in.Conn))
		return
	}
	clear(c.holds)
	if in.Child == "" {
		c.wantUp = c.conf.Start == session.StartNow
		e.bringUp(now, c)
		return
	}
	child := c.child(in.Child)
	if child == nil {
		e.out.Audit(slog.LevelWarn, "no such child", slog.String("conn", in.Conn), slog.String("child", in.Child))
		return
	}
	e.want(now, c, child, sadb.Flow{})
}

// terminate is the operator's down. A connection with start: now stays down
// until the next up; one with start: traffic comes back with the next packet.
func (e *Engine) terminate(now time.Time, in session.Terminate) {
	c := e.byName[in.Conn]
	if c == nil {
		e.out.Audit(slog.LevelWarn, "no such connection", slog.String("conn", in.Conn))
		return
	}
	if in.Child == "" {
		c.wantUp = false
	}
	for _, m := range slices.Clone(c.sas) {
		m.Terminate(now, in.Child)
		e.sync(now, m)
	}
}

// Failed notes why what we negotiated is not up, and holds it back. After a
// failed IKE SA the next peer address is tried.
func (h host) Failed(now time.Time, conn, child, reason string) {
	c := h.byName[conn]
	if c == nil {
		return
	}
	c.lastError, c.lastErrorAt = reason, now
	was := c.holds[child]
	c.holds[child] = hold{was.failures + 1, now.Add(min(firstHold<<min(was.failures, 10), longestHold))}
	if child == "" {
		c.next++
	}
	h.startAgain(now, c)
}

// Refused notes why a peer was refused. What a stranger does must not hold us back.
func (h host) Refused(now time.Time, conn, reason string) {
	if c := h.byName[conn]; c != nil {
		c.lastError, c.lastErrorAt = reason, now
	}
}

// Up forgets the failures of before.
func (h host) Up(conn, child string) {
	if c := h.byName[conn]; c != nil {
		delete(c.holds, "")
		delete(c.holds, child)
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
	e.timers.set(c.retry, at)
}
