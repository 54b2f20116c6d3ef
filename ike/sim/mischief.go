package sim

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

// act is the first part of a history: things happen.
func (w *world) act() {
	w.run(time.Second + w.upTo(2*time.Second))
	if w.plan.kind == Still {
		w.run(5 * time.Second)
		w.reboot(w.links[w.rnd.IntN(len(w.links))])
		return
	}
	for range 8 + w.rnd.IntN(16) {
		w.weather()
		l := w.links[w.rnd.IntN(len(w.links))]
		actions := w.actions()
		actions[w.rnd.IntN(len(actions))](l)
		if w.chance(30) {
			w.run(w.upTo(200 * time.Millisecond))
		} else {
			w.run(w.upTo(8 * time.Second))
		}
	}
}

// weather is how bad the network is for a while.
func (w *world) weather() {
	switch w.rnd.IntN(4) {
	case 0:
		w.net.loss, w.net.dup, w.net.delay = 0, 0, 0
	case 1:
		w.net.loss, w.net.dup, w.net.delay = w.rnd.IntN(30), w.rnd.IntN(20), w.upTo(100*time.Millisecond)
	case 2:
		w.net.delay = w.upTo(delayLimit)
	}
}

// heal ends everything that keeps packets from arriving.
func (w *world) heal() {
	w.say("the network heals")
	w.net.loss, w.net.dup, w.net.delay = 0, 0, 0
	for _, l := range w.links {
		l.cut = [2]bool{}
		if !l.wanted {
			w.up(l)
		}
		if w.plan.kind != Still {
			w.disturb(l)
		}
	}
}

// actions are what may happen in a history of this kind. What stands twice is
// twice as likely.
func (w *world) actions() []func(*link) {
	calm := []func(*link){w.rekey, w.rekey, w.rekeyBoth, w.rekeyBoth, w.rekeyIKE, w.reload, w.nothing, w.raise}
	disasters := []func(*link){w.reboot, w.reboot, w.lose, w.cut, w.cut, w.mend, w.mend, w.freeze, w.dataRestart}
	switch w.plan.kind {
	case Calm:
		return calm
	case Recovery:
		return append(calm, disasters...)
	}
	if w.plan.nat {
		disasters = append(disasters, w.remap, w.remap, w.remap)
	}
	return append(append(calm, disasters...), w.expire, w.down, w.down, w.up, w.up, w.jump, w.jumpAll, w.edit, w.flood)
}

func (w *world) nothing(*link) {}

// some draws one of the ends of a link, or both.
func (w *world) some(l *link) []*gateway {
	switch w.rnd.IntN(3) {
	case 0:
		return l.ends[:1]
	case 1:
		return l.ends[1:]
	}
	return l.ends[:]
}

// disturb notes that what comes may wait for a detection.
func (w *world) disturb(l *link) {
	l.disturbed = max(w.now, l.ends[0].frozen, l.ends[1].frozen)
}

// disturbAll does so for every link of a gateway.
func (w *world) disturbAll(g *gateway) {
	for _, l := range w.links {
		if l.ends[0] == g || l.ends[1] == g {
			w.disturb(l)
		}
	}
}

// rekey is a soft bound that one or both ends reach.
func (w *world) rekey(l *link) {
	for _, g := range w.some(l) {
		w.expirePair(l, g, false)
	}
}

// rekeyBoth is one that both reach in the same instant.
func (w *world) rekeyBoth(l *link) {
	for _, g := range l.ends {
		w.expirePair(l, g, false)
	}
}

// rekeyIKE is a rekey of the IKE SA, by one end or both in the same instant.
func (w *world) rekeyIKE(l *link) {
	for _, g := range w.some(l) {
		w.say("%s: rekey of the IKE SA", g.name)
		g.input(session.Rekey{Conn: l.name})
	}
}

// expire is a hard bound.
func (w *world) expire(l *link) {
	w.disturb(l)
	for _, g := range w.some(l) {
		w.expirePair(l, g, true)
	}
}

func (w *world) expirePair(l *link, g *gateway, hard bool) {
	var mine []sadb.SPI
	for _, pair := range g.pairs() {
		if g.dp.in[pair].sa.Conn == l.name {
			mine = append(mine, pair)
		}
	}
	if len(mine) == 0 {
		return
	}
	pair := mine[w.rnd.IntN(len(mine))]
	w.say("%s: %s expires, hard %t", g.name, w.names.of(g, pair), hard)
	g.input(session.Expire{Pair: pair, Hard: hard, Cause: "bytes"})
}

// reload reads a configuration that has not changed.
func (w *world) reload(l *link) {
	for _, g := range w.some(l) {
		g.configure()
	}
}

// edit reads one that has: every connection comes anew.
func (w *world) edit(*link) {
	w.plan.changed = !w.plan.changed
	w.say("the configuration changes")
	for _, g := range w.gates {
		w.disturbAll(g)
		g.configure()
	}
}

