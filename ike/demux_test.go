package ike_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

// both is two gateways with an IKEv1 and an IKEv2 connection between the same
// addresses: what a datagram is for shows in the datagram alone.
type both struct {
	t        testing.TB
	now      time.Time
	engines  map[netip.Addr]*ike.Engine
	out      map[netip.Addr]map[sadb.SPI]bool // pairs that send
	flight   []session.Datagram
	recorded [][]byte
}

func newBoth(t testing.TB) *both {
	b := &both{t: t, now: midnight, engines: map[netip.Addr]*ike.Engine{}, out: map[netip.Addr]map[sadb.SPI]bool{}}
	for i, at := range []netip.Addr{us, them} {
		rnd := rand.NewChaCha8([32]byte{byte(i + 1)})
		b.engines[at] = ike.New(ike.Config{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd), Trace: true})
		b.out[at] = map[sadb.SPI]bool{}
		b.step(at, session.ConfigChanged{Connections: []session.Connection{
			versioned(t, 1, at, "aes128-sha256-ecp256"), versioned(t, 2, at, "aes128gcm16-prfsha256-ecp256")}})
	}
	for _, name := range []string{"IKEv1", "IKEv2"} {
		b.step(us, session.Initiate{Conn: name})
	}
	b.run(time.Second)
	return b
}

func versioned(t testing.TB, version int, at netip.Addr, proposal string) session.Connection {
	p, err := suite.ParseIKE(proposal)
	if err != nil {
		t.Fatal(err)
	}
	esp, err := suite.ParseESP("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	net := func(last byte) []sadb.Selector {
		return []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(version), last, 0}), 24))}
	}
	peer, local, remote := them, net(1), net(2)
	if at == them {
		peer, local, remote = us, remote, local
	}
	identity := func(a netip.Addr) session.Identity { return session.Identity{Type: session.IDIPv4, Data: a.AsSlice()} }
	return session.Connection{
		Name: map[int]string{1: "IKEv1", 2: "IKEv2"}[version], Version: version, PSK: session.Secret("a shared secret"), IKE: []suite.Proposal{p},
		Local:  session.Endpoint{Addresses: []netip.Addr{at}, ID: identity(at)},
		Remote: session.Endpoint{Addresses: []netip.Addr{peer}, Hosts: []string{peer.String()}, ID: identity(peer)},
		DPD:    session.DPD{Mode: session.DPDOff},
		Children: []session.Child{{Name: "lan", Local: local, Remote: remote, ESP: []suite.Proposal{esp}, ReplayWindow: 64,
			Lifetime: sadb.Lifetime{Time: time.Hour}}},
	}
}

// step gives an engine an input and puts on the wire what it sends.
func (b *both) step(at netip.Addr, in session.Input) {
	for _, o := range b.engines[at].Step(b.now, in) {
		switch o := o.(type) {
		case session.Send:
			b.flight = append(b.flight, session.Datagram{Local: o.Remote, Remote: o.Local, Data: slices.Clone(o.Data)})
			b.recorded = append(b.recorded, slices.Clone(o.Data))
		case session.AddSA:
			if o.SA.Direction == sadb.Outbound {
				b.out[at][o.SA.Pair] = true
			}
		case session.DeleteSA:
			if o.Direction == sadb.Outbound {
				delete(b.out[at], o.Pair)
			}
		}
	}
}

// run delivers what is on the wire and lets that much time pass.
func (b *both) run(limit time.Duration) {
	for end := b.now.Add(limit); ; {
		for len(b.flight) > 0 {
			d := b.flight[0]
			b.flight = b.flight[1:]
			if b.engines[d.Local.Addr()] != nil {
				b.step(d.Local.Addr(), d)
			}
		}
		next := end
		for at, e := range b.engines {
			if due := e.Deadline(); !due.IsZero() && due.Before(next) {
				next = due
				b.now = later(b.now, due)
				b.step(at, session.Tick{})
			}
		}
		if next == end {
			b.now = end
			return
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// tunnels is how many connections stand at each end.
func (b *both) tunnels() [2]int { return [2]int{len(b.out[us]), len(b.out[them])} }

// TestBothVersionsAtOnce: two tunnels between the same two addresses, one by each
// version of IKE.
func TestBothVersionsAtOnce(t *testing.T) {
	b := newBoth(t)
	if b.tunnels() != [2]int{2, 2} {
		t.Fatalf("%v tunnels", b.tunnels())
	}
	for _, st := range b.engines[us].Status(b.now).IKE {
		want := map[string]string{"IKEv1": "main", "IKEv2": "IKE_SA_INIT"}[st.Conn]
		if st.Exchange != want || st.State != "established" {
			t.Errorf("%s: %s, made by %s", st.Conn, st.State, st.Exchange)
		}
	}
}

// FuzzBothVersions: whatever comes in, as it is, as a message of the other version
// and with the SPIs of either IKE SA, both tunnels stand and nothing is kept of it.
func FuzzBothVersions(f *testing.F) {
	for _, data := range newBoth(f).recorded {
		f.Add(uint8(0), data)
		f.Add(uint8(7), data)
	}
	f.Fuzz(func(t *testing.T, how uint8, data []byte) {
		b := newBoth(t)
		for _, at := range []netip.Addr{us, them} {
			d := session.Datagram{Local: netip.AddrPortFrom(at, 500), Remote: netip.AddrPortFrom(map[netip.Addr]netip.Addr{us: them, them: us}[at], 500), Data: slices.Clone(data)}
			if how&1 != 0 && len(d.Data) > 17 {
				d.Data[17] ^= 0x30 // version 1.0 for 2.0
			}
			if sas := b.engines[at].Status(b.now).IKE; how&2 != 0 && len(sas) > 0 && len(d.Data) >= 16 {
				sa := sas[int(how>>3)%len(sas)]
				for i := range 8 {
					d.Data[7-i], d.Data[15-i] = byte(sa.SPIi>>(8*i)), byte(sa.SPIr>>(8*i))
				}
			}
			if how&4 != 0 && len(d.Data) >= 20 {
				d.Data[18], d.Data[16] = d.Data[16], d.Data[18] // exchange for next payload
			}
			b.step(at, d)
			b.run(2 * time.Second)
		}
		if b.tunnels() != [2]int{2, 2} {
			t.Errorf("%v tunnels left", b.tunnels())
		}
		b.run(2 * time.Minute)
		for at, e := range b.engines {
			if sas := e.Status(b.now).IKE; len(sas) != 2 {
				t.Errorf("%v holds %+v", at, sas)
			}
		}
	})
}

// TestFloodOfVersion1: whoever forges addresses can fill what IKEv1 may hold half open,
// and must not shut IKEv2 out by that, whose peers return cookies.
func TestFloodOfVersion1(t *testing.T) {
	b := newBoth(t)
	first := b.recorded[0]
	b.step(us, session.Terminate{Conn: "IKEv2"})
	b.run(time.Minute)
	for i := range 1100 {
		data := slices.Clone(first)
		data[0], data[1] = byte(i>>8), byte(i)
		b.engines[them].Step(b.now, session.Datagram{Local: netip.AddrPortFrom(them, 500), Remote: netip.AddrPortFrom(us, 500), Data: data})
	}
	b.step(us, session.Initiate{Conn: "IKEv2"})
	b.run(5 * time.Second)
	if up := b.tunnels(); up != [2]int{2, 2} {
		t.Errorf("%v tunnels are up, want both", up)
	}
}
