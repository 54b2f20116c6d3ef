package sim

import (
	"hash/maphash"
	"net/netip"
	"time"

	"spindle/ike/session"
)

// lossLimit is how often at most the same octets get lost, and delayLimit how late
// they are: chance alone must not make a peer dead.
const (
	lossLimit  = 2
	delayLimit = 800 * time.Millisecond
)

// network is what lies between the gateways.
type network struct {
	loss, dup int           // percent
	delay     time.Duration // at most, beyond latency
	latency   time.Duration

	lost    map[uint64]int
	oneWays map[oneWay]bool // whether the last of its kind got lost
	seed    maphash.Seed

	opener []byte // the last request that opened an IKE SA
}

func newNetwork(w *world) network {
	return network{latency: w.plan.latency, lost: map[uint64]int{}, oneWays: map[oneWay]bool{}, seed: maphash.MakeSeed()}
}

// link is one tunnel and the path it takes.
type link struct {
	ends   [2]*gateway
	name   string // of the connection, on both ends
	cut    [2]bool
	wanted bool // the operator wants it up

	hasty     time.Duration    // when an SA of it last reached a hard bound or was taken down, or a clock jumped
	disturbed time.Duration    // something happened to it, and delivery may wait for detection from then on
	got       [2]time.Duration // when a packet of that end last arrived
	sending   [2]bool
	began     [2]time.Duration // when that end began to send
	without   [2]time.Duration // since when that end has no SA, 0 for it has
	reported  bool
}

// end is which end of the link a gateway is.
func (l *link) end(g *gateway) int {
	if l.ends[0] == g {
		return 0
	}
	return 1
}

func (w *world) between(a, b *gateway) *link {
	for _, l := range w.links {
		if l.ends[0] == a && l.ends[1] == b || l.ends[0] == b && l.ends[1] == a {
			return l
		}
	}
	return nil
}

// clear reports whether nothing gets lost on the link but by chance.
func (l *link) clear(now time.Duration) bool {
	return !l.cut[0] && !l.cut[1] && l.ends[0].frozen <= now && l.ends[1].frozen <= now
}

// route finds whom an address belongs to, and what its NAT makes of it.
func (w *world) route(to netip.AddrPort) (*gateway, netip.AddrPort) {
	for _, g := range w.gates {
		if !g.nat.public.IsValid() && g.addr == to.Addr() {
			return g, to
		}
		if g.nat.public == to.Addr() && g.nat.public.IsValid() {
			inside, ok := g.nat.inside(to.Port())
			if !ok {
				return nil, to
			}
			return g, netip.AddrPortFrom(g.addr, inside)
		}
	}
	return nil, to
}

// send carries an IKE message.
func (w *world) send(g *gateway, o session.Send, text string) {
	w.result.Messages++
	g.spoke = w.now
	hash := maphash.Bytes(w.net.seed, o.Data)
	w.oracle.message(w, g, o.Data, hash)
	if opens(o.Data) {
		w.net.opener = o.Data
	}
	from := g.nat.outside(o.Local)
	to, dst := w.route(o.Remote)
	if to == nil || to == g {
		w.say("%s -> nowhere %v %s", g.name, o.Remote, text)
		return
	}
	copies := 1
	l := w.between(g, to)
	switch {
	case l == nil:
		return
	case l.cut[l.end(g)]:
		copies = 0
	case w.chance(w.net.loss) && w.net.mayLose(g, o.Data, hash):
		copies = 0
	case w.chance(w.net.dup):
		copies = 2
	}
	fate := [...]string{" LOST", "", " TWICE"}[copies]
	w.say("%s -> %s :%d %s%s", g.name, to.name, o.Remote.Port(), text, fate)
	for range copies {
		d := session.Datagram{Local: dst, Remote: from, Data: o.Data}
		w.after(w.net.latency+w.upTo(w.net.delay), func() { to.input(d) })
	}
}

// oneWay is a kind of message of IKEv1 that has no answer. A query of dead peer
// detection is a new one each time, so that it cannot be told by its octets when it
// comes again: its length must do.
type oneWay struct {
	from   *gateway
	length int
}

// mayLose decides whether chance may take a message, and notes that it does.
func (n *network) mayLose(g *gateway, data []byte, hash uint64) bool {
	if data[offsetVersion]>>4 == 1 && data[offsetExchange] == exchangeInform {
		kind := oneWay{g, len(data)}
		n.oneWays[kind] = !n.oneWays[kind]
		return n.oneWays[kind]
	}
	if n.lost[hash] >= lossLimit {
		return false
	}
	n.lost[hash]++
	return true
}

// nat is what stands in front of a gateway: the zero value is nothing.
type nat struct {
	public netip.Addr
	base   uint16
}

const natStep = 10000 // between the ports of two mappings of one gateway

// outside is how the world sees a port of the gateway.
func (n *nat) outside(a netip.AddrPort) netip.AddrPort {
	if !n.public.IsValid() {
		return a
	}
	return netip.AddrPortFrom(n.public, a.Port()+n.base)
}

// inside is the port that a mapping leads to.
func (n *nat) inside(port uint16) (uint16, bool) {
	p := port - n.base
	return p, p == 500 || p == 4500
}

// remap forgets the mappings: what comes to the old ones goes nowhere.
func (n *nat) remap() {
	n.base = 1000 + (n.base-1000+natStep)%(5*natStep)
}
