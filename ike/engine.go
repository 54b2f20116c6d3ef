// Package ike is the IKE engine of the control process: it finds the machine
// that an input is for, bounds what strangers can make it hold, and keeps the
// timers. It is sans-IO: no clock, no socket, no goroutine; time and events come
// in by Step, what is to be done comes out as a list of outputs whose order is
// the contract (DESIGN.md §3).
//
// It holds no protocol. IKEv2 (RFC 7296) is in v2, IKEv1 (RFC 2409) in v1.
package ike

import (
	"cmp"
	"io"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/v1"
	"spindle/ike/v2"
	"spindle/ike/wire"
	"spindle/sadb"
)

// Config is what an engine needs from its surroundings.
type Config struct {
	Rand        io.Reader      // unpredictable bytes: crypto/rand.Reader, or a seeded one in tests
	SPIs        session.SPIs   // *sadb.Allocator
	CrashSecret session.Secret // for RFC 6290: random, kept over restarts, known to nobody else; empty does without
	Trace       bool           // one debug Audit for every IKE message in and out
	TLS         session.TLS    // for EAP-TLS, nil without
	MessageIDs  uint32         // of IKEv2: an IKE SA is rekeyed after so many, 0 takes half of what there are
}

// Engine runs every IKE SA of a gateway. It is used by one goroutine.
type Engine struct {
	cfg Config
	out session.Outbox
	spd *session.SPD
	env *v2.Env
	v1  *v1.Env

	connections []*connection // in the order of the configuration
	byName      map[string]*connection
	byAddress   map[netip.Addr][]*connection // configured remote addresses
	fromAny     []*connection                // those that accept a peer from anywhere

	sas      []*machine // in the order of their creation
	bySPI    map[wire.SPI]*machine
	byInit   map[initKey]*machine // responders, by the IKE_SA_INIT request that made them
	byPeer   map[netip.Addr][]*machine
	byWho    map[who][]*machine // once they are established
	byPair   map[sadb.SPI]association
	halfOpen int

	timers  timers
	cookies cookies
	answers bucket // unprotected answers to strangers
	logs    bucket // log lines about strangers
	spis    sources

	reserved   *reserved
	recoveries bucket       // negotiations that unknown SPIs may start
	addresses  []netip.Addr // of this host's outer ports
}

// machine is an IKE SA as the engine holds it.
type machine struct {
	association
	timer    *timer
	conn     *connection
	peer     netip.Addr
	who      who // once it is established
	init     initKey
	halfOpen bool
	stood    bool   // it was Established, and what waited for that was done
	notices  bucket // INVALID_SPI that we send
}

// New returns an engine without connections: give it a ConfigChanged.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg:       cfg,
		spd:       session.NewSPD(),
		reserved:  reserve(cfg.SPIs),
		byName:    make(map[string]*connection),
		byAddress: make(map[netip.Addr][]*connection),
		bySPI:     make(map[wire.SPI]*machine),
		byInit:    make(map[initKey]*machine),
		byPeer:    make(map[netip.Addr][]*machine),
		byWho:     make(map[who][]*machine),
		byPair:    make(map[sadb.SPI]association),
		cookies:   cookies{rand: cfg.Rand},
		answers:   bucket{rate: strayRate, burst: strayBurst},
		logs:      bucket{rate: strayRate, burst: strayBurst},
		spis:      sources{seen: make(map[netip.Addr]time.Time)},

		recoveries: bucket{rate: recoveryRate, burst: recoveryBurst},
	}
	e.env = &v2.Env{Rand: cfg.Rand, SPIs: e.reserved, SPD: e.spd, Out: &e.out, Host: hostV2{host[*v2.SA]{e, 2}}, CrashSecret: cfg.CrashSecret, Trace: cfg.Trace,
		MessageIDs:  cmp.Or(cfg.MessageIDs, 1<<31),
		Revocations: session.NewRevocations(), TLS: cfg.TLS,
		Leases: session.NewLeases(), Assigned: session.Assigned{}}
	e.v1 = e.newV1()
	return e
}

