package ladder

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/sadb"
)

// Gateway is an engine and what it made its data path hold.
type Gateway struct {
	Name     string
	Engine   *ike.Engine
	Conns    []session.Connection
	In, Out  map[sadb.SPI]sadb.SA // by pair
	Policies map[sadb.PolicyID]sadb.Policy
	Audits   []session.Audit

	spis        *countedSPIs
	crashSecret session.Secret
	unplugged   bool
	deaf        bool         // sends, but nothing reaches it
	roams       []netip.Addr // where it is now, nil: where it is configured to be
}

// countedSPIs shows whether every SPI comes back.
type countedSPIs struct {
	*sadb.Allocator
	held map[sadb.SPI]bool
	name func(sadb.SPI)
}

func (c *countedSPIs) Allocate(worker int) (sadb.SPI, error) {
	spi, err := c.Allocator.Allocate(worker)
	if err == nil {
		c.held[spi] = true
		c.name(spi)
	}
	return spi, err
}

func (c *countedSPIs) Free(spi sadb.SPI) {
	delete(c.held, spi)
	c.Allocator.Free(spi)
}

// SPIs is how many inbound SPIs the gateway has not given back.
func (g *Gateway) SPIs() int { return len(g.spis.held) }

// Add puts a new gateway in the world, in place of one of that name.
func (w *World) Add(name string, seed byte, crashSecret session.Secret) *Gateway {
	rnd := rand.NewChaCha8([32]byte{seed})
	g := &Gateway{
		Name: name, crashSecret: crashSecret,
		spis: &countedSPIs{Allocator: sadb.NewAllocator(2, rnd), held: map[sadb.SPI]bool{}},
		In:   map[sadb.SPI]sadb.SA{}, Out: map[sadb.SPI]sadb.SA{}, Policies: map[sadb.PolicyID]sadb.Policy{},
	}
	g.spis.name = func(spi sadb.SPI) { w.spi(g, spi) }
	g.Engine = ike.New(ike.Config{Rand: rnd, SPIs: g.spis, CrashSecret: crashSecret, Trace: true, MessageIDs: w.MessageIDs})
	w.Gateways[name] = g
	return g
}

// Configure gives a gateway its connections.
func (w *World) Configure(g *Gateway, conns ...session.Connection) {
	g.Conns = conns
	w.Step(g, session.ConfigChanged{Connections: conns})
}

// reboot takes all state from a gateway, and tells nobody.
func (w *World) reboot(g *Gateway, crashSecret session.Secret) {
	w.Configure(w.Add(g.Name, g.Name[1]+100, crashSecret), g.Conns...)
}

// Step gives one input to a gateway and carries out what it wants.
func (w *World) Step(g *Gateway, in session.Input) {
	text := ""
	for _, o := range g.Engine.Step(w.Now, in) {
		switch o := o.(type) {
		case session.Send:
			part, last := fragment(o.Data, text)
			w.send(g, o, text+part)
			if last {
				text = ""
			}
		case session.AddSA:
			w.addSA(g, o.SA)
		case session.DeleteSA:
			w.deleteSA(g, o)
		case session.UpdateSA:
			w.updateSA(g, o)
		case session.Policy:
			w.policy(g, o)
		case session.Address:
			w.Say(g, "%s %v", map[bool]string{false: "put on host", true: "take off host"}[o.Remove], o.Addr)
		case session.Keepalive:
			w.keepalive(g, o)
		case session.Fetch:
			w.fetch(g, o)
		case session.Audit:
			if o.Event != "IKE message" {
				w.audit(g, o)
			} else if attr(o, "direction") == "out" {
				text = attr(o, "message")
			}
		}
	}
}

func (w *World) audit(g *Gateway, a session.Audit) {
	if a.Level >= slog.LevelError {
		w.T.Errorf("%s: %s%s", g.Name, a.Event, w.attrs(a))
	}
	g.Audits = append(g.Audits, a)
	w.Say(g, "%s %s%s", a.Level, a.Event, w.attrs(a))
}
