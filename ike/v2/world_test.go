package v2_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const latency = 5 * time.Millisecond

// world is two or more engines on a virtual clock, joined by a wire in memory.
// It prints what happens and keeps for each gateway the SAs and policies that
// a data path would hold.
type world struct {
	t        testing.TB
	now      time.Time
	gateways map[string]*gateway
	flight   []datagram
	log      strings.Builder

	drop  int                                     // so many datagrams get lost
	cut   func(d *session.Datagram)               // spoils the next datagram
	nat   map[netip.Addr]netip.Addr               // inside to outside address
	web   map[string][]byte                       // what there is to fetch, by URL or its host
	watch func(from *gateway, d session.Datagram) // sees every datagram
	names map[string]string                       // SPI in hex to a name that does not change
	texts map[string]string                       // datagram to its message
}

type gateway struct {
	name   string
	engine *ike.Engine
	spis   *countedSPIs
	conns  []session.Connection

	crashSecret session.Secret
	cut         bool         // unplugged
	deaf        bool         // sends, but nothing reaches it
	roams       []netip.Addr // where it is now, nil: where it is configured to be

	in, out  map[sadb.SPI]sadb.SA // by pair
	policies map[sadb.PolicyID]sadb.Policy
	audits   []session.Audit
}

type datagram struct {
	at    time.Time
	to    string
	d     session.Datagram
	label string

	answer *session.Fetched // what came by HTTP instead
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

func newWorld(t testing.TB) *world {
	return &world{t: t, now: midnight, gateways: map[string]*gateway{}, nat: map[netip.Addr]netip.Addr{},
		names: map[string]string{}, texts: map[string]string{}}
}

func (w *world) add(name string, seed byte) *gateway { return w.addWith(name, seed, nil) }

func (w *world) addWith(name string, seed byte, crashSecret session.Secret) *gateway {
	rnd := rand.NewChaCha8([32]byte{seed})
	g := &gateway{
		name: name, crashSecret: crashSecret,
		spis: &countedSPIs{Allocator: sadb.NewAllocator(2, rnd), held: map[sadb.SPI]bool{}},
		in:   map[sadb.SPI]sadb.SA{}, out: map[sadb.SPI]sadb.SA{}, policies: map[sadb.PolicyID]sadb.Policy{},
	}
	g.spis.name = func(spi sadb.SPI) { w.spi(g, spi) }
	g.engine = ike.New(ike.Config{Rand: rnd, SPIs: g.spis, CrashSecret: crashSecret, Trace: true})
	w.gateways[name] = g
	return g
}

// step gives one input to a gateway and carries out what it wants.
func (w *world) step(g *gateway, in session.Input) {
	text := ""
	for _, o := range g.engine.Step(w.now, in) {
		switch o := o.(type) {
		case session.Send:
			w.send(g, o, text+fragment(o.Data, text))
			if fragment(o.Data, text) == "" || lastFragment(o.Data) {
				text = ""
			}
		case session.AddSA:
			w.addSA(g, o.SA)
		case session.DeleteSA:
			w.deleteSA(g, o)
		case session.UpdateSA:
			w.update(g, o)
		case session.Policy:
			w.policy(g, o)
		case session.Address:
			w.say(g, "%s %v", map[bool]string{false: "put on host", true: "take off host"}[o.Remove], o.Addr)
		case session.Keepalive:
			w.keepalive(g, o)
		case session.Fetch:
			w.fetch(g, o)
		case session.Audit:
			if o.Event == "IKE message" {
				if attr(o, "direction") == "out" {
					text = attr(o, "message")
				}
				continue
			}
			if o.Level >= slog.LevelError {
				w.t.Errorf("%s: %s%s", g.name, o.Event, w.attrs(o))
			}
			g.audits = append(g.audits, o)
			w.say(g, "%s %s%s", o.Level, o.Event, w.attrs(o))
		}
	}
}

// fragment says which part of a message a datagram is, if it is one.
func fragment(data []byte, text string) string {
	m, err := wire.ParseMessage(data)
	if f, ok := wire.Find[wire.SKF](m.Payloads); ok && err == nil && text != "" {
		return fmt.Sprintf(" fragment %d/%d", f.Fragment, f.Total)
	}
	return ""
}

func lastFragment(data []byte) bool {
	m, _ := wire.ParseMessage(data)
	f, _ := wire.Find[wire.SKF](m.Payloads)
	return f.Fragment == f.Total
}

func (w *world) send(g *gateway, o session.Send, text string) {
	if text != "" {
		w.texts[string(o.Data)] = text
	} else {
		text = "again: " + w.texts[string(o.Data)]
	}
	d := session.Datagram{Local: o.Remote, Remote: w.outside(o.Local), Data: slices.Clone(o.Data)}
	to := w.at(d.Local)
	label := fmt.Sprintf("%s -> %s", g.name, to)
	switch {
	case to == "":
		label = g.name + " -> nowhere"
	case w.drop > 0:
		w.drop--
		to, label = "", label+" LOST"
	case g.cut || w.gateways[to].cut || w.gateways[to].deaf:
		to, label = "", label+" LOST"
	}
	w.print("%s :%d %s", label, o.Local.Port(), text)
	if to == "" {
		return
	}
	d.Local = w.inside(d.Local)
	if w.watch != nil {
		w.watch(g, d)
	}
	if w.cut != nil {
		w.cut(&d)
		w.cut = nil
	}
	w.flight = append(w.flight, datagram{at: w.now.Add(latency), to: to, d: d})
}

// outside and inside are what a NAT does to one address. It keeps ports but for
// the sake of its notice adds 1000 to them.
func (w *world) outside(a netip.AddrPort) netip.AddrPort {
	if public, ok := w.nat[a.Addr()]; ok {
		return netip.AddrPortFrom(public, a.Port()+1000)
	}
	return a
}

func (w *world) inside(a netip.AddrPort) netip.AddrPort {
	for private, public := range w.nat {
		if public == a.Addr() {
			return netip.AddrPortFrom(private, a.Port()-1000)
		}
	}
	return a
}

// keepalive is one octet that opens a mapping and reaches nobody's engine. The
// pairs are what the data path asks about traffic.
func (w *world) keepalive(g *gateway, o session.Keepalive) {
	var pairs []string
	for _, pair := range o.Pairs {
		pairs = append(pairs, w.spi(g, pair))
	}
	w.say(g, "keepalive %v to %v unless %v sent within %v", o.Local, o.Remote, pairs, o.Quiet)
}

func (w *world) at(a netip.AddrPort) string {
	for name, g := range w.gateways {
		if g.roams != nil {
			if slices.Contains(g.roams, w.inside(a).Addr()) {
				return name
			}
			continue
		}
		if slices.ContainsFunc(g.conns, func(c session.Connection) bool {
			return slices.Contains(c.Local.Addresses, w.inside(a).Addr())
		}) {
			return name
		}
	}
	return ""
}

func (w *world) addSA(g *gateway, sa sadb.SA) {
	held := g.in
	if sa.Direction == sadb.Outbound {
		held = g.out
		if _, ok := g.in[sa.Pair]; !ok {
			w.t.Errorf("%s: outbound SA without its inbound half", g.name)
		}
		if _, ok := g.policies[sa.Policy]; !ok {
			w.t.Errorf("%s: outbound SA for a policy that is not there", g.name)
		}
	}
	if _, ok := held[sa.Pair]; ok {
		w.t.Errorf("%s: SA added twice", g.name)
	}
	held[sa.Pair] = sa
	encap := ""
	if sa.Encap {
		encap = fmt.Sprintf(" encap %v", sa.Remote)
	}
	policy := ""
	if sa.Policy != 0 {
		policy = fmt.Sprintf(" policy %d", sa.Policy)
	}
	w.say(g, "add %s SA %s %s%s%s", sa.Direction, w.spi(g, sa.Pair), sa.Suite, policy, encap)
}

func (w *world) deleteSA(g *gateway, o session.DeleteSA) {
	held := g.in
	if o.Direction == sadb.Outbound {
		held = g.out
	}
	if _, ok := held[o.Pair]; !ok {
		w.t.Errorf("%s: delete of an SA that is not there", g.name)
	}
	delete(held, o.Pair)
	w.say(g, "delete %s SA %s", o.Direction, w.spi(g, o.Pair))
}

// update moves both halves of a pair.
func (w *world) update(g *gateway, o session.UpdateSA) {
	from := ""
	for _, side := range []map[sadb.SPI]sadb.SA{g.in, g.out} {
		if sa, ok := side[o.Pair]; ok {
			if sa.Local != o.Local || sa.Encap != o.Encap {
				from = fmt.Sprintf(" from %v encap=%v", o.Local, o.Encap)
			}
			sa.Local, sa.Remote, sa.Encap = o.Local, o.Remote, o.Encap
			side[o.Pair] = sa
		}
	}
	w.say(g, "update %s to %v%s", w.spi(g, o.Pair), o.Remote, from)
}

func (w *world) policy(g *gateway, o session.Policy) {
	p := o.Policy
	if o.Remove {
		delete(g.policies, p.ID)
		w.say(g, "remove policy %d", p.ID)
		return
	}
	g.policies[p.ID] = p
	acquire := ""
	if p.Acquire {
		acquire = " acquire"
	}
	w.say(g, "policy %d priority %d %s %v to %v%s", p.ID, p.Priority, p.Action, p.Local, p.Remote, acquire)
}

// run delivers datagrams and fires timers until nothing happens for that long.
func (w *world) run(limit time.Duration) {
	end := w.now.Add(limit)
	for range 100000 {
		next, g := w.next()
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		if g != nil {
			w.step(g, session.Tick{})
			continue
		}
		d := w.flight[0]
		w.flight = w.flight[1:]
		if d.answer != nil {
			w.step(w.gateways[d.to], *d.answer)
			continue
		}
		w.step(w.gateways[d.to], d.d)
	}
	w.t.Fatal("the world does not come to rest")
}

// next is the first datagram or timer; the gateway is nil for a datagram.
func (w *world) next() (time.Time, *gateway) {
	var at time.Time
	var first *gateway
	if len(w.flight) > 0 {
		at = w.flight[0].at
	}
	for _, name := range w.sorted() {
		g := w.gateways[name]
		if due := g.engine.Deadline(); !due.IsZero() && (at.IsZero() || due.Before(at)) {
			at, first = due, g
		}
	}
	return at, first
}

func (w *world) sorted() []string {
	var names []string
	for name := range w.gateways {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (w *world) print(format string, args ...any) {
	fmt.Fprintf(&w.log, "%9.3f ", w.now.Sub(midnight).Seconds())
	fmt.Fprintf(&w.log, format+"\n", args...)
}

func (w *world) say(g *gateway, format string, args ...any) {
	w.print("    "+g.name+": "+format, args...)
}

// spi names an SPI by who chose it and when.
func (w *world) spi(g *gateway, spi sadb.SPI) string {
	if name, ok := w.names[spi.String()]; ok {
		return name
	}
	count := 1
	for _, name := range w.names {
		if strings.HasPrefix(name, g.name+".") {
			count++
		}
	}
	name := fmt.Sprintf("%s.%d", g.name, count)
	w.names[spi.String()] = name
	return name
}

// attrs prints what an operator reads, but nothing that looks different each time.
func (w *world) attrs(a session.Audit) string {
	var b strings.Builder
	for _, at := range a.Attrs {
		value := at.Value.String()
		switch at.Key {
		case "conn", "peer", "key_in", "key_out", "spi_i", "spi_r":
			continue
		}
		if name, ok := w.names[value]; ok {
			value = name
		}
		fmt.Fprintf(&b, " %s=%q", at.Key, value)
	}
	return b.String()
}

func attr(a session.Audit, key string) string {
	for _, at := range a.Attrs {
		if at.Key == key {
			return at.Value.String()
		}
	}
	return ""
}

// check compares the databases of all gateways: RFC 7296 has both ends hold
// the same SAs once nothing is under way.
func (w *world) check() {
	for _, name := range w.sorted() {
		g := w.gateways[name]
		if len(g.spis.held) != len(g.in) {
			w.t.Errorf("%s holds %d SPIs for %d inbound SAs", name, len(g.spis.held), len(g.in))
		}
		st := g.engine.Status(w.now)
		if len(st.Children) != len(g.in) {
			w.t.Errorf("%s shows %d child SAs and holds %d", name, len(st.Children), len(g.in))
		}
		for pair, out := range g.out {
			if !w.heard(g, out) {
				w.t.Errorf("%s sends on %s, which nobody holds with that key", name, w.spi(g, pair))
			}
		}
	}
}

func (w *world) heard(g *gateway, out sadb.SA) bool {
	for _, other := range w.gateways {
		if in, ok := other.in[out.SPI]; ok && other != g && slices.Equal(in.Key, out.Key) && in.Suite == out.Suite {
			return true
		}
	}
	return false
}

func (w *world) configure(g *gateway, conns ...session.Connection) {
	g.conns = conns
	w.step(g, session.ConfigChanged{Connections: conns})
}

func (w *world) acquire(g *gateway, src, dst string) {
	w.ask(g, sadb.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: 1, SrcPort: 0x800, DstPort: 0x800})
}

// packet is an echo request, or with tcp=PORT the first of a connection.
func (w *world) packet(g *gateway, words map[string]string) {
	port, err := strconv.ParseUint(words["tcp"], 10, 16)
	if err != nil {
		w.acquire(g, words["src"], words["dst"])
		return
	}
	w.ask(g, sadb.Flow{Src: netip.MustParseAddr(words["src"]), Dst: netip.MustParseAddr(words["dst"]), Protocol: 6, SrcPort: 40000, DstPort: uint16(port)})
}

// ask does what a data path does with a packet that no SA carries.
func (w *world) ask(g *gateway, flow sadb.Flow) {
	var best sadb.Policy
	for _, p := range g.policies {
		match := slices.ContainsFunc(p.Local, func(s sadb.Selector) bool { return s.Matches(flow.Src, flow.Protocol, flow.SrcPort) }) &&
			slices.ContainsFunc(p.Remote, func(s sadb.Selector) bool { return s.Matches(flow.Dst, flow.Protocol, flow.DstPort) })
		if match && (best.ID == 0 || p.Priority < best.Priority) {
			best = p
		}
	}
	if best.ID == 0 {
		w.say(g, "no policy for %s to %s", flow.Src, flow.Dst)
		return
	}
	w.say(g, "acquire policy %d", best.ID)
	w.step(g, session.Acquire{Policy: best.ID, Flow: flow})
}

// established brings a tunnel up between r6 and r8 and forgets how.
func established(t testing.TB, words ...string) *world {
	w := newWorld(t)
	r6 := map[string]string{"addr": "192.0.2.1", "peer": "192.0.2.2"}
	r8 := map[string]string{"addr": "192.0.2.2", "peer": "192.0.2.1", "ts": "10.8.8.8/32=10.6.6.6/32"}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		r6[key], r8[key] = value, value
	}
	w.configure(w.add("r6", 6), conn(t, r6))
	w.configure(w.add("r8", 8), conn(t, r8))
	w.acquire(w.gateways["r6"], "10.6.6.6", "10.8.8.8")
	w.run(time.Second)
	if g := w.gateways["r8"]; len(g.out) != 1 {
		t.Fatalf("no tunnel:\n%s", w.log.String())
	}
	w.log.Reset()
	return w
}

// warned reports whether the operator of a gateway was told about it.
func (g *gateway) warned(event string) bool {
	return slices.ContainsFunc(g.audits, func(a session.Audit) bool { return a.Level >= slog.LevelWarn && a.Event == event })
}
