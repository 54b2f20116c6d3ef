package ladder

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"spindle/ike/session"
)

// Trials are what an attacker finds different in a version.
type Trials struct {
	Words     Words // more words of the two connections
	Handshake int   // messages up to the first child SA
	Clear     int   // of them with no protection
	HalfOpen  int   // IKE SAs that strangers can make a gateway hold

	// Unprotected are the octets of a header that nothing covers: to change them
	// makes the same message.
	Unprotected []int
}

// message is one that was recorded, and who got it.
type message struct {
	to string
	d  session.Datagram
}

// record plays a whole life, handshake, rekey, delete of a child SA, and keeps
// every datagram.
func record(t testing.TB, v *Version) []message {
	w := Running(t, v, v.Trials.Words)
	all := w.tap()
	w.Dial()
	w.Run(time.Second)
	w.expireAll("r8")
	w.Run(10 * time.Second)
	w.Step(w.Gateways["r6"], session.Terminate{Conn: "t", Child: "lan"})
	w.Run(10 * time.Second)
	return *all
}

// tap keeps every datagram from now on.
func (w *World) tap() *[]message {
	all := new([]message)
	w.Watch = func(_ *Gateway, d session.Datagram) {
		d.Data = slices.Clone(d.Data)
		*all = append(*all, message{w.At(d.Local), d})
	}
	return all
}

// expireAll has a gateway rekey what it holds.
func (w *World) expireAll(name string) {
	for pair := range w.Gateways[name].In {
		w.Step(w.Gateways[name], session.Expire{Pair: pair})
	}
}

// spoilt calls f with every truncation of a message and with flipped bits all
// over it.
func (v *Version) spoilt(data []byte, f func(data []byte)) {
	for n := range data {
		f(slices.Clone(data[:n]))
	}
	for i := range data {
		if slices.Contains(v.Trials.Unprotected, i) {
			continue
		}
		flipped := slices.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		f(flipped)
	}
}

// EstablishedSurvivesSpoilt delivers every truncation and bit flip of every
// message of a life to both ends of a standing tunnel, and then lets the tunnel
// be rekeyed.
func EstablishedSurvivesSpoilt(t *testing.T, v *Version) {
	messages := record(t, v)
	w := Running(t, v, v.Trials.Words)
	w.Dial()
	w.Run(time.Second)
	before := w.databases()
	for _, m := range messages {
		v.spoilt(m.d.Data, func(data []byte) {
			for _, name := range w.Names() {
				d := m.d
				d.Data = data
				if w.At(d.Local) != name {
					d.Local, d.Remote = d.Remote, d.Local
				}
				w.Step(w.Gateways[name], d)
			}
		})
		w.Now = w.Now.Add(time.Millisecond)
	}
	w.Run(40 * time.Second)
	if after := w.databases(); after != before {
		t.Fatalf("a spoilt message changed the data path:\n%s\nbefore:\n%s", after, before)
	}
	for _, name := range w.Names() {
		w.OnlyEstablished(w.Gateways[name])
	}
	w.expireAll("r6")
	w.Run(20 * time.Second)
	if after := w.databases(); after == before {
		t.Error("the tunnel cannot be rekeyed any more")
	}
	w.Check()
}

// HandshakeSurvivesSpoilt spoils each message of a handshake in turn in every
// way, in front of the true one. The handshake must come to its end.
func HandshakeSurvivesSpoilt(t *testing.T, v *Version) {
	for n := range v.Trials.Handshake {
		w := Running(t, v, v.Trials.Words)
		count := 0
		w.Watch = func(_ *Gateway, d session.Datagram) {
			if count++; count-1 != n {
				return
			}
			to := w.At(d.Local)
			v.spoilt(d.Data, func(data []byte) {
				// What is changed in a message without protection makes another one.
				if n < v.Trials.Clear && len(data) == len(d.Data) {
					return
				}
				bad := d
				bad.Data = data
				w.Deliver(w.Now, to, bad)
			})
		}
		w.Dial()
		w.Run(5 * time.Second)
		for _, name := range w.Names() {
			w.OnlyEstablished(w.Gateways[name])
			if len(w.Gateways[name].Out) != 1 {
				t.Errorf("message %d: %s has no tunnel", n, name)
			}
		}
		w.Check()
	}
}

