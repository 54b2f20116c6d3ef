package v2_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"spindle/ike/session"
	"spindle/ike/v2"
	"spindle/ike/wire"
	"spindle/sadb"
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
			g = w.addWith(first, first[1], session.Secret(words["crash-secret"]))
		}
		w.configure(g, conn(w.t, words))
	case "connections":
		w.connections(g, td.Input)
	case "packet":
		w.packet(g, words)
	case "up":
		w.step(g, session.Initiate{Conn: "t", Child: words["child"]})
	case "down":
		w.step(g, session.Terminate{Conn: "t", Child: words["child"]})
	case "rekey":
		w.step(g, session.Rekey{Conn: "t", Child: words["child"]})
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
	case "impostor":
		fresh := w.addWith(g.name, g.name[1]+100, session.Secret("another"))
		w.configure(fresh, g.conns...)
	case "deaf":
		g.deaf = true
	case "forget":
		w.step(g, session.Forget{Conn: "t"})
	case "silence":
		w.silence(g, words)
	case "hearsay":
		w.hearsay(g, words)
	case "addresses":
		g.roams = addrs(w.t, words["are"])
		w.step(g, session.AddressesChanged{Addresses: g.roams})
	case "roams":
		g.roams = addrs(w.t, words["are"])
	case "nat":
		w.nat[netip.MustParseAddr(words["inside"])] = netip.MustParseAddr(words["outside"])
	case "publish":
		w.publish(words)
	case "garbage":
		w.garbage(g, words)
	case "spoil":
		w.spoil(first)
	case "moved":
		for _, pair := range slices.Sorted(maps.Keys(g.out)) {
			w.step(g, session.Moved{Pair: pair, Remote: netip.MustParseAddrPort(words["to"])})
		}
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

// crash is a reboot: all state is gone, and nobody was told.
func (w *world) crash(g *gateway) {
	fresh := w.addWith(g.name, g.name[1]+100, g.crashSecret)
	w.configure(fresh, g.conns...)
}

// silence is what a data path says of every pair that sends and hears nothing;
// last is how long ago it last did, empty for never.
func (w *world) silence(g *gateway, words map[string]string) {
	var last time.Time
	if ago, err := time.ParseDuration(words["last"]); err == nil {
		last = w.now.Add(-ago)
	}
	for _, pair := range slices.Sorted(maps.Keys(g.out)) {
		w.step(g, session.Silence{Pair: pair, LastIn: last})
	}
}

// hearsay is an INVALID_SPI in the clear for what the gateway sends with.
func (w *world) hearsay(g *gateway, words map[string]string) {
	for _, pair := range slices.Sorted(maps.Keys(g.out)) {
		data, err := wire.AppendMessage(nil, wire.Header{Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator},
			[]wire.Payload{wire.Notify{Type: wire.NotifyInvalidSPI, Data: binary.BigEndian.AppendUint32(nil, uint32(g.out[pair].SPI))}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.step(g, session.Datagram{Local: netip.MustParseAddrPort(words["to"]), Remote: netip.MustParseAddrPort(words["from"]), Data: data})
	}
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
	case "version3":
		d.Data, _ = wire.AppendMessage(nil, wire.Header{InitiatorSPI: 7, Version: 0x30, Exchange: wire.ExchangeIKESAInit, Flags: wire.FlagInitiator}, nil)
		w.step(g, d)
	case "unknown":
		d.Data, _ = wire.AppendMessage(nil, wire.Header{InitiatorSPI: 7, ResponderSPI: 8, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator, MessageID: 5}, nil)
		w.step(g, d)
	case "flood":
		for i := range 40 {
			d.Data, _ = wire.AppendMessage(nil, wire.Header{InitiatorSPI: wire.SPI(1000 + i), Exchange: wire.ExchangeIKESAInit, Flags: wire.FlagInitiator},
				initPayloads(g.conns[0]))
			w.step(g, d)
		}
		w.log.Reset()
		w.print("%d half-open IKE SAs", w.halfOpen(g))
		w.flight = nil
	}
}

func (w *world) halfOpen(g *gateway) int {
	n := 0
	for _, st := range g.engine.Status(w.now).IKE {
		if st.State == v2.InitAnswered.String() {
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
		fmt.Fprintf(&w.log, "child %s/%s %s %s %s encap=%v %v to %v%s\n", c.Conn, c.Child, c.State, w.spi(g, c.SPIIn), c.Suite, c.Encap, c.LocalTS, c.RemoteTS, transport(c.Mode))
	}
	for _, l := range st.Leases {
		fmt.Fprintf(&w.log, "lease %s %s %v ours=%v dns %v subnets %v\n", l.Conn, l.Peer, l.Address, l.Ours, l.DNS, l.Subnets)
	}
	fmt.Fprintf(&w.log, "data path: %d in, %d out, %d policies\n", len(g.in), len(g.out), len(g.policies))
}

func transport(m sadb.Mode) string {
	if m == sadb.Transport {
		return " transport"
	}
	return ""
}

// initPayloads are a request that the connection accepts.
func initPayloads(c session.Connection) []wire.Payload {
	var sa wire.SA
	for i, p := range c.IKE {
		sa.Proposals = append(sa.Proposals, p.Wire(uint8(i+1), nil))
	}
	key := make([]byte, 32)
	key[0] = 9 // the base point of Curve25519
	return []wire.Payload{sa, wire.KE{Group: wire.GroupX25519, Data: key}, wire.Nonce{Data: make([]byte, 32)}}
}
