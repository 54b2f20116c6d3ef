package v1_test

import (
	"math/rand/v2"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

// chaos lets both gateways do at random whatever they can while a third of the
// datagrams gets lost, doubled or late; then the network heals.
func (w *world) chaos(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r6, r8 := w.gateways["r6"], w.gateways["r8"]
	w.watch = func(from *gateway, d session.Datagram) {
		if rnd.IntN(6) == 0 {
			d.Data = slices.Clone(d.Data)
			late := datagram{at: w.now.Add(latency + time.Duration(rnd.IntN(3000))*time.Millisecond), to: w.at(d.Local), d: d}
			at, _ := slices.BinarySearchFunc(w.flight, late, func(a, b datagram) int { return a.at.Compare(b.at) })
			w.flight = slices.Insert(w.flight, at, late)
		}
	}
	for range 40 {
		g := r6
		if rnd.IntN(2) == 0 {
			g = r8
		}
		w.mischief(rnd, g)
		if rnd.IntN(3) == 0 {
			w.drop = rnd.IntN(3)
		}
		w.run(time.Duration(rnd.IntN(400)) * time.Millisecond)
	}
	w.drop = 0
	w.run(90 * time.Second)
	w.acquire(r6, "10.6.6.6", "10.8.8.8")
	w.acquire(r8, "10.8.8.8", "10.6.6.6")
	w.run(20 * time.Second)
	w.heal()
	if len(r6.out) == 0 || len(r8.out) == 0 {
		w.t.Errorf("no tunnel in the end: %d and %d outbound SAs", len(r6.out), len(r8.out))
	}
	w.check()
}

// heal lets each end hear ESP that the other sends for an SA which it does not
// hold: a Delete has no answer in IKEv1, so a lost one leaves such a thing (V2).
// The next packet negotiates anew.
func (w *world) heal() {
	for _, name := range w.sorted() {
		g, other := w.gateways[name], w.gateways[map[string]string{"r6": "r8", "r8": "r6"}[name]]
		for _, out := range g.out {
			if !w.heard(g, out) {
				w.step(other, session.UnknownSPI{SPI: out.SPI, Local: out.Remote, Remote: out.Local, Packets: 1})
			}
		}
	}
	// What collided is deleted meanwhile, and what is missed is asked for.
	for _, pause := range []time.Duration{10 * time.Second, 80 * time.Second, 80 * time.Second} {
		w.run(pause)
		w.acquire(w.gateways["r6"], "10.6.6.6", "10.8.8.8")
		w.acquire(w.gateways["r8"], "10.8.8.8", "10.6.6.6")
	}
	w.run(5 * time.Second)
}

// mischief is one thing that an operator, the data path or fate does.
func (w *world) mischief(rnd *rand.Rand, g *gateway) {
	pairs := make([]sadb.SPI, 0, len(g.in))
	for pair := range g.in {
		pairs = append(pairs, pair)
	}
	slices.Sort(pairs)
	switch what := rnd.IntN(12); {
	case what < 3:
		if g.name == "r6" {
			w.acquire(g, "10.6.6.6", "10.8.8.8")
		} else {
			w.acquire(g, "10.8.8.8", "10.6.6.6")
		}
	case what < 7 && len(pairs) > 0:
		w.say(g, "soft expiry")
		w.step(g, session.Expire{Pair: pairs[rnd.IntN(len(pairs))], Cause: "bytes"})
	case what == 7 && len(pairs) > 0:
		w.say(g, "hard expiry")
		w.step(g, session.Expire{Pair: pairs[rnd.IntN(len(pairs))], Hard: true, Cause: "bytes"})
	case what == 8:
		w.say(g, "down lan")
		w.step(g, session.Terminate{Conn: "t", Child: "lan"})
	case what == 9 && rnd.IntN(3) == 0:
		w.say(g, "down")
		w.step(g, session.Terminate{Conn: "t"})
	case what > 9:
		w.say(g, "rekey of the IKE SA")
		w.step(g, session.Rekey{Conn: "t"})
	}
}
