package main

import (
	"log/slog"
	"maps"
	"net/netip"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// books is a control process without engine or data path: it only counts.
func books() *control { return &control{ledger: newLedger(), tallies: newTallies()} }

// installs and deletes one outbound SA of r8/lan, as the engine has it done.
func (c *control) installs(pair sadb.SPI) {
	sa := sadb.SA{Direction: sadb.Outbound, Pair: pair, SPI: pair, Conn: "r8", Child: "lan"}
	c.rekeyed(sa)
	c.ledger.add(sa)
}

func (c *control) deletes(pair sadb.SPI) {
	c.gapOpens(session.DeleteSA{Direction: sadb.Outbound, Pair: pair})
	c.ledger.remove(sadb.Outbound, pair)
}

func (c *control) expires(cause string) {
	c.tallies.note(session.Audit{Event: "child SA expired", Attrs: []slog.Attr{slog.String("conn", "r8"), slog.String("child", "lan"), slog.String("cause", cause)}})
}

// TestRekeyGap: a rekey that is made before the old SA breaks has no gap; one that
// comes after a hard expiry has; what idles or is taken down was not to be rekeyed.
func TestRekeyGap(t *testing.T) {
	c := books()
	c.installs(1)
	r := c.tallies.rekeys[childName{"r8", "lan"}]
	c.installs(2)
	c.deletes(1)
	if r.Count != 1 || r.GapUS != 0 {
		t.Errorf("make before break: %+v", r.Rekeys)
	}
	c.expires("bytes")
	c.deletes(2)
	time.Sleep(time.Millisecond)
	c.installs(3)
	if r.Count != 2 || r.GapUS < 1000 {
		t.Errorf("after a hard expiry: %+v", r.Rekeys)
	}
	was := r.Rekeys
	c.expires("idle")
	c.deletes(3)
	c.installs(4)
	c.deletes(4)
	c.installs(5)
	if r.Rekeys != was {
		t.Errorf("idle, then down: %+v, was %+v", r.Rekeys, was)
	}
}

// TestOutcomes: each end of a negotiation counts for its connection.
func TestOutcomes(t *testing.T) {
	c := books()
	for _, a := range []session.Audit{
		{Event: "IKE SA established", Attrs: []slog.Attr{slog.String("conn", "r8")}},
		{Event: "IKE SA established", Attrs: []slog.Attr{slog.String("conn", "r8")}},
		{Event: "negotiation refused", Attrs: []slog.Attr{slog.String("peer", "192.0.2.9:500")}},
		{Event: "ISAKMP SA established", Attrs: []slog.Attr{slog.String("conn", "old")}},
		{Event: "ISAKMP SA replaced", Attrs: []slog.Attr{slog.String("conn", "old")}},
		{Event: "half-open ISAKMP SA timed out"},
		{Event: "IKE message"},
	} {
		c.tallies.note(a)
	}
	got := c.tallies.outcomes
	want := map[outcome]uint64{{"r8", "ike_established"}: 2, {"", "ike_refused"}: 1,
		{"old", "ike_established"}: 1, {"old", "ike_rekeyed"}: 1, {"", "ike_timed_out"}: 1}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestStrangersAreBounded: a flood from as many sources as there are takes no more
// memory, and the peer that is heard of again stays.
func TestStrangersAreBounded(t *testing.T) {
	c := books()
	at := time.Unix(1800000000, 0)
	peer := netip.MustParseAddrPort("192.0.2.8:0")
	for i := range 3 * strangerLimit {
		at = at.Add(time.Millisecond)
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		c.tallies.unknown(keysock.UnknownSPI{SPI: 300, Remote: netip.AddrPortFrom(from, 0), Packets: 1}, at)
		if i%100 == 0 {
			c.tallies.unknown(keysock.UnknownSPI{SPI: 301, Remote: peer, Packets: 2}, at)
		}
	}
	if n := len(c.tallies.spis); n != strangerLimit {
		t.Errorf("%d sources are kept", n)
	}
	if u := c.tallies.spis[peer.Addr()]; u.packets != 2*31 || u.spi != 301 {
		t.Errorf("the peer: %+v", u)
	}
}
