package sim

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/sadb"
)

// gateway is one machine with its engine and its data path.
type gateway struct {
	world *world
	index int
	name  string
	addr  netip.Addr // outer
	host  netip.Addr // that it protects
	nat   nat

	machine Machine
	life    int           // how often it was started
	secret  []byte        // for RFC 6290, on its disk
	skew    time.Duration // of its clock
	frozen  time.Duration // until when its processes stand still
	conns   []session.Connection
	spoke   time.Duration // when it last sent an IKE message

	dp      datapath
	held    map[sadb.SPI]bool // every SPI it ever drew, true while it is not free
	first   map[sadb.SPI]bool // drawn when a link had no SA
	pending []session.Output  // of a step that is being carried out
	backlog []session.Input   // that came meanwhile
	waiting bool              // for the data path to do the first of pending
}

func newGateway(w *world, i int) *gateway {
	g := &gateway{
		world: w, index: i, name: fmt.Sprintf("r%d", i+1),
		addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}),
		host: netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 1}),
	}
	if i > 0 && w.plan.nat {
		g.nat = nat{public: netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)}), base: 1000}
	}
	return g
}

// start boots the gateway: nothing is left of what it knew but its
// configuration and, unless it was lost, the secret on its disk.
func (g *gateway) start() {
	w := g.world
	g.life++
	rnd := rand.NewChaCha8([32]byte{byte(g.index), byte(g.life), byte(w.opts.Seed), byte(w.opts.Seed >> 8),
		byte(w.opts.Seed >> 16), byte(w.opts.Seed >> 24), byte(w.opts.Seed >> 32), byte(w.opts.Seed >> 40)})
	if w.plan.crashTokens && g.secret == nil {
		g.secret = []byte(fmt.Sprintf("secret of %s, life %d, as long as one", g.name, g.life))
	}
	g.dp, g.held, g.first = newDatapath(), map[sadb.SPI]bool{}, map[sadb.SPI]bool{}
	g.pending, g.backlog, g.waiting = nil, nil, false
	var pool session.SPIs = &spis{gateway: g, rnd: rnd}
	if w.opts.SPIs != nil {
		pool = w.opts.SPIs(pool)
	}
	g.machine = ike.New(ike.Config{Rand: rnd, SPIs: pool, CrashSecret: g.secret, Trace: w.opts.Ladder != nil,
		MessageIDs: w.plan.messageIDs})
	if w.opts.Machine != nil {
		g.machine = w.opts.Machine(g.machine)
	}
	g.configure()
}

// configure gives the engine its connections.
func (g *gateway) configure() {
	g.conns = nil
	for _, l := range g.world.links {
		if l.ends[0] == g || l.ends[1] == g {
			g.conns = append(g.conns, g.world.plan.connection(l, g))
		}
	}
	g.input(session.ConfigChanged{Connections: g.conns})
}

// spis are the inbound SPIs of a gateway. They are drawn at random: that the real
// allocator keeps apart what it should is its own affair.
type spis struct {
	gateway *gateway
	rnd     *rand.ChaCha8
}

func (s *spis) Allocate(int) (sadb.SPI, error) {
	for {
		spi := sadb.SPI(s.rnd.Uint64())
		if _, drawn := s.gateway.held[spi]; spi > 255 && !drawn {
			s.gateway.held[spi] = true
			s.gateway.first[spi] = s.gateway.lacks()
			return spi, nil
		}
	}
}

func (s *spis) Free(spi sadb.SPI) {
	if !s.gateway.held[spi] {
		s.gateway.world.fail("%s: SPI freed that is not held", s.gateway.name)
	}
	s.gateway.held[spi] = false
}

// lacks reports whether one of its links has no SA to send on.
func (g *gateway) lacks() bool {
	serving := map[string]bool{}
	for _, out := range g.dp.out {
		serving[out.sa.Conn] = true
	}
	return len(serving) < len(g.conns)
}

// holds counts the SPIs that are not free.
func (g *gateway) holds() int {
	n := 0
	for _, held := range g.held {
		if held {
			n++
		}
	}
	return n
}

// clock is what the gateway's clock shows at a moment of the world.
func (g *gateway) clock(at time.Duration) time.Time { return midnight.Add(at + g.skew) }

// deadline is when its engine wants to be woken.
func (g *gateway) deadline() (time.Duration, bool) {
	due := g.machine.Deadline()
	if due.IsZero() || len(g.pending) > 0 {
		return 0, false
	}
	return max(due.Sub(midnight)-g.skew, g.frozen), true
}

