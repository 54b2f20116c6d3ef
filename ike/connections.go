package ike

import (
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/v1"
	"spindle/ike/v2"
	"spindle/sadb"
)

const ikePort = 500

// connection is one entry of the configuration and what became of it.
type connection struct {
	conf     *session.Connection
	position int        // of its first child among all children
	sas      []*machine // oldest first
	peers    session.Peers

	failBack      session.FailBack
	failBackTimer *timer
	returning     *machine // the attempt to go back to the preferred peer
	upSince       time.Time

	renewing *machine // takes the place of, after a new authentication or a redirect,
	renewed  *machine

	redirects []time.Time // when gateways sent us on lately

	lostSPIs     []sadb.SPI // that the peer sends to, to be told over the next IKE SA (V4)
	recoverAfter time.Time  // no sooner is another recovery started

	lastError   string
	lastErrorAt time.Time
	holds       map[string]hold // by child, "" for the IKE SA
	wantUp      bool            // start: now, and not taken down by the operator
	again       *session.Child  // what to negotiate with the next peer in the list
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
		kept[conf.Name] = before != nil && sameConnection(*before.conf, conf)
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
		c.resolve(conns[i].Remote.Addresses)
		e.sendOn(now, c, &conns[i])
		e.index(c, position)
		position += len(c.conf.Children)
		if !kept[c.conf.Name] && c.wantUp {
			e.bringUp(now, c)
		}
	}
}

// sameConnection compares all but what the peers' names resolve to, and where they
// are sent.
func sameConnection(a, b session.Connection) bool {
	a.Remote.Addresses, b.Remote.Addresses = nil, nil
	a.Redirect, b.Redirect = netip.Addr{}, netip.Addr{}
	a.RedirectGrace, b.RedirectGrace = 0, 0
	return reflect.DeepEqual(a, b)
}

// resolve takes the addresses that the peers' names have now.
func (c *connection) resolve(addrs []netip.Addr) {
	c.conf.Remote.Addresses = addrs
	c.peers.Set(addrs)
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
	c := &connection{conf: conf, wantUp: conf.Start == session.StartNow, holds: make(map[string]hold),
		failBack: session.FailBack{Hold: conf.FailBack}}
	c.retry = e.timers.add(func(now time.Time) { e.tryAgain(now, c) })
	c.failBackTimer = e.timers.add(func(now time.Time) { e.goBack(now, c) })
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
	if c.conf.Remote.Any() {
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
	e.timers.set(c.failBackTimer, time.Time{})
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
	if c.wantUp && e.addresses == nil && !c.placed() {
		return // until the data path says where we are
	}
	local, remote, reason := c.endpoints(e.addresses)
	c.again = child
	if reason == "" && (len(c.conf.IKE) == 0 || len(child.ESP) == 0) {
		reason = "no proposals (configuration keys: ike, children.esp)"
	}
	if reason != "" {
		e.out.Audit(slog.LevelWarn, "negotiation failed", slog.String("conn", c.conf.Name), slog.String("reason", reason))
		e.failed(now, c.conf.Name, "", reason)
		return
	}
	e.begin(now, c, local, remote, child, flow)
}

// placed reports whether the configuration says from where we negotiate.
func (c *connection) placed() bool { return len(c.conf.Local.Addresses) > 0 || c.conf.Remote.Any() }

// begin opens an IKE SA and, with it, a child SA.
func (e *Engine) begin(now time.Time, c *connection, local, remote netip.AddrPort, child *session.Child, flow sadb.Flow) *machine {
	return e.beginFrom(now, c, local, remote, child, flow, netip.Addr{})
}

// beginFrom does so after the gateway at sentBy redirected us.
func (e *Engine) beginFrom(now time.Time, c *connection, local, remote netip.AddrPort, child *session.Child, flow sadb.Flow, sentBy netip.Addr) *machine {
	var sa association
	if c.conf.Version == 1 {
		sa = v1.Initiate(e.v1, now, c.conf, local, remote, child, flow)
	} else {
		sa = v2.Initiate(e.env, now, c.conf, local, remote, child, flow, sentBy)
	}
	m := e.add(now, sa)
	e.sync(now, m)
	return m
}

// usable is the IKE SA over which child SAs are negotiated: the newest. An attempt
// to go back to the preferred peer is none before it stands: when the backup dies
// meanwhile, the next peer must not wait for it.
func (c *connection) usable() *machine {
	for _, m := range slices.Backward(c.sas) {
		if m.Usable() && (m != c.returning || m.Established()) {
			return m
		}
	}
	return nil
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

// rekey is the operator's wish for new keys.
func (e *Engine) rekey(now time.Time, in session.Rekey) {
	c := e.byName[in.Conn]
	if c == nil {
		e.out.Audit(slog.LevelWarn, "no such connection", slog.String("conn", in.Conn))
		return
	}
	for _, m := range slices.Clone(c.sas) {
		m.Rekey(now, in.Child)
		e.sync(now, m)
	}
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
