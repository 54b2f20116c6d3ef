package ike_test

import (
	"log/slog"
	"net/netip"
	"testing"

	"spindle/ike/session"
)

// TestClear: what begins again is chosen by its ends, and a silent clear sends
// nothing.
func TestClear(t *testing.T) {
	for _, c := range []struct {
		name string
		in   session.Clear
		left int
	}{
		{"another peer", session.Clear{Remote: netip.MustParseAddr("198.18.0.2")}, 1},
		{"another port", session.Clear{Remote: netip.MustParseAddr("198.18.0.1"), RemotePort: 4500}, 1},
		{"another local address", session.Clear{Local: netip.MustParseAddr("192.0.2.7")}, 1},
		{"this one", session.Clear{Local: us, LocalPort: 500, Remote: netip.MustParseAddr("198.18.0.1"), RemotePort: 500}, 0},
		{"all, silently", session.Clear{Silent: true}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEngine()
			e.Step(midnight, session.ConfigChanged{Connections: []session.Connection{connection(t, 1, session.StartTraffic)}})
			e.Step(midnight, session.Initiate{Conn: "c1"})
			if n := len(e.Status(midnight).IKE); n != 1 {
				t.Fatalf("%d IKE SAs before", n)
			}
			sent, _ := answers(e.Step(midnight, c.in))
			if n := len(e.Status(midnight).IKE); n != c.left {
				t.Errorf("%d IKE SAs are left, want %d", n, c.left)
			}
			if c.in.Silent && len(sent) > 0 {
				t.Errorf("sent %v", sent)
			}
		})
	}
}

// TestTrace: messages are audited only while somebody wants them.
func TestTrace(t *testing.T) {
	e := newEngine()
	e.Step(midnight, session.ConfigChanged{Connections: []session.Connection{connection(t, 1, session.StartTraffic)}})
	for _, on := range []bool{false, true, false} {
		e.Step(midnight, session.Trace{On: on})
		_, audits := answers(e.Step(midnight, session.Initiate{Conn: "c1"}))
		traced := false
		for _, a := range audits {
			traced = traced || a.Level == slog.LevelDebug && a.Event == "IKE message"
		}
		if traced != on {
			t.Errorf("trace %v: %v", on, audits)
		}
		e.Step(midnight, session.Clear{Silent: true})
	}
}
