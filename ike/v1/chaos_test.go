package v1_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/sadb"
)

// TestManySchedules runs two gateways through seeded loss, duplication and
// collisions of everything they can do at once. There must always be a usable
// pair in the end, and nothing may leak.
func TestManySchedules(t *testing.T) {
	for seed := range 60 {
		w := &chaos{ladder.Running(t, version, ladder.Words{"recover": "yes"})}
		w.run(uint64(seed))
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, w.Log.String())
		}
	}
}

type chaos struct{ *ladder.World }

// run lets both gateways do at random whatever they can while a third of the
// datagrams gets lost, doubled or late; then the network heals.
func (w *chaos) run(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r6, r8 := w.Gateways["r6"], w.Gateways["r8"]
	w.Watch = func(from *ladder.Gateway, d session.Datagram) {
		if rnd.IntN(6) == 0 {
			d.Data = slices.Clone(d.Data)
			w.Deliver(w.Now.Add(ladder.Latency+time.Duration(rnd.IntN(3000))*time.Millisecond), w.At(d.Local), d)
		}
	}
	for range 40 {
		g := r6
		if rnd.IntN(2) == 0 {
			g = r8
		}
		w.mischief(rnd, g)
		if rnd.IntN(3) == 0 {
			w.Drop = rnd.IntN(3)
		}
		w.Run(time.Duration(rnd.IntN(400)) * time.Millisecond)
	}
	w.Drop = 0
	w.Run(90 * time.Second)
	w.Dial()
	w.DialBack()
	w.Run(20 * time.Second)
	w.heal()
	if len(r6.Out) == 0 || len(r8.Out) == 0 {
		w.T.Errorf("no tunnel in the end: %d and %d outbound SAs", len(r6.Out), len(r8.Out))
	}
	w.Check()
}

// heal lets each end hear ESP that the other sends for an SA which it does not
// hold: a Delete has no answer in IKEv1, so a lost one leaves such a thing (V2).
// The next packet negotiates anew.
func (w *chaos) heal() {
	for _, name := range w.Names() {
		g, other := w.Gateways[name], w.Gateways[map[string]string{"r6": "r8", "r8": "r6"}[name]]
		for _, out := range g.Out {
			if !w.Heard(g, out) {
				w.Step(other, session.UnknownSPI{SPI: out.SPI, Local: out.Remote, Remote: out.Local, Packets: 1})
			}
		}
	}
	// What collided is deleted meanwhile, and what is missed is asked for.
	for _, pause := range []time.Duration{10 * time.Second, 80 * time.Second, 80 * time.Second} {
		w.Run(pause)
		w.Dial()
		w.DialBack()
	}
	w.Run(5 * time.Second)
}

// mischief is one thing that an operator, the data path or fate does.
func (w *chaos) mischief(rnd *rand.Rand, g *ladder.Gateway) {
	pairs := make([]sadb.SPI, 0, len(g.In))
	for pair := range g.In {
		pairs = append(pairs, pair)
	}
	slices.Sort(pairs)
	switch what := rnd.IntN(12); {
	case what < 3:
		if g.Name == "r6" {
			w.Dial()
		} else {
			w.DialBack()
		}
	case what < 7 && len(pairs) > 0:
		w.Say(g, "soft expiry")
		w.Step(g, session.Expire{Pair: pairs[rnd.IntN(len(pairs))], Cause: "bytes"})
	case what == 7 && len(pairs) > 0:
		w.Say(g, "hard expiry")
		w.Step(g, session.Expire{Pair: pairs[rnd.IntN(len(pairs))], Hard: true, Cause: "bytes"})
	case what == 8:
		w.Say(g, "down lan")
		w.Step(g, session.Terminate{Conn: "t", Child: "lan"})
	case what == 9 && rnd.IntN(3) == 0:
		w.Say(g, "down")
		w.Step(g, session.Terminate{Conn: "t"})
	case what > 9:
		w.Say(g, "rekey of the IKE SA")
		w.Step(g, session.Rekey{Conn: "t"})
	}
}