// raise is the operator's up for what stands.
func (w *world) raise(l *link) {
	if l.wanted {
		w.up(l)
	}
}

func (w *world) up(l *link) {
	w.disturb(l)
	l.wanted = true
	for _, g := range w.some(l) {
		w.say("%s: up %s", g.name, l.name)
		g.input(session.Initiate{Conn: l.name})
	}
}

func (w *world) down(l *link) {
	w.disturb(l)
	l.wanted, l.hasty = !w.plan.startNow, max(l.hasty, w.now)
	child := ""
	if w.chance(50) {
		child = "lan"
	}
	for _, g := range w.some(l) {
		w.say("%s: down %s %s", g.name, l.name, child)
		g.input(session.Terminate{Conn: l.name, Child: child})
	}
}

// reboot takes one end away, with all that it knows, and perhaps its disk.
func (w *world) reboot(l *link) {
	g := l.ends[w.rnd.IntN(2)]
	if w.chance(50) {
		g.secret = nil
	}
	w.say("%s: reboots, its secret kept %t", g.name, g.secret != nil)
	w.disturbAll(g)
	g.frozen = 0
	g.start()
}

// lose makes one end forget its SAs, as "clear crypto" does in V8.
func (w *world) lose(l *link) {
	w.disturb(l)
	g := l.ends[w.rnd.IntN(2)]
	w.say("%s: forgets %s", g.name, l.name)
	g.input(session.Forget{Conn: l.name})
}

// dataRestart kills the data path of one end. For a moment nothing passes.
func (w *world) dataRestart(l *link) {
	g := l.ends[w.rnd.IntN(2)]
	if len(g.pending) > 0 || g.frozen > w.now {
		return
	}
	w.say("%s: data path restarts", g.name)
	w.disturbAll(g)
	g.restore()
}

// cut parts one direction of a link, or both.
func (w *world) cut(l *link) {
	w.disturb(l)
	l.cut[w.rnd.IntN(2)] = true
	if w.chance(30) {
		l.cut = [2]bool{true, true}
	}
	w.say("%s: cut %v", l.name, l.cut)
	if w.chance(50) {
		w.run(w.upTo(40 * time.Second))
	}
}

func (w *world) mend(l *link) {
	if l.cut != [2]bool{} {
		w.disturb(l)
		l.cut = [2]bool{}
		w.say("%s: mended", l.name)
	}
}

// freeze makes the processes of one end stand still.
func (w *world) freeze(l *link) {
	g := l.ends[w.rnd.IntN(2)]
	g.frozen = w.now + w.upTo(45*time.Second)
	w.say("%s: stands still until %v", g.name, g.frozen)
	w.disturbAll(g)
	for _, l := range w.links {
		l.hasty = max(l.hasty, g.frozen) // what it then reads is old
	}
}

// jump moves the clock of one end ahead, jumpAll all clocks by the same.
func (w *world) jump(l *link) {
	w.ahead(l.ends[w.rnd.IntN(2)], w.upTo(2*w.plan.ikeLife))
}

func (w *world) jumpAll(*link) {
	d := w.upTo(w.plan.ikeLife)
	for _, g := range w.gates {
		w.ahead(g, d)
	}
}

func (w *world) ahead(g *gateway, d time.Duration) {
	w.say("%s: clock jumps by %v", g.name, d)
	w.disturbAll(g)
	g.skew += d
	for _, l := range w.links {
		l.hasty = w.now
	}
}

// remap changes the addresses of an end behind a NAT.
func (w *world) remap(l *link) {
	for _, g := range l.ends {
		if g.nat.public.IsValid() {
			w.disturb(l)
			g.nat.remap()
			w.say("%s: NAT maps it to %d and on", g.name, g.nat.base)
		}
	}
}

// flood is a stranger that opens IKE SAs without end.
func (w *world) flood(l *link) {
	if w.net.opener == nil || !w.chance(5) {
		return
	}
	g := l.ends[w.rnd.IntN(2)]
	from := l.ends[1-l.end(g)].nat.outside(ikeOf(l.ends[1-l.end(g)]))
	w.say("%s: flooded", g.name)
	most := w.plan.halfOpenMost()
	for i := range most + 2*halfOpenDear {
		data := bytes.Clone(w.net.opener)
		binary.BigEndian.PutUint64(data, uint64(i+1)<<32|1)
		g.input(session.Datagram{Local: ikeOf(g), Remote: from, Data: data})
	}
	w.disturb(l)
	if g.frozen > w.now {
		return
	}
	half := 0
	for _, sa := range g.machine.Status(g.clock(w.now)).IKE {
		if sa.State == "half-open" {
			half++
		}
	}
	if half > most {
		w.fail("%s: %d half-open IKE SAs", g.name, half)
	}
}

func ikeOf(g *gateway) netip.AddrPort { return netip.AddrPortFrom(g.addr, 500) }