// Step takes one input and returns what is to be done, in that order. Timers
// that have come fire first.
func (e *Engine) Step(now time.Time, in session.Input) []session.Output {
	e.fire(now)
	switch in := in.(type) {
	case session.Datagram:
		e.receive(now, in)
	case session.Acquire:
		e.acquire(now, in)
	case session.Expire:
		e.expire(now, in)
	case session.UnknownSPI:
		e.unknownSPI(now, in)
	case session.Silence:
		e.silence(now, in)
	case session.Moved:
		e.moved(now, in)
	case session.Forget:
		e.forget(now, in)
	case session.Clear:
		e.clear(now, in)
	case session.Trace:
		e.trace(in.On)
	case session.AddressesChanged:
		e.readdress(now, in.Addresses)
	case session.Initiate:
		e.initiate(now, in)
	case session.Terminate:
		e.terminate(now, in)
	case session.Rekey:
		e.rekey(now, in)
	case session.ConfigChanged:
		e.configure(now, in.Connections)
	case session.Fetched:
		e.fetched(now, in)
	case session.Shutdown:
		e.shutdown(now)
	}
	return e.out.Take()
}

// Deadline is when the engine wants a Tick at the latest, zero for never.
func (e *Engine) Deadline() time.Time { return e.timers.deadline() }

// fire runs the timers that have come, each at most once a step.
func (e *Engine) fire(now time.Time) {
	var due []*timer
	for t := e.timers.due(now); t != nil; t = e.timers.due(now) {
		due = append(due, t)
	}
	for _, t := range due {
		t.fire(now)
	}
}

// expire hands on what the data path saw.
func (e *Engine) expire(now time.Time, in session.Expire) {
	if sa := e.byPair[in.Pair]; sa != nil {
		sa.Expire(now, in.Pair, in.Hard, in.Cause)
		e.syncAll(now, sa)
	}
}

// silence hands on that a peer we send to has not been heard of.
func (e *Engine) silence(now time.Time, in session.Silence) {
	if sa := e.byPair[in.Pair]; sa != nil {
		sa.Silence(now, in.LastIn)
		e.syncAll(now, sa)
	}
}

// moved hands on that a peer's ESP comes from elsewhere.
func (e *Engine) moved(now time.Time, in session.Moved) {
	if sa := e.byPair[in.Pair]; sa != nil {
		sa.Moved(in.Remote)
		e.syncAll(now, sa)
	}
}

// forget drops IKE SAs as a crash would.
func (e *Engine) forget(now time.Time, in session.Forget) {
	for _, m := range slices.Clone(e.sas) {
		if in.Conn == "" || m.conn != nil && m.conn.conf.Name == in.Conn {
			m.ForgetAll(now)
			e.sync(now, m)
		}
	}
}

// readdress lets every IKE SA that can follow a change of our addresses.
func (e *Engine) readdress(now time.Time, addresses []netip.Addr) {
	first := e.addresses == nil
	e.addresses = addresses
	for _, c := range e.connections {
		if first && c.wantUp && len(c.sas) == 0 && !c.placed() {
			e.bringUp(now, c) // it waited for this
		}
	}
	for _, m := range slices.Clone(e.sas) {
		m.Readdress(now, addresses)
		e.sync(now, m)
	}
}

// shutdown deletes every IKE SA, telling the peers, and the configuration.
func (e *Engine) shutdown(now time.Time) {
	for _, m := range slices.Clone(e.sas) {
		m.Shutdown(now)
		e.sync(now, m)
	}
	for _, c := range e.connections {
		e.spd.Remove(&e.out, c.conf.Name)
		e.timers.set(c.retry, time.Time{})
		e.timers.set(c.failBackTimer, time.Time{})
	}
	e.connections, e.fromAny = nil, nil
	clear(e.byName)
	clear(e.byAddress)
}

