package sim

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

const (
	packetEvery  = 400 * time.Millisecond // and end of a link
	reportEvery  = time.Second            // acquires, silences and unknown SPIs
	sequenceJump = 1 << 24                // of a data path that is restored: more than it ever sent
)

// datapath is the plainest one that keeps the contract.
type datapath struct {
	in       map[sadb.SPI]*inbound
	out      map[sadb.SPI]*outbound
	policies map[sadb.PolicyID]sadb.Policy
	bound    map[sadb.PolicyID][]sadb.SPI // pairs that serve it; the last one is in use

	acquired map[sadb.PolicyID]time.Duration
	unknown  map[netip.Addr]time.Duration
}

type inbound struct {
	sa    sadb.SA
	last  time.Duration // that something authentic came, negative for never
	since time.Duration
}

type outbound struct {
	sa   sadb.SA
	told time.Duration // that the peer is silent
}

func newDatapath() datapath {
	return datapath{
		in: map[sadb.SPI]*inbound{}, out: map[sadb.SPI]*outbound{},
		policies: map[sadb.PolicyID]sadb.Policy{}, bound: map[sadb.PolicyID][]sadb.SPI{},
		acquired: map[sadb.PolicyID]time.Duration{}, unknown: map[netip.Addr]time.Duration{},
	}
}

// add installs one half of a pair.
func (g *gateway) add(sa sadb.SA) {
	w := g.world
	w.say("    %s: add %s SA %s", g.name, sa.Direction, w.names.of(g, sa.Pair))
	if sa.Direction == sadb.Inbound {
		if g.dp.in[sa.SPI] != nil {
			w.fail("%s: inbound SA added twice", g.name)
		}
		if _, drawn := g.held[sa.SPI]; !drawn {
			w.fail("%s: inbound SA with an SPI that nobody allocated", g.name)
		}
		w.result.SAs++
		g.dp.in[sa.SPI] = &inbound{sa: sa, last: -1, since: w.now}
		return
	}
	if g.dp.in[sa.Pair] == nil {
		w.fail("%s: outbound SA without its inbound half", g.name)
	}
	if _, ok := g.dp.policies[sa.Policy]; !ok {
		w.fail("%s: outbound SA for a policy that is not there", g.name)
	}
	if g.dp.out[sa.Pair] != nil {
		w.fail("%s: outbound SA added twice", g.name)
		return
	}
	g.dp.out[sa.Pair] = &outbound{sa: sa, told: -reportEvery}
	g.dp.bound[sa.Policy] = append(g.dp.bound[sa.Policy], sa.Pair)
	w.atOnce(g, sa.Conn)
}

// atOnce sends a packet as soon as there is an SA for it: on a busy link there
// always is one that waits.
func (w *world) atOnce(g *gateway, conn string) {
	for _, l := range w.links {
		if end := l.end(g); l.name == conn && l.sending[end] && !w.over {
			w.after(0, func() { w.emit(l, end) })
		}
	}
}

func (g *gateway) remove(o session.DeleteSA) {
	w := g.world
	w.say("    %s: delete %s SA %s", g.name, o.Direction, w.names.of(g, o.Pair))
	if o.Direction == sadb.Inbound {
		if g.dp.in[o.Pair] == nil {
			w.fail("%s: delete of an inbound SA that is not there", g.name)
		}
		delete(g.dp.in, o.Pair)
		return
	}
	out := g.dp.out[o.Pair]
	if out == nil {
		w.fail("%s: delete of an outbound SA that is not there", g.name)
		return
	}
	delete(g.dp.out, o.Pair)
	g.dp.bound[out.sa.Policy] = slices.DeleteFunc(g.dp.bound[out.sa.Policy], func(p sadb.SPI) bool { return p == o.Pair })
}

// move changes the endpoints of a pair.
func (g *gateway) move(o session.UpdateSA) {
	g.world.say("    %s: SA %s moves to %v", g.name, g.world.names.of(g, o.Pair), o.Remote)
	if in := g.dp.in[o.Pair]; in != nil {
		in.sa.Local, in.sa.Remote, in.sa.Encap = o.Local, o.Remote, o.Encap
	}
	if out := g.dp.out[o.Pair]; out != nil {
		out.sa.Local, out.sa.Remote, out.sa.Encap = o.Local, o.Remote, o.Encap
	}
}

func (g *gateway) setPolicy(o session.Policy) {
	if o.Remove {
		if _, ok := g.dp.policies[o.Policy.ID]; !ok {
			g.world.fail("%s: removal of a policy that is not there", g.name)
		}
		delete(g.dp.policies, o.Policy.ID)
		return
	}
	g.dp.policies[o.Policy.ID] = o.Policy
}

