package ladder

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"spindle/ike/session"
)

// Midnight is when every world begins.
var Midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Latency is what a datagram takes.
const Latency = 5 * time.Millisecond

// World is engines on a virtual clock. It keeps for each gateway the SAs and
// policies that a data path would hold.
type World struct {
	T        testing.TB
	Now      time.Time
	Gateways map[string]*Gateway
	Log      strings.Builder                         // what happened
	Watch    func(from *Gateway, d session.Datagram) // sees every datagram
	Drop     int                                     // so many datagrams get lost
	// Hold is how much later than usual a datagram arrives, nil for not at all.
	Hold func(to string, d session.Datagram) time.Duration

	MessageIDs uint32 // of gateways that are added: an IKE SA is rekeyed after so many

	version *Version
	flight  []arrival                 // by time
	spoil   func(d *session.Datagram) // spoils the next datagram
	nat     map[netip.Addr]netip.Addr // inside to outside address
	web     map[string][]byte         // what there is to fetch, by host
	names   map[string]string         // SPI in hex to a name that does not change
	texts   map[string]string         // datagram to its message
}

// arrival is what reaches a gateway at some time.
type arrival struct {
	at time.Time
	to string
	in session.Input
}

// New is a world without gateways.
func New(t testing.TB, v *Version) *World {
	return &World{T: t, version: v, Now: Midnight, Gateways: map[string]*Gateway{}, nat: map[netip.Addr]netip.Addr{},
		web: map[string][]byte{}, names: map[string]string{}, texts: map[string]string{}}
}

// Running is the two gateways of the running example, r6 and r8, configured with
// some words more and always with the same randomness.
func Running(t testing.TB, v *Version, words Words) *World {
	w := New(t, v)
	r6 := Words{"addr": "192.0.2.1", "peer": "192.0.2.2"}
	r8 := Words{"addr": "192.0.2.2", "peer": "192.0.2.1", "ts": "10.8.8.8/32=10.6.6.6/32"}
	maps.Copy(r6, words)
	maps.Copy(r8, words)
	w.Configure(w.Add("r6", 6, nil), w.Connection(r6))
	w.Configure(w.Add("r8", 8, nil), w.Connection(r8))
	return w
}

// Dial sends the first packet from r6 to r8.
func (w *World) Dial() { w.Packet(w.Gateways["r6"], ping("10.6.6.6", "10.8.8.8")) }

// DialBack sends the first packet from r8 to r6.
func (w *World) DialBack() { w.Packet(w.Gateways["r8"], ping("10.8.8.8", "10.6.6.6")) }

// Deliver lets something reach a gateway, behind what arrives at the same time.
func (w *World) Deliver(at time.Time, to string, in session.Input) {
	i, _ := slices.BinarySearchFunc(w.flight, at.Add(1), func(a arrival, t time.Time) int { return a.at.Compare(t) })
	w.flight = slices.Insert(w.flight, i, arrival{at, to, in})
}

// Run delivers datagrams and fires timers for that long.
func (w *World) Run(limit time.Duration) {
	end := w.Now.Add(limit)
	for range 100000 {
		next, g := w.next()
		if next.IsZero() || next.After(end) {
			w.Now = end
			return
		}
		if next.After(w.Now) {
			w.Now = next
		}
		if g != nil {
			w.Step(g, session.Tick{})
			continue
		}
		a := w.flight[0]
		w.flight = w.flight[1:]
		w.Step(w.Gateways[a.to], a.in)
	}
	w.T.Fatal("the world does not come to rest")
}

// next is the first datagram or timer; the gateway is nil for a datagram.
func (w *World) next() (time.Time, *Gateway) {
	var at time.Time
	var first *Gateway
	if len(w.flight) > 0 {
		at = w.flight[0].at
	}
	for _, name := range w.Names() {
		g := w.Gateways[name]
		if due := g.Engine.Deadline(); !due.IsZero() && (at.IsZero() || due.Before(at)) {
			at, first = due, g
		}
	}
	return at, first
}

// Names are those of the gateways, in order.
func (w *World) Names() []string { return slices.Sorted(maps.Keys(w.Gateways)) }