// ReplayChangesNothing delivers every message of a life a second time, at every
// later moment of another one.
func ReplayChangesNothing(t *testing.T, v *Version) {
	w := Running(t, v, nil)
	w.Dial()
	w.Run(time.Second)
	if len(w.Gateways["r8"].Out) != 1 {
		t.Fatalf("no tunnel:\n%s", w.Log.String())
	}
	seen := w.tap()
	for range 3 {
		w.expireAll("r6")
		w.Run(15 * time.Second)
		before := w.databases()
		for _, old := range slices.Clone(*seen) {
			w.Step(w.Gateways[old.to], old.d)
		}
		w.Run(time.Second)
		if after := w.databases(); after != before {
			t.Fatalf("a replayed message changed the data path:\n%s\nbefore:\n%s", after, before)
		}
	}
	w.Check()
}

// HalfOpenLimit floods a gateway from many addresses: what it holds stays bounded
// and goes away again.
func HalfOpenLimit(t *testing.T, v *Version) {
	first := record(t, v)[0].d
	w := New(t, v)
	g := w.Add("r8", 8, nil)
	w.Configure(g, w.Connection(Words{"addr": "192.0.2.2", "ts": "10.8.8.8/32=10.6.6.6/32", "peerid": "r6"}))
	for i := range 3000 {
		d := first
		d.Data = slices.Clone(first.Data)
		d.Data[0], d.Data[1] = byte(i>>8), byte(i)
		d.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 500)
		w.Step(g, d)
		w.flight = nil
		w.Log.Reset()
	}
	if n := w.HalfOpen(g); n == 0 || n > v.Trials.HalfOpen {
		t.Errorf("%d half-open IKE SAs", n)
	}
	w.Run(time.Minute)
	if st := g.Engine.Status(w.Now); len(st.IKE) != 0 {
		t.Errorf("%d IKE SAs left", len(st.IKE))
	}
	if due := g.Engine.Deadline(); !due.IsZero() {
		t.Errorf("a timer is left: %v", due)
	}
	if len(g.Audits) > 200 {
		t.Errorf("%d log lines about strangers", len(g.Audits))
	}
}

// bare is a message without what nothing protects.
func (v *Version) bare(data []byte) string {
	b := slices.Clone(data)
	for _, i := range v.Trials.Unprotected {
		if i < len(b) {
			b[i] = 0
		}
	}
	return string(b)
}

const versionAt = 17 // RFC 7296 §3.1, RFC 2408 §3.1

// FuzzDatagram gives the engines arbitrary datagrams in a state of the fuzzer's
// choice, as messages of both versions. A tunnel that stands must stay.
func FuzzDatagram(f *testing.F, v *Version) {
	authentic := map[string]bool{}
	for i, m := range record(f, v) {
		f.Add(uint8(i), m.d.Data)
		authentic[v.bare(m.d.Data)] = true
	}
	f.Fuzz(func(t *testing.T, state uint8, data []byte) {
		w := Running(t, v, v.Trials.Words)
		w.Dial()
		w.Run(time.Duration(state%6) * Latency)
		for _, name := range w.Names() {
			d := session.Datagram{Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:500"), Data: slices.Clone(data)}
			if name == "r8" {
				d.Local, d.Remote = d.Remote, d.Local
			}
			w.Step(w.Gateways[name], d)
			if len(d.Data) > versionAt {
				d.Data[versionAt] ^= 0x30
				w.Step(w.Gateways[name], d)
			}
		}
		w.Run(2 * time.Second)
		// With the same randomness what was recorded is genuine here as well.
		if state%6 == 5 && !authentic[v.bare(data)] && (len(w.Gateways["r6"].Out) != 1 || len(w.Gateways["r8"].Out) != 1) {
			t.Errorf("the tunnel is gone:\n%s", w.Log.String())
		}
		w.Run(time.Minute)
		for _, g := range w.Gateways {
			if g.SPIs() != len(g.In) {
				t.Errorf("%s holds %d SPIs for %d inbound SAs", g.Name, g.SPIs(), len(g.In))
			}
		}
	})
}