// add takes in a new IKE SA.
func (e *Engine) add(now time.Time, sa association) *machine {
	m := &machine{association: sa, notices: bucket{rate: noticeRate, burst: noticeBurst}}
	m.timer = e.timers.add(func(now time.Time) {
		m.Tick(now)
		e.sync(now, m)
	})
	e.sas = append(e.sas, m)
	if e.addresses != nil {
		m.Readdress(now, e.addresses)
	}
	e.bySPI[sa.LocalSPI()] = m
	e.sync(now, m)
	return m
}

// sync brings the engine's indexes and timers up to what an IKE SA has become.
func (e *Engine) sync(now time.Time, m *machine) {
	if m.Gone() {
		e.remove(now, m)
		return
	}
	if half := m.HalfOpen(); half != m.halfOpen {
		m.halfOpen = half
		e.halfOpen += map[bool]int{true: 1, false: -1}[half]
	}
	if peer := m.Remote().Addr(); peer != m.peer {
		e.unindexPeer(m)
		m.peer = peer
		e.byPeer[peer] = append(e.byPeer[peer], m)
	}
	if conf := m.Conn(); m.conn == nil && conf != nil {
		if m.conn = e.byName[conf.Name]; m.conn != nil {
			m.conn.sas = append(m.conn.sas, m)
		}
	}
	if m.conn != nil && m.Established() {
		e.indexWho(m)
		e.stands(now, m)
	}
	e.timers.set(m.timer, m.Deadline())
}

// syncAll does it for the machine of an IKE SA.
func (e *Engine) syncAll(now time.Time, sa association) {
	if m := e.bySPI[sa.LocalSPI()]; m != nil && m.association == sa {
		e.sync(now, m)
	}
}

// retime wakes an IKE SA when it wants now, after another has changed it.
func (e *Engine) retime(sa association) {
	if m := e.bySPI[sa.LocalSPI()]; m != nil && m.association == sa {
		e.timers.set(m.timer, m.Deadline())
	}
}

// remove forgets an IKE SA that is dead.
func (e *Engine) remove(now time.Time, m *machine) {
	if e.bySPI[m.LocalSPI()] != m {
		return
	}
	delete(e.bySPI, m.LocalSPI())
	if e.byInit[m.init] == m {
		delete(e.byInit, m.init)
	}
	if m.halfOpen {
		e.halfOpen--
	}
	e.unindexPeer(m)
	e.unindexWho(m)
	e.timers.set(m.timer, time.Time{})
	e.sas = without(e.sas, m)
	if m.conn != nil {
		m.conn.sas = without(m.conn.sas, m)
		if len(m.conn.sas) == 0 {
			e.startAgain(now, m.conn)
		}
	}
}

// who is a peer by what it has proved to be, wherever it is.
type who struct{ conn, id string }

// indexWho makes an IKE SA findable by its peer's identity: with 100,000 peers
// INITIAL_CONTACT must not look at all of them.
func (e *Engine) indexWho(m *machine) {
	if m.who == (who{}) {
		m.who = who{m.Conn().Name, m.Peer()}
		e.byWho[m.who] = append(e.byWho[m.who], m)
	}
}

func (e *Engine) unindexWho(m *machine) {
	if m.who == (who{}) {
		return
	}
	if e.byWho[m.who] = without(e.byWho[m.who], m); len(e.byWho[m.who]) == 0 {
		delete(e.byWho, m.who)
	}
}

func (e *Engine) unindexPeer(m *machine) {
	if !m.peer.IsValid() {
		return
	}
	if e.byPeer[m.peer] = without(e.byPeer[m.peer], m); len(e.byPeer[m.peer]) == 0 {
		delete(e.byPeer, m.peer)
	}
}

func without(list []*machine, m *machine) []*machine {
	return slices.DeleteFunc(list, func(o *machine) bool { return o == m })
}