// match is the entry that governs a packet.
func (g *gateway) match(f sadb.Flow) (best sadb.Policy, ok bool) {
	for _, p := range g.dp.policies {
		if ok && (p.Priority > best.Priority || p.Priority == best.Priority && p.ID > best.ID) {
			continue
		}
		if carries(p.Local, f.Src, f) && carries(p.Remote, f.Dst, f) {
			best, ok = p, true
		}
	}
	return best, ok
}

func carries(list []sadb.Selector, addr netip.Addr, f sadb.Flow) bool {
	for i := range list {
		if list[i].Matches(addr, f.Protocol, 0) {
			return true
		}
	}
	return false
}

// traffic sends a packet of one end of a link, again and again.
func (w *world) traffic(l *link, end int, wait time.Duration) {
	w.after(wait, func() {
		if w.over {
			return
		}
		if l.ends[end].frozen <= w.now {
			w.emit(l, end)
		}
		w.traffic(l, end, packetEvery-packetEvery/8+w.upTo(packetEvery/4))
	})
}

// emit sends a packet from one end of a link to the other, by whatever SA serves it.
func (w *world) emit(l *link, end int) {
	g, peer := l.ends[end], l.ends[1-end]
	if !l.sending[end] {
		l.sending[end], l.began[end] = true, w.now
	}
	w.watch(l, end)
	flow := sadb.Flow{Src: g.host, Dst: peer.host, Protocol: 17}
	p, ok := g.match(flow)
	if !ok {
		return
	}
	pairs := g.dp.bound[p.ID]
	if len(pairs) == 0 {
		w.missing(l, end)
		if at, asked := g.dp.acquired[p.ID]; p.Acquire && (!asked || w.now-at >= reportEvery) {
			g.dp.acquired[p.ID] = w.now
			g.input(session.Acquire{Policy: p.ID, Flow: flow})
		}
		return
	}
	l.without[end] = 0
	w.esp(l, end, g.dp.out[pairs[len(pairs)-1]])
}

// esp sends one packet.
func (w *world) esp(l *link, end int, out *outbound) {
	g, peer := l.ends[end], l.ends[1-end]
	out.sa.Sequence++
	w.result.Packets++
	w.oracle.packet(w, g, &out.sa)
	w.silence(g, out)
	src := g.nat.outside(out.sa.Local)
	to, dst := w.route(out.sa.Remote)
	if to != peer || l.cut[end] || w.chance(w.net.loss) {
		return
	}
	p := packet{spi: out.sa.SPI, key: out.sa.Key, src: src, dst: dst, link: l}
	w.after(w.net.latency+w.upTo(w.net.delay), func() { w.arrive(l, end, p) })
}

// silence says that nothing comes back (D3).
func (w *world) silence(g *gateway, out *outbound) {
	in := g.dp.in[out.sa.Pair]
	if out.sa.Silence == 0 || in == nil || w.now-max(in.last, in.since) < out.sa.Silence || w.now-out.told < reportEvery {
		return
	}
	out.told = w.now
	s := session.Silence{Pair: out.sa.Pair}
	if in.last >= 0 {
		s.LastIn = g.clock(in.last)
	}
	g.input(s)
}

// packet is ESP under way.
type packet struct {
	spi      sadb.SPI
	key      sadb.Key
	src, dst netip.AddrPort
	link     *link
}

// arrive is a packet at its destination.
func (w *world) arrive(l *link, end int, p packet) {
	g := l.ends[1-end]
	if g.frozen > w.now {
		w.events.add(g.frozen, func() { w.arrive(l, end, p) })
		return
	}
	in := g.dp.in[p.spi]
	if in == nil {
		w.refuse(g, p)
		return
	}
	if !bytes.Equal(in.sa.Key, p.key) {
		w.fail("%s: the ends of SA %s have different keys", g.name, w.names.of(g, p.spi))
		return
	}
	in.last = w.now
	l.got[end] = w.now
}

// refuse counts a packet that has no SA, and says so.
func (w *world) refuse(g *gateway, p packet) {
	w.result.Refused++
	w.refused(g, p)
	if at, told := g.dp.unknown[p.src.Addr()]; told && w.now-at < reportEvery {
		return
	}
	g.dp.unknown[p.src.Addr()] = w.now
	w.say("    %s: ESP with unknown SPI %s", g.name, w.names.of(g, p.spi))
	g.input(session.UnknownSPI{SPI: p.spi, Local: p.dst, Remote: p.src, Packets: 1})
}
