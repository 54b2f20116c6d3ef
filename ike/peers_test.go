package ike_test

import (
	"net/netip"
	"testing"
	"time"

	"spindle/ike/session"
)

// TestNameResolvesAnew: P1: when a peer's name leads elsewhere than before, what is
// under way goes on; the next negotiation goes to the new address, and no
// configuration is taken for changed.
func TestNameResolvesAnew(t *testing.T) {
	e := newEngine()
	named := connection(t, 1, session.StartTraffic)
	named.Remote.Hosts = []string{"r8.example.net"}
	at := func(addr string) session.Connection {
		c := named
		c.Remote.Addresses = []netip.Addr{netip.MustParseAddr(addr)}
		return c
	}
	goesTo := func(now time.Time, in session.Input) (to []string) {
		sent, _ := answers(e.Step(now, in))
		for _, s := range sent {
			to = append(to, s.Remote.Addr().String())
		}
		return to
	}
	e.Step(midnight, session.ConfigChanged{Connections: []session.Connection{at("192.0.2.8")}})
	if to := goesTo(midnight, session.Initiate{Conn: "c1"}); len(to) != 1 || to[0] != "192.0.2.8" {
		t.Fatalf("the first negotiation goes to %v", to)
	}
	if to := goesTo(midnight, session.ConfigChanged{Connections: []session.Connection{at("192.0.2.9")}}); len(to) != 0 {
		t.Errorf("a new address makes messages to %v", to)
	}
	if st := e.Status(midnight); len(st.IKE) != 1 || st.IKE[0].Remote.Addr().String() != "192.0.2.8" {
		t.Errorf("what is under way is now %+v", st.IKE)
	}
	e.Step(midnight, session.Terminate{Conn: "c1"})
	if to := goesTo(midnight, session.Initiate{Conn: "c1"}); len(to) != 1 || to[0] != "192.0.2.9" {
		t.Errorf("the next negotiation goes to %v", to)
	}
}
