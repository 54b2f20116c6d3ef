package sim

import (
	"bytes"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

const (
	// attempt is the longest that a gateway sits out between two attempts after
	// several failed, and gap the longest between two retransmissions.
	attempt = 32 * time.Second
	gap     = 8 * time.Second
	// opening is how long IKEv1 repeats what opens an ISAKMP SA. A peer that reboots
	// meanwhile cannot say that it knows nothing of it: its INVALID-COOKIE proves
	// nothing, and nobody believes it.
	opening = 31500 * time.Millisecond
	// negotiation is how long one takes.
	negotiation = 2 * time.Second
	// restTime is how long the ends may take to agree when nothing disturbs them:
	// a lingering SA, a superfluous IKE SA, a rekey in between.
	restTime = 90 * time.Second
	// hastyTime is how long a rekey may go on after a hard bound was reached.
	hastyTime = 40 * time.Second
	// lastPackets is how long packets may be under way.
	lastPackets = 3 * time.Second
	// halfOpenDear is how many half-open IKE SAs strangers may make a gateway hold
	// when each costs a key exchange, halfOpenCheap when it does not: in main mode
	// that comes with the third message.
	halfOpenDear, halfOpenCheap = 32, 1000
)

func (p *plan) halfOpenMost() int {
	if p.version == 1 && !p.aggressive {
		return halfOpenCheap
	}
	return halfOpenDear
}

// bound is the longest that packets may not arrive between ends that can reach
// each other: one detection of a dead peer and one negotiation, and where failed
// negotiations are held back, that.
func (w *world) bound() time.Duration {
	switch w.plan.kind {
	case Calm:
		return gap
	case Still: // the first packet tells: nobody has to be detected
		return negotiation
	case Recovery:
		if w.plan.version == 1 {
			return opening + negotiation
		}
		return w.plan.detection() + negotiation
	}
	return w.plan.detection() + negotiation + attempt
}

// watch checks, when an end sends, that what it sends arrives.
func (w *world) watch(l *link, end int) {
	since := max(l.got[end], l.disturbed, l.began[end])
	if !l.clear(w.now) || !l.wanted {
		w.disturb(l)
		return
	}
	dark := w.now - since
	w.result.Longest = max(w.result.Longest, dark)
	if dark > w.bound() && !l.reported {
		l.reported = true
		w.fail("%s to %s: nothing arrived for %v", l.ends[end].name, l.ends[1-end].name, dark)
	}
}

// missing checks that an end without an SA negotiates for one, or waits after a
// failure: "a usable SA pair or a negotiation in flight, always".
func (w *world) missing(l *link, end int) {
	g := l.ends[end]
	if l.without[end] == 0 || l.disturbed > l.without[end] {
		l.without[end] = w.now
	}
	peer := l.ends[1-end]
	if quiet := w.now - max(l.without[end], g.spoke, peer.spoke); quiet > attempt+3*time.Second && !l.reported {
		l.reported = true
		w.fail("%s: no SA to %s, and nothing negotiated for %v", g.name, peer.name, quiet)
	}
}

// refused judges a packet that came to no SA.
func (w *world) refused(g *gateway, p packet) {
	// The first SA of all is used by the responder as soon as it has answered: there
	// is no other that the packet could take (RFC 7296 §2.8 is about rekeys). The
	// same holds when both ends ask for a first one, and for IKE SAs that crossed.
	if w.over || (g.held[p.spi] || g.installs(p.spi)) && (g.first[p.spi] || g.crossed(p.link.name)) {
		return
	}
	// An SA that reached its hard bound, or that the operator takes down amid a
	// rekey, cannot wait for its successor to be ready.
	if w.now-p.link.hasty < hastyTime && p.link.hasty > 0 {
		return
	}
	switch {
	case g.installs(p.spi):
		w.fail("%s: the peer uses SA %s before it is installed", g.name, w.names.of(g, p.spi))
	case w.plan.kind == Calm:
		w.fail("%s: packet for SA %s refused though nothing but rekeys went on", g.name, w.names.of(g, p.spi))
	}
}

// crossed reports whether there is more than one IKE SA of a connection.
func (g *gateway) crossed(conn string) bool {
	count := 0
	for _, sa := range g.machine.Status(g.clock(g.world.now)).IKE {
		if sa.Conn == conn && sa.State == "established" {
			count++
		}
	}
	return count > 1
}

// installs reports whether an inbound SA is about to be installed.
func (g *gateway) installs(spi sadb.SPI) bool {
	return slices.ContainsFunc(g.pending, func(o session.Output) bool {
		a, ok := o.(session.AddSA)
		return ok && a.SA.Direction == sadb.Inbound && a.SA.SPI == spi
	})
}

// atRest says what the two ends of all links do not agree on, nothing if they do.
func (w *world) atRest() string {
	for _, g := range w.gates {
		st := g.machine.Status(g.clock(w.now))
		switch {
		case g.holds() != len(g.dp.in):
			return g.name + " holds SPIs without inbound SAs"
		case len(g.dp.out) != len(g.dp.in):
			return g.name + " holds halves of pairs"
		case len(st.Children) != len(g.dp.in):
			return g.name + " shows other child SAs than it holds"
		case len(st.IKE) > 2*len(g.conns):
			return g.name + " holds too many IKE SAs"
		}
	}
	for _, l := range w.links {
		if reason := w.agree(l); reason != "" {
			return l.name + ": " + reason
		}
	}
	return ""
}

// agree compares the SAs of the two ends of a link: RFC 7296 has both hold the
// same ones once nothing is under way.
func (w *world) agree(l *link) string {
	for i, g := range l.ends {
		peer := l.ends[1-i]
		count := 0
		for _, out := range g.dp.out {
			if out.sa.Conn != l.name {
				continue
			}
			count++
			in := peer.dp.in[out.sa.SPI]
			if in == nil || !bytes.Equal(in.sa.Key, out.sa.Key) {
				return g.name + " sends on an SA that " + peer.name + " does not hold"
			}
		}
		if count == 0 {
			return g.name + " has no SA"
		}
		if count > 4 {
			return g.name + " has too many SAs"
		}
	}
	return ""
}

// rest is how long the ends may take to agree. IKEv1 does not acknowledge a Delete:
// where one got lost the peer keeps what it receives with until that expires. Where
// nothing gets lost it must not take longer than with IKEv2.
func (p *plan) rest() time.Duration {
	if p.version == 1 && p.kind != Still {
		return restTime + p.childLife
	}
	return restTime
}

// settle lets the network heal and checks that the ends come to agree.
func (w *world) settle() {
	w.heal()
	w.run(w.bound() + 5*time.Second)
	reason := w.atRest()
	for until := w.now + w.plan.rest(); reason != "" && w.now < until && len(w.result.Failures) == 0; reason = w.atRest() {
		w.run(time.Second)
	}
	if reason != "" {
		w.fail("not at rest: %s", reason)
	}
}

// end stops everything and checks that nothing is left.
func (w *world) end() {
	w.over = true
	if len(w.result.Failures) > 0 {
		return
	}
	w.run(lastPackets)
	for _, g := range w.gates {
		g.input(session.Shutdown{})
	}
	w.run(2 * time.Minute)
	for _, g := range w.gates {
		st := g.machine.Status(g.clock(w.now))
		if len(g.dp.in)+len(g.dp.out) > 0 {
			w.fail("%s: %d and %d SAs are left", g.name, len(g.dp.in), len(g.dp.out))
		}
		if len(g.dp.policies) > 0 {
			w.fail("%s: %d policies are left", g.name, len(g.dp.policies))
		}
		if n := g.holds(); n > 0 {
			w.fail("%s: %d SPIs are left", g.name, n)
		}
		if len(st.IKE)+len(st.Children) > 0 {
			w.fail("%s: %d IKE SAs and %d child SAs are left", g.name, len(st.IKE), len(st.Children))
		}
		if due := g.machine.Deadline(); !due.IsZero() {
			w.fail("%s: a timer is left", g.name)
		}
	}
}
