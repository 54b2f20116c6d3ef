package ladder

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"spindle/ike/session"
)

// Words are the key=value words of a line.
type Words map[string]string

// Get is a word, or what it is when it is not there.
func (words Words) Get(key, fallback string) string {
	if v, ok := words[key]; ok {
		return v
	}
	return fallback
}

// read splits a command into the word in front, which has no value, and the rest.
func read(td *datadriven.TestData) (first string, words Words) {
	words = Words{}
	for i, arg := range td.CmdArgs {
		if i == 0 && len(arg.Vals) == 0 {
			first = arg.Key
			continue
		}
		words[arg.Key] = strings.Join(arg.Vals, ",")
	}
	return first, words
}

// command carries out one command of a ladder.
func (w *World) command(td *datadriven.TestData) {
	first, words := read(td)
	g := w.Gateways[first]
	switch td.Cmd {
	case "gateway", "connections":
		if g == nil {
			g = w.Add(first, first[1], session.Secret(words["crash-secret"]))
		}
		if td.Cmd == "gateway" {
			w.Configure(g, w.Connection(words))
		} else {
			w.connections(g, td.Input)
		}
	case "run":
		limit, err := time.ParseDuration(first)
		if err != nil {
			w.T.Fatal(err)
		}
		w.Run(limit)
	case "lose":
		fmt.Sscan(first, &w.Drop)
	case "message-ids":
		fmt.Sscan(first, &w.MessageIDs)
	case "nat":
		w.nat[netip.MustParseAddr(words["inside"])] = netip.MustParseAddr(words["outside"])
	case "publish":
		w.publish(words)
	case "spoil":
		w.spoilNext(first)
	case "status":
		w.status(g)
	default:
		if !w.operator(g, td.Cmd, words) && !w.fate(g, td.Cmd, words) && !w.version.Command(w, g, td.Cmd, words) {
			w.T.Fatalf("unknown command %s", td.Cmd)
		}
	}
}

// connections configures one connection a line.
func (w *World) connections(g *Gateway, input string) {
	var conns []session.Connection
	for _, line := range strings.Split(strings.TrimSpace(input), "\n") {
		words := Words{}
		for _, word := range strings.Fields(line) {
			key, value, _ := strings.Cut(word, "=")
			words[key] = value
		}
		conns = append(conns, w.Connection(words))
	}
	w.Configure(g, conns...)
}

// operator is what somebody asks of a gateway.
func (w *World) operator(g *Gateway, name string, words Words) bool {
	switch name {
	case "up":
		w.Step(g, session.Initiate{Conn: "t", Child: words["child"]})
	case "down":
		w.Step(g, session.Terminate{Conn: "t", Child: words["child"]})
	case "rekey":
		w.Step(g, session.Rekey{Conn: "t", Child: words["child"]})
	case "forget":
		w.Step(g, session.Forget{Conn: "t"})
	case "shutdown":
		w.Step(g, session.Shutdown{})
	default:
		return false
	}
	return true
}

// fate is what happens to a gateway: by its data path, its host and its network.
func (w *World) fate(g *Gateway, name string, words Words) bool {
	switch name {
	case "packet":
		w.Packet(g, words.flow())
	case "expire":
		w.expire(g, words)
	case "silence":
		w.silence(g, words)
	case "moved":
		for _, pair := range slices.Sorted(maps.Keys(g.Out)) {
			w.Step(g, session.Moved{Pair: pair, Remote: netip.MustParseAddrPort(words["to"])})
		}
	case "esp":
		w.unknownSPI(g, words)
	case "unplug", "plug":
		g.unplugged = name == "unplug"
	case "deaf":
		g.deaf = true
	case "crash":
		w.reboot(g, g.crashSecret)
	case "impostor":
		w.reboot(g, session.Secret("another"))
	case "addresses":
		g.roams = addrs(w.T, words["are"])
		w.Step(g, session.AddressesChanged{Addresses: g.roams})
	case "roams":
		g.roams = addrs(w.T, words["are"])
	case "garbage":
		w.garbage(g, words)
	default:
		return false
	}
	return true
}

func (w *World) expire(g *Gateway, words Words) {
	for pair := range g.In {
		if w.spi(g, pair) == words["sa"] {
			w.Step(g, session.Expire{Pair: pair, Hard: words["bound"] == "hard", Cause: words["cause"]})
			return
		}
	}
	w.T.Errorf("%s has no SA %s", g.Name, words["sa"])
}

// silence is what a data path says of every pair that sends and hears nothing;
// last is how long ago it last did, empty for never.
func (w *World) silence(g *Gateway, words Words) {
	var last time.Time
	if ago, err := time.ParseDuration(words["last"]); err == nil {
		last = w.Now.Add(-ago)
	}
	for _, pair := range slices.Sorted(maps.Keys(g.Out)) {
		w.Step(g, session.Silence{Pair: pair, LastIn: last})
	}
}

func (w *World) unknownSPI(g *Gateway, words Words) {
	in := session.UnknownSPI{
		SPI:     0x12345678,
		Local:   netip.AddrPortFrom(netip.MustParseAddr(words["to"]), 0),
		Remote:  netip.AddrPortFrom(netip.MustParseAddr(words["from"]), 0),
		Packets: 1,
	}
	for _, other := range w.Gateways {
		for _, sa := range other.Out {
			if w.names[sa.Pair.String()] == words["sent-on"] {
				in.SPI = sa.SPI
			}
		}
	}
	w.Step(g, in)
}

// garbage is what no peer would send.
func (w *World) garbage(g *Gateway, words Words) {
	d := session.Datagram{Local: netip.MustParseAddrPort(words["to"]), Remote: netip.MustParseAddrPort(words["from"])}
	if words["what"] != "noise" {
		w.version.Garbage(w, g, words["what"], d)
		return
	}
	rnd := rand.NewChaCha8([32]byte{1})
	for range 20 {
		d.Data = make([]byte, 1+rnd.Uint64()%200)
		rnd.Read(d.Data)
		w.Step(g, d)
	}
}

// Flooded tells what a flood left, and takes the answers off the wire.
func (w *World) Flooded(g *Gateway, what string) {
	w.Log.Reset()
	w.Print("%d half-open %s", w.HalfOpen(g), what)
	w.flight = nil
}

// spoilNext makes something of the next datagram that its receiver must not fall for.
func (w *World) spoilNext(how string) {
	w.spoil = func(d *session.Datagram) {
		switch how {
		case "truncate":
			d.Data = d.Data[:len(d.Data)/2]
		case "flip":
			d.Data[len(d.Data)-1] ^= 1
		}
	}
}
