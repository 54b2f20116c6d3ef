package v1_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"spindle/ike"
	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/v1"
	"spindle/ike/wire"
	"spindle/sadb"
)

// loner is what an ISAKMP SA without an engine needs to know.
type loner struct{ v1.Host }

func (loner) Alone(*v1.SA) bool                        { return true }
func (loner) Peers(*v1.SA) []*v1.SA                    { return nil }
func (loner) Failed(time.Time, string, string, string) {}

// TestSequenceNumbers: D9: a query with a number that is old or was there before is
// not answered, an answer that nobody asked for changes nothing, and both are counted.
func TestSequenceNumbers(t *testing.T) {
	w := ladder.New(t, version)
	ours := w.Connection(ladder.Words{"addr": "192.0.2.1", "peer": "192.0.2.2"})
	theirs := w.Connection(ladder.Words{"addr": "192.0.2.2", "peer": "192.0.2.1", "ts": "10.8.8.8/32=10.6.6.6/32"})
	rnd := rand.NewChaCha8([32]byte{6})
	peer := ike.New(ike.Config{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd)})
	now := ladder.Midnight
	peer.Step(now, session.ConfigChanged{Connections: []session.Connection{theirs}})
	out := &session.Outbox{}
	env := &v1.Env{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd), SPD: session.NewSPD(), Out: out, Host: loner{}, Assigned: session.Assigned{}}
	a, b := netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	sa := v1.Initiate(env, now, &ours, a, b, nil, sadb.Flow{})

	// exchange carries what both say until nobody says anything, and counts the peer's.
	exchange := func() (said int) {
		for {
			sent := sends(out.Take())
			if len(sent) == 0 {
				return said
			}
			for _, s := range sent {
				for _, answer := range sends(peer.Step(now, session.Datagram{Local: b, Remote: a, Data: s.Data})) {
					said++
					h, err := wire.ParseHeader(answer.Data)
					if err != nil {
						t.Fatal(err)
					}
					sa.Receive(now, session.Datagram{Local: a, Remote: b, Data: answer.Data}, h)
				}
			}
		}
	}
	exchange()
	if !sa.Established() {
		t.Fatal("no ISAKMP SA")
	}
	rejected := func() uint64 { return peer.Status(now).IKE[0].DPD.Rejected }
	for _, c := range []struct {
		what     string
		query    bool
		seq      uint32
		answers  int
		rejected uint64
	}{
		{"the first", true, 1000, 1, 0},
		{"the next", true, 1001, 1, 0},
		{"a repeated one", true, 1001, 0, 1},
		{"an old one", true, 1000, 0, 2},
		{"one that skips some", true, 1009, 1, 2},
		{"an answer to no query", false, 1009, 0, 3},
		{"the next again", true, 1010, 1, 3},
	} {
		sa.SayDPD(now, c.query, c.seq)
		if answers := exchange(); answers != c.answers || rejected() != c.rejected {
			t.Errorf("%s: %d answers and %d rejected, want %d and %d", c.what, answers, rejected(), c.answers, c.rejected)
		}
	}
	if n := sa.Status(now).DPD.Rejected; n != 4 {
		t.Errorf("%d rejected of the answers to queries that were not ours, want 4", n)
	}
}

// renewing counts how often another ISAKMP SA is asked for.
type renewing struct {
	loner
	asked *int
}

func (r renewing) Renew(time.Time, *v1.SA) { *r.asked++ }

// TestWornOut: an ISAKMP SA that has used half of its message IDs is replaced, before
// it takes nothing more.
func TestWornOut(t *testing.T) {
	w := ladder.New(t, version)
	ours := w.Connection(ladder.Words{"addr": "192.0.2.1", "peer": "192.0.2.2"})
	theirs := w.Connection(ladder.Words{"addr": "192.0.2.2", "peer": "192.0.2.1"})
	now, asked := ladder.Midnight, 0
	rnd := rand.NewChaCha8([32]byte{6})
	env := func(host v1.Host) *v1.Env {
		return &v1.Env{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd), SPD: session.NewSPD(), Out: &session.Outbox{}, Host: host}
	}
	a, b := netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	mine, others := env(renewing{asked: &asked}), env(server{conn: &theirs})
	sa := v1.Initiate(mine, now, &ours, a, b, nil, sadb.Flow{})
	first := sends(mine.Out.Take())[0].Data
	m, err := wire.ParseV1Message(first)
	if err != nil {
		t.Fatal(err)
	}
	peer := v1.Respond(others, now, session.Datagram{Local: b, Remote: a, Data: first}, m)
	for range 4 {
		carry(t, now, others.Out, sa, a, b)
		carry(t, now, mine.Out, peer, b, a)
	}
	for i := range v1.MaxUsed / 2 {
		if sa.Tick(now); asked != 0 {
			t.Fatalf("replaced after %d", i)
		}
		sa.SayDPD(now, false, 0)
	}
	if sa.Tick(now); asked != 1 {
		t.Errorf("another is asked for %d times, the ISAKMP SA is %v", asked, sa.State())
	}
}

func sends(list []session.Output) (sent []session.Send) {
	for _, o := range list {
		if s, ok := o.(session.Send); ok {
			sent = append(sent, s)
		}
	}
	return sent
}