// input is something that happens to the gateway.
func (g *gateway) input(in session.Input) {
	w := g.world
	switch {
	case g.frozen > w.now:
		life := g.life
		w.events.add(g.frozen, func() {
			if g.life == life {
				g.input(in)
			}
		})
	case len(g.pending) > 0:
		g.backlog = append(g.backlog, in)
	default:
		g.pending = g.machine.Step(g.clock(w.now), in)
		g.carryOut()
	}
}

// carryOut does what the engine wants, in order. The data path takes its time to
// install an SA, and nothing behind it happens before.
func (g *gateway) carryOut() {
	text := ""
	for len(g.pending) > 0 {
		o := g.pending[0]
		if _, ok := o.(session.AddSA); ok && !g.waiting && g.world.plan.slow > 0 {
			g.waiting = true
			life := g.life
			g.world.after(g.world.upTo(g.world.plan.slow), func() {
				if g.life == life {
					g.carryOut()
				}
			})
			return
		}
		g.waiting = false
		g.pending = g.pending[1:]
		text = g.do(o, text)
	}
	g.pending = nil
	if backlog := g.backlog; len(backlog) > 0 {
		g.backlog = nil
		for _, in := range backlog {
			g.input(in)
		}
	}
}

// do carries out one output. The text is what a message says, for the ladder.
func (g *gateway) do(o session.Output, text string) string {
	switch o := o.(type) {
	case session.Send:
		g.world.send(g, o, text)
		return ""
	case session.AddSA:
		g.add(o.SA)
	case session.DeleteSA:
		g.remove(o)
	case session.UpdateSA:
		g.move(o)
	case session.Policy:
		g.setPolicy(o)
	case session.Audit:
		return g.hear(o, text)
	}
	return text
}

// hear takes a line for the operator.
func (g *gateway) hear(a session.Audit, text string) string {
	w := g.world
	if a.Level >= slog.LevelError {
		w.fail("%s: %s %v", g.name, a.Event, a.Attrs)
	}
	if strings.HasPrefix(a.Event, "rekey collision") {
		w.result.Collisions++
	}
	if a.Event == "child SA expired" {
		for _, l := range w.links {
			if l.name == value(a, "conn") {
				l.hasty = w.now
			}
		}
	}
	if w.opts.Ladder == nil {
		return text
	}
	if a.Event != "IKE message" {
		w.say("    %s: %s%s", g.name, a.Event, attributes(a))
		return text
	}
	if value(a, "direction") == "out" {
		return value(a, "message")
	}
	return text
}

func value(a session.Audit, key string) string {
	for _, at := range a.Attrs {
		if at.Key == key {
			return at.Value.String()
		}
	}
	return ""
}

// attributes prints those that explain something in a ladder.
func attributes(a session.Audit) string {
	var b strings.Builder
	for _, key := range []string{"child", "reason", "cause", "peer"} {
		if v := value(a, key); v != "" {
			fmt.Fprintf(&b, " %s=%q", key, v)
		}
	}
	return b.String()
}

// pairs lists the child SAs in an order that does not change.
func (g *gateway) pairs() []sadb.SPI { return slices.Sorted(maps.Keys(g.dp.in)) }

// restore starts the data path again, which has lost its SAs: the control
// process installs them anew, outbound ones with their numbers far ahead, and
// has them replaced.
func (g *gateway) restore() {
	old := g.dp
	g.dp = newDatapath()
	g.dp.policies = old.policies
	jump := func(n uint64) uint64 { return n + sequenceJump }
	if g.world.opts.Jump != nil {
		jump = g.world.opts.Jump
	}
	for _, pair := range slices.Sorted(maps.Keys(old.in)) {
		g.dp.in[pair] = &inbound{sa: old.in[pair].sa, last: -1, since: g.world.now}
	}
	for _, id := range slices.Sorted(maps.Keys(old.bound)) {
		for _, pair := range old.bound[id] {
			out := old.out[pair]
			out.sa.Sequence = jump(out.sa.Sequence)
			g.dp.out[pair] = out
			g.dp.bound[id] = append(g.dp.bound[id], pair)
		}
	}
	for _, pair := range g.pairs() {
		g.input(session.Expire{Pair: pair, Cause: "restart"})
	}
}
