package ike_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newEngine() *ike.Engine {
	rnd := rand.NewChaCha8([32]byte{1})
	return ike.New(ike.Config{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd)})
}

// answers what an engine sends, and audits its lines.
func answers(outputs []session.Output) (sent []session.Send, audits []session.Audit) {
	for _, o := range outputs {
		switch o := o.(type) {
		case session.Send:
			sent = append(sent, o)
		case session.Audit:
			audits = append(audits, o)
		}
	}
	return sent, audits
}

// TestStrangersAreAnsweredSeldom: RFC 7296 §2.21.4, answers outside an IKE SA
// must be rate limited, and a response is never answered.
func TestStrangersAreAnsweredSeldom(t *testing.T) {
	e := newEngine()
	d := session.Datagram{Local: netip.MustParseAddrPort("192.0.2.2:500"), Remote: netip.MustParseAddrPort("198.51.100.7:500")}
	h := wire.Header{InitiatorSPI: 7, ResponderSPI: 8, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator, MessageID: 5}
	d.Data, _ = wire.AppendMessage(nil, h, nil)
	total, lines := 0, 0
	for i := range 1000 {
		sent, audits := answers(e.Step(midnight.Add(time.Duration(i)*time.Millisecond), d))
		total, lines = total+len(sent), lines+len(audits)
		for _, s := range sent {
			m, err := wire.ParseMessage(s.Data)
			if err != nil || m.Header.MessageID != 5 || !m.Header.Response() || m.Header.Initiator() || s.Remote != d.Remote {
				t.Fatalf("answer %v, %v", m, err)
			}
		}
	}
	if total < 10 || total > 40 || lines > 40 {
		t.Errorf("%d answers and %d lines to 1000 messages in a second", total, lines)
	}
	h.Flags |= wire.FlagResponse
	d.Data, _ = wire.AppendMessage(nil, h, nil)
	if sent, _ := answers(e.Step(midnight.Add(time.Hour), d)); len(sent) != 0 {
		t.Error("a response was answered")
	}
	if due := e.Deadline(); !due.IsZero() {
		t.Errorf("strangers left a timer: %v", due)
	}
}

// TestUnknownSPIFlood: spoofed sources fill neither memory nor log (V1, V6).
func TestUnknownSPIFlood(t *testing.T) {
	e := newEngine()
	lines := 0
	for i := range 20000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
		in := session.UnknownSPI{SPI: sadb.SPI(i + 256), Packets: 1,
			Local: netip.MustParseAddrPort("192.0.2.2:0"), Remote: netip.AddrPortFrom(netip.AddrFrom4(b), 0)}
		sent, audits := answers(e.Step(midnight.Add(time.Duration(i)*50*time.Microsecond), in))
		lines += len(audits)
		if len(sent) != 0 {
			t.Fatal("something was sent without an IKE SA (V3)")
		}
	}
	if lines == 0 || lines > 80 {
		t.Errorf("%d lines", lines)
	}
}

// TestInvalidSPILine has the shape that operators grep for (V1).
func TestInvalidSPILine(t *testing.T) {
	_, audits := answers(newEngine().Step(midnight, session.UnknownSPI{SPI: 0xABCD1234, Packets: 3,
		Local: netip.MustParseAddrPort("192.0.2.2:0"), Remote: netip.MustParseAddrPort("192.0.2.1:0")}))
	want := "%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr=192.0.2.2, prot=50, spi=0xABCD1234(2882343476), srcaddr=192.0.2.1"
	if len(audits) != 2 || audits[0].Event != want || !strings.Contains(audits[1].Event, "not sent: no IKE SA") {
		t.Errorf("%+v", audits)
	}
}

