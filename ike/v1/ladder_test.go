package v1_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/v1"
	"spindle/ike/wire"
)

// TestLadders replays the message ladders in testdata: what two gateways say to
// each other and what each tells its data path and its operator. -rewrite
// writes them anew.
func TestLadders(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "fuzz") {
			return
		}
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			w.t = t
			w.log.Reset()
			w.command(td)
			return w.log.String()
		})
		w.check()
	})
}

// command carries out one command of a ladder.
func (w *world) command(td *datadriven.TestData) {
	words := map[string]string{}
	var first string
	for i, arg := range td.CmdArgs {
		if i == 0 && len(arg.Vals) == 0 {
			first = arg.Key
			continue
		}
		words[arg.Key] = strings.Join(arg.Vals, ",")
	}
	g := w.gateways[first]
	switch td.Cmd {
	case "gateway":
		if g == nil {
			g = w.add(first, first[1])
		}
		w.configure(g, conn(w.t, words))
	case "connections":
		if g == nil {
			g = w.add(first, first[1])
		}
		w.connections(g, td.Input)
	case "packet":
		w.acquire(g, words["src"], words["dst"])
	case "up":
		w.step(g, session.Initiate{Conn: "t", Child: words["child"]})
	case "down":
		w.step(g, session.Terminate{Conn: "t", Child: words["child"]})
	case "shutdown":
		w.step(g, session.Shutdown{})
	case "expire":
		w.expire(g, words)
	case "run":
		limit, err := time.ParseDuration(first)
		if err != nil {
			w.t.Fatal(err)
		}
		w.run(limit)
	case "lose":
		fmt.Sscan(first, &w.drop)
	case "unplug", "plug":
		g.cut = td.Cmd == "unplug"
	case "crash":
		w.crash(g)
	case "silence":
		w.silence(g, words)
	case "addresses":
		g.roams = addrs(w.t, words["are"])
		w.step(g, session.AddressesChanged{Addresses: g.roams})
	case "roams":
		g.roams = addrs(w.t, words["are"])
	case "nat":
		w.nat[netip.MustParseAddr(words["inside"])] = netip.MustParseAddr(words["outside"])
	case "garbage":
		w.garbage(g, words)
	case "spoil":
		w.spoil(first)
	case "esp":
		w.unknownSPI(g, words)
	case "status":
		w.status(g)
	default:
		w.t.Fatalf("unknown command %s", td.Cmd)
	}
}

// connections configures one connection a line.
func (w *world) connections(g *gateway, input string) {
	var conns []session.Connection
	for _, line := range strings.Split(strings.TrimSpace(input), "\n") {
		words := map[string]string{}
		for _, word := range strings.Fields(line) {
			key, value, _ := strings.Cut(word, "=")
			words[key] = value
		}
		conns = append(conns, conn(w.t, words))
	}
	w.configure(g, conns...)
}

func (w *world) expire(g *gateway, words map[string]string) {
	for pair := range g.in {
		if w.spi(g, pair) == words["sa"] {
			w.step(g, session.Expire{Pair: pair, Hard: words["bound"] == "hard", Cause: words["cause"]})
			return
		}
	}
	w.t.Errorf("%s has no SA %s", g.name, words["sa"])
}

// silence is what the data path says of a peer that does not answer by ESP.
func (w *world) silence(g *gateway, words map[string]string) {
	for pair := range g.out {
		if words["sa"] == "" || w.spi(g, pair) == words["sa"] {
			w.step(g, session.Silence{Pair: pair})
			return
		}
	}
	w.t.Errorf("%s has no SA %s", g.name, words["sa"])
}

// crash is a reboot: all state is gone, and nobody was told.
func (w *world) crash(g *gateway) {
	fresh := w.add(g.name, g.name[1]+100)
	w.configure(fresh, g.conns...)
}

// garbage sends what no peer would.
func (w *world) garbage(g *gateway, words map[string]string) {
	d := session.Datagram{
		Local:  netip.MustParseAddrPort(words["to"]),
		Remote: netip.MustParseAddrPort(words["from"]),
	}
	switch words["what"] {
	case "noise":
		rnd := rand.NewChaCha8([32]byte{1})
		for range 20 {
			d.Data = make([]byte, 1+rnd.Uint64()%200)
			rnd.Read(d.Data)
			w.step(g, d)
		}
	case "unknown":
		d.Data, _ = wire.AppendV1Message(nil, wire.Header{InitiatorSPI: 7, ResponderSPI: 8, Exchange: wire.V1ExchangeInformational, MessageID: 5}, nil)
		w.step(g, d)
	case "flood":
		for i := range 1100 {
			d.Data, _ = wire.AppendV1Message(nil, wire.Header{InitiatorSPI: wire.SPI(1000 + i), Exchange: wire.V1ExchangeMainMode},
				[]wire.Payload{suite.V1OfferIKE(g.conns[0].IKE, suite.V1AuthPSK, suite.V1Lifetime{Time: time.Hour})})
			w.step(g, d)
		}
		w.log.Reset()
		w.print("%d half-open ISAKMP SAs", w.halfOpen(g))
		w.flight = nil
	}
}

func (w *world) halfOpen(g *gateway) int {
	n := 0
	for _, st := range g.engine.Status(w.now).IKE {
		if st.State == v1.HalfOpen.String() {
			n++
		}
	}
	return n
}

// spoil makes something of the next datagram that its receiver must not fall for.
func (w *world) spoil(how string) {
	w.cut = func(d *session.Datagram) {
		switch how {
		case "truncate":
			d.Data = d.Data[:len(d.Data)/2]
		case "flip":
			d.Data[len(d.Data)-1] ^= 1
		}
	}
}

func (w *world) unknownSPI(g *gateway, words map[string]string) {
	in := session.UnknownSPI{
		SPI:     0x12345678,
		Local:   netip.AddrPortFrom(netip.MustParseAddr(words["to"]), 0),
		Remote:  netip.AddrPortFrom(netip.MustParseAddr(words["from"]), 0),
		Packets: 1,
	}
	for _, other := range w.gateways {
		for _, sa := range other.out {
			if w.names[sa.Pair.String()] == words["sent-on"] {
				in.SPI = sa.SPI
			}
		}
	}
	w.step(g, in)
}

// status prints what show prints, less what looks different each time.
func (w *world) status(g *gateway) {
	st := g.engine.Status(w.now)
	for _, c := range st.Connections {
		fmt.Fprintf(&w.log, "conn %s %s reason=%q last-error=%q\n", c.Conn, c.State, c.Reason, c.LastError)
	}
	for _, i := range st.IKE {
		role := "responder"
		if i.Initiator {
			role = "initiator"
		}
		fmt.Fprintf(&w.log, "ike %s %s %s %v %v ids %s %s %s nat %v/%v\n", i.Conn, i.State, role, i.Local, i.Remote,
			i.LocalID, i.RemoteID, i.Suite, i.NATLocal, i.NATRemote)
	}
	children := slices.Clone(st.Children)
	slices.SortFunc(children, func(a, b session.ChildStatus) int { return strings.Compare(w.spi(g, a.SPIIn), w.spi(g, b.SPIIn)) })
	for _, c := range children {
		fmt.Fprintf(&w.log, "child %s/%s %s %s %s encap=%v %v to %v\n", c.Conn, c.Child, c.State, w.spi(g, c.SPIIn), c.Suite, c.Encap, c.LocalTS, c.RemoteTS)
	}
	fmt.Fprintf(&w.log, "data path: %d in, %d out, %d policies\n", len(g.in), len(g.out), len(g.policies))
}
