package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

// Kind is what a history is about.
type Kind uint8

const (
	Calm     Kind = iota // rekeys and collisions over a bad network: not one packet may be refused
	Storm                // everything at once: it must heal
	Recovery             // reboots and lost state, invalid_spi_recovery on: it must heal fast
	Still                // no mischief, no loss: a reboot, and the outage is measured
)

func (k Kind) String() string { return [...]string{"calm", "storm", "recovery", "still"}[k] }

// plan is what a seed says about a history before it begins.
type plan struct {
	kind        Kind
	version     int // of IKE
	aggressive  bool
	gateways    int
	latency     time.Duration
	slow        time.Duration // the data path needs that long to install an SA, at most
	childLife   time.Duration
	ikeLife     time.Duration
	dpd         session.DPD
	startNow    bool
	recovery    bool
	crashTokens bool
	nat         bool
	pfs         bool
	hybrid      bool // ML-KEM in every handshake and rekey
	messageIDs  uint32
	ike, esp    suite.Proposal
	quiet       int  // which end of every link sends nothing, -1 for none
	changed     bool // the operator edited the configuration
}

// draw makes the plan of a seed. Every fourth is about IKEv1, unless a version is
// asked for.
func draw(rnd *rand.Rand, o Options) plan {
	seed := o.Seed
	p := plan{
		kind:        [...]Kind{Calm, Storm, Recovery, Storm, Still}[seed%5],
		version:     o.Version,
		gateways:    2,
		latency:     time.Duration(1+rnd.IntN(40)) * time.Millisecond,
		childLife:   time.Duration(30+rnd.IntN(60)) * time.Second,
		ikeLife:     time.Duration(60+rnd.IntN(120)) * time.Second,
		dpd:         session.DPD{Mode: session.DPDMode(rnd.IntN(2)), Interval: 10 * time.Second, Retry: 2 * time.Second, Tries: 5},
		startNow:    rnd.IntN(2) == 0,
		crashTokens: rnd.IntN(2) == 0,
		pfs:         rnd.IntN(16) == 0,
	}
	p.ike = must(suite.ParseIKE("aes128gcm16-prfsha256-x25519"))
	p.esp = must(suite.ParseESP("aes128gcm16"))
	if p.pfs {
		p.esp = must(suite.ParseESP("aes128gcm16-x25519"))
	}
	if p.hybrid = seed/5%4 == 3; p.hybrid {
		p.ike = must(suite.ParseIKE("aes128gcm16-prfsha256-x25519-ke1_mlkem768"))
		p.esp = must(suite.ParseESP("aes128gcm16-x25519-ke1_mlkem768"))
	}
	if seed/5%8 == 1 {
		p.messageIDs = 24
	}
	if rnd.IntN(2) == 0 {
		p.slow = time.Duration(rnd.IntN(80)) * time.Millisecond
	}
	if rnd.IntN(8) == 0 {
		p.gateways = 3 + rnd.IntN(2)
	}
	switch p.kind {
	case Calm, Storm:
		p.recovery = rnd.IntN(2) == 0
		if p.nat = rnd.IntN(4) == 0 || o.NAT; p.nat {
			p.childLife += 2 * time.Minute
		}
	case Recovery:
		p.recovery = true
	case Still:
		p.recovery = true
		p.childLife, p.ikeLife = time.Hour, 4*time.Hour
	}
	if p.quiet = -1; !p.nat && rnd.IntN(4) == 0 {
		p.quiet = rnd.IntN(2)
	}
	if p.version == 0 {
		p.version = 2
		if seed/5%4 == 0 {
			p.version = 1
		}
	}
	if p.version == 1 {
		p.useV1(rnd)
	}
	return p
}

// useV1 leaves out what IKEv1 does not have.
func (p *plan) useV1(rnd *rand.Rand) {
	p.aggressive, p.crashTokens, p.hybrid, p.messageIDs = rnd.IntN(3) == 0, false, false, 0
	p.ike, p.esp = must(suite.ParseIKE("aes128-sha256-ecp256")), must(suite.ParseESP("aes128gcm16"))
	if p.pfs {
		p.esp = must(suite.ParseESP("aes128gcm16-ecp256"))
	}
}

func (p plan) String() string {
	mode := map[bool]string{false: "", true: " aggressive"}[p.aggressive]
	return fmt.Sprintf("%v, IKEv%d%s, %d gateways, latency %v, install %v, lives %v and %v, DPD %v, start now %t, recovery %t, crash tokens %t, NAT %t, PFS %t, hybrid %t, message ids %d, quiet end %d",
		p.kind, p.version, mode, p.gateways, p.latency, p.slow, p.childLife, p.ikeLife, p.dpd.Mode, p.startNow, p.recovery, p.crashTokens, p.nat, p.pfs, p.hybrid, p.messageIDs, p.quiet)
}

// detection is how long a dead peer stays unnoticed while there is traffic.
func (p *plan) detection() time.Duration {
	return p.dpd.Interval + p.dpd.Retry*time.Duration(p.dpd.Tries)
}

// connection is one end of a link as the gateway is configured.
func (p *plan) connection(l *link, g *gateway) session.Connection {
	peer := l.ends[1-l.end(g)]
	c := session.Connection{
		Name: l.name, Version: p.version, PSK: session.Secret("a shared secret"),
		Local:  session.Endpoint{Addresses: []netip.Addr{g.addr}, ID: identity(g.addr)},
		Remote: session.Endpoint{Addresses: []netip.Addr{peer.addr}, ID: identity(peer.addr)},
		IKE:    []suite.Proposal{p.ike},
		DPD:    p.dpd, InvalidSPIRecovery: p.recovery, Lifetime: p.ikeLife,
	}
	c.V1.Aggressive = p.aggressive
	if p.startNow {
		c.Start = session.StartNow
	}
	if peer.nat.public.IsValid() {
		// Nobody reaches through a NAT who was not called first.
		c.Remote.Addresses, c.Start = []netip.Addr{peer.nat.public}, session.StartNever
	}
	c.Children = []session.Child{{
		Name: "lan", Local: only(g.host), Remote: only(peer.host), ESP: []suite.Proposal{p.esp},
		Lifetime: sadb.Lifetime{Time: p.childLife}, ReplayWindow: 64,
	}}
	if p.changed {
		c.Children[0].ReplayWindow = 128
	}
	return c
}

func only(a netip.Addr) []sadb.Selector {
	return []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(a, a.BitLen()))}
}

func identity(a netip.Addr) session.Identity {
	return session.Identity{Type: session.IDIPv4, Data: a.AsSlice()}
}

func must(p suite.Proposal, err error) suite.Proposal {
	if err != nil {
		panic(err)
	}
	return p
}