// TestIdlePeersCostNothing: ten thousand connections that nobody uses have no
// timer at all (D10), and start: now is tried with growing pauses.
func TestIdlePeersCostNothing(t *testing.T) {
	e := newEngine()
	var conns []session.Connection
	for i := range 10000 {
		conns = append(conns, connection(t, i, session.StartTraffic))
	}
	e.Step(midnight, session.ConfigChanged{Connections: conns})
	if due := e.Deadline(); !due.IsZero() {
		t.Errorf("a timer for idle connections: %v", due)
	}
	if n := len(e.Status(midnight).Connections); n != 10000 {
		t.Errorf("%d connections", n)
	}

	e = newEngine()
	now := midnight
	var starts []float64
	outputs := e.Step(now, session.ConfigChanged{Connections: []session.Connection{connection(t, 1, session.StartNow)}})
	seen := map[string]bool{}
	for range 100 {
		sent, _ := answers(outputs)
		for _, s := range sent {
			if !seen[string(s.Data)] {
				seen[string(s.Data)] = true
				starts = append(starts, now.Sub(midnight).Seconds())
			}
		}
		if now = e.Deadline(); now.IsZero() {
			t.Fatal("start: now gave up")
		}
		outputs = e.Step(now, session.Tick{})
	}
	want := []float64{0, 32.5, 66, 101.5, 141, 188.5}
	for i := range want {
		if i >= len(starts) || starts[i] != want[i] {
			t.Fatalf("negotiations at %v, want %v", starts, want)
		}
	}
}

func connection(t *testing.T, i int, start session.Start) session.Connection {
	ikeProposal, err := suite.ParseIKE("aes128gcm16-prfsha256-x25519")
	if err != nil {
		t.Fatal(err)
	}
	espProposal, err := suite.ParseESP("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	remote := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
	return session.Connection{Name: fmt.Sprint("c", i), Version: 2, PSK: session.Secret("k"), Start: start,
		Local:  session.Endpoint{Addresses: []netip.Addr{us}},
		Remote: session.Endpoint{Addresses: []netip.Addr{remote}},
		IKE:    []suite.Proposal{ikeProposal},
		Children: []session.Child{{Name: "lan", ESP: []suite.Proposal{espProposal},
			Local:  []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(us, 32))},
			Remote: []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(remote, 32))}}}}
}

// TestWaitsFor: traffic asks only for what has a policy before there is a tunnel.
func TestWaitsFor(t *testing.T) {
	known, open := connection(t, 1, session.StartTraffic), connection(t, 2, session.StartTraffic)
	open.Children[0].Remote = nil // the server names it
	e := newEngine()
	e.Step(midnight, session.ConfigChanged{Connections: []session.Connection{known, open}})
	for i, want := range []string{"waits for traffic", "waits for spindle up"} {
		if got := e.Status(midnight).Connections[i].Reason; got != want {
			t.Errorf("connection %d %s, want %s", i, got, want)
		}
	}
}

// TestOwnMistakesAreSaid: what cannot be started says why, in one line and in
// the status.
func TestOwnMistakesAreSaid(t *testing.T) {
	anyPeer := connection(t, 1, session.StartTraffic)
	anyPeer.Remote.Addresses = nil
	noLocal := connection(t, 1, session.StartTraffic)
	noLocal.Local.Addresses = nil
	old := connection(t, 1, session.StartTraffic)
	old.Version = 1
	for want, conn := range map[string]session.Connection{
		"remote.addresses": anyPeer, "local.address": noLocal, "no proposal of the connection can be had in IKEv1": old,
	} {
		e := newEngine()
		e.Step(midnight, session.ConfigChanged{Connections: []session.Connection{conn}})
		sent, audits := answers(e.Step(midnight, session.Initiate{Conn: "c1"}))
		st := e.Status(midnight).Connections[0]
		if len(sent) != 0 || len(audits) != 1 || !strings.Contains(st.LastError, want) || st.State != "down" {
			t.Errorf("%s: sent %d, audits %v, status %+v", want, len(sent), audits, st)
		}
	}
	e := newEngine()
	for _, in := range []session.Input{session.Initiate{Conn: "x"}, session.Terminate{Conn: "x"}} {
		if _, audits := answers(e.Step(midnight, in)); len(audits) != 1 {
			t.Errorf("%T of an unknown connection: %v", in, audits)
		}
	}
	e.Step(midnight, session.Acquire{Policy: 99})
	e.Step(midnight, session.Expire{Pair: 99})
	e.Step(midnight, session.Shutdown{})
}
