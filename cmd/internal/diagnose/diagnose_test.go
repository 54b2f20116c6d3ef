package diagnose_test

import (
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/diagnose"
)

var now = time.Unix(1800000000, 0)

func before(d time.Duration) api.Instant { return api.Instant{Time: now.Add(-d)} }

// healthy is a connection whose tunnel carries traffic both ways.
func healthy() *diagnose.Facts {
	return &diagnose.Facts{
		Now:        now,
		Connection: api.Connection{Name: "r8", State: "up", Version: 2, Remote: "192.0.2.8", Start: "traffic"},
		Hosts:      []string{"192.0.2.8"}, Configured: []string{"lan"},
		IKE:      []api.IKESA{{Conn: "r8", State: "established", Remote: "192.0.2.8:500", NAT: "none", Age: 60}},
		Children: []api.ChildSA{{Conn: "r8", Child: "lan", State: "installed", Remote: "192.0.2.8:500", Age: 60, PacketsIn: 9, PacketsOut: 9, LastIn: before(time.Second), LastOut: before(time.Second)}},
		Peers:    []api.Peer{{Conn: "r8", Peer: "192.0.2.8:500", State: "established", Mode: "on-demand", Interval: 10, Retry: 2, Tries: 5, LastProof: before(time.Second)}},
		Policies: []api.Policy{{Conn: "r8", Child: "lan"}},
		Workers:  []api.Worker{{Worker: 0, Ports: []string{"out0: native XDP"}}},
		Path:     diagnose.Path{Peer: "192.0.2.8", Route: "out0", NextHop: "192.0.2.8", Neighbour: diagnose.NeighbourAnswers, Host: diagnose.Answered, Large: diagnose.Answered, Size: 1500},
	}
}

// down is the same connection after a failed negotiation.
func down(reason string) *diagnose.Facts {
	f := healthy()
	f.Connection.State, f.Connection.LastError, f.Connection.Since = "down", reason, before(3*time.Second)
	f.IKE, f.Children, f.Peers[0].State = nil, nil, "down"
	return f
}

// with changes facts and returns them.
func with(f *diagnose.Facts, change func(*diagnose.Facts)) *diagnose.Facts {
	change(f)
	return f
}

func TestVerdicts(t *testing.T) {
	deaf := func(f *diagnose.Facts) {
		f.Children[0].LastIn, f.Children[0].LastOut = before(20*time.Second), before(time.Second)
	}
	unanswered := func(n int) func(*diagnose.Facts) {
		return func(f *diagnose.Facts) { f.Peers[0].Outstanding, f.Peers[0].Unanswered = true, n }
	}
	for _, c := range []struct {
		name    string
		facts   *diagnose.Facts
		verdict string
		words   string // in the cause
	}{
		{"healthy", healthy(), diagnose.Up, ""},
		{"idle tunnel", with(healthy(), func(f *diagnose.Facts) {
			f.Children[0].LastIn, f.Children[0].LastOut = before(time.Hour), before(time.Hour-time.Minute)
		}), diagnose.Up, ""},
		{"young tunnel without an answer yet", with(healthy(), func(f *diagnose.Facts) {
			f.Children[0].LastIn, f.Children[0].Age = api.Instant{}, 3
		}), diagnose.Up, ""},
		{"names without address", with(down(""), func(f *diagnose.Facts) { f.Peers, f.Hosts = nil, []string{"r8.example.net"} }), diagnose.Unresolved, "r8.example.net"},
		{"no data path", with(down(""), func(f *diagnose.Facts) { f.Datapath = "it restarts" }), diagnose.NoDatapath, "it restarts"},
		{"no route", with(down("peer does not answer IKE_SA_INIT"), func(f *diagnose.Facts) {
			f.Path.RouteError = "network is unreachable"
		}), diagnose.NoRoute, "192.0.2.8"},
		{"router down", with(down("peer does not answer IKE_SA_INIT"), func(f *diagnose.Facts) {
			f.Path.NextHop, f.Path.Neighbour = "192.0.2.1", diagnose.NeighbourSilent
		}), diagnose.NextHopDown, "192.0.2.1"},
		{"peer down on the link", with(down("peer does not answer IKE_SA_INIT"), func(f *diagnose.Facts) {
			f.Path.Neighbour = diagnose.NeighbourSilent
		}), diagnose.PeerDown, ""},
		{"peer down behind a router", with(down("peer does not answer IKE_SA_INIT"), func(f *diagnose.Facts) {
			f.Path.Host = diagnose.Unreachable
		}), diagnose.PeerDown, ""},
		{"peer silent, nobody knows", with(down("peer does not answer INFORMATIONAL"), func(f *diagnose.Facts) {
			f.Path.Host = diagnose.Silent
		}), diagnose.NoAnswer, "firewall"},
		{"IKE blocked", down("peer does not answer IKE_SA_INIT"), diagnose.IKEBlocked, "answers other packets"},
		{"IKE blocked, seen by a scrape", with(down("peer does not answer IKE_SA_INIT"), func(f *diagnose.Facts) {
			f.Path.Host = diagnose.NotAsked
		}), diagnose.IKEBlocked, "on the link"},
		{"IKE blocked after DPD, ESP goes on", with(down("peer does not answer INFORMATIONAL"), func(f *diagnose.Facts) {
			f.Path.Host, f.Unknown = diagnose.Silent, []api.UnknownSPI{{Source: "192.0.2.8", Last: before(time.Second)}}
		}), diagnose.IKEBlocked, "ESP still arrives"},
		{"IKE blocked under a tunnel", with(healthy(), unanswered(2)), diagnose.IKEBlocked, "ESP still arrives"},
		{"first message unanswered", with(down(""), func(f *diagnose.Facts) {
			f.Connection.State, f.IKE = "connecting", []api.IKESA{{State: "init-sent", Remote: "192.0.2.8:500", Age: 4}}
		}), diagnose.IKEBlocked, ""},
		{"first message of IKEv1 unanswered", with(down(""), func(f *diagnose.Facts) {
			f.Connection.State, f.IKE = "connecting", []api.IKESA{{State: "opening", Remote: "192.0.2.8:500", Age: 4}}
		}), diagnose.IKEBlocked, ""},
		{"proof of IKEv1 unanswered", with(down(""), func(f *diagnose.Facts) {
			f.Connection.State, f.IKE = "connecting", []api.IKESA{{State: "opening", Remote: "192.0.2.8:500", Suite: "aes128-sha256-ecp256", Age: 4}}
		}), diagnose.Authentication, "does not answer our proof"},
		{"proof of IKEv1 never answered", down("peer does not answer MAIN_MODE after 7 tries: compare psk, local.id (r6) and remote.id (r8) on both ends"), diagnose.Authentication, "compare psk"},
		{"selectors of IKEv1", down("peer refuses our selectors (INVALID-ID-INFORMATION): we offered x (configuration keys: children.local, children.remote)"), diagnose.Selectors, ""},
		{"first message just sent", with(down(""), func(f *diagnose.Facts) {
			f.Connection.State, f.IKE = "connecting", []api.IKESA{{State: "init-sent", Remote: "192.0.2.8:500", Age: 0.3}}
		}), diagnose.Connecting, ""},
		{"wrong PSK", down("peer's AUTH does not verify: the pre-shared keys differ (configuration key: psk)"), diagnose.Authentication, "pre-shared keys differ"},
		{"wrong identity", down("peer says it is r7, we expect r8 (configuration key: remote.id)"), diagnose.Identity, "r7"},
		{"certificate", down("certificate of CN=r8 expired since 2020-01-01T00:00:00Z"), diagnose.Certificate, "has expired"},
		{"proposals", down("peer refuses IKE_SA_INIT (NO_PROPOSAL_CHOSEN): we offered ike: x"), diagnose.Proposals, ""},
		{"selectors, the IKE SA stands", with(healthy(), func(f *diagnose.Facts) {
			f.Connection.State, f.Children = "down", nil
			f.Connection.LastError, f.Connection.Since = "peer refuses our selectors (TS_UNACCEPTABLE)", before(time.Second)
		}), diagnose.Selectors, ""},
		{"version", down("peer speaks IKEv1, connection r8 is for IKEv2 only (configuration key: version)"), diagnose.Version, ""},
		{"another refusal", down("peer refuses IKE_AUTH (SINGLE_PAIR_REQUIRED)"), diagnose.Refused, "SINGLE_PAIR_REQUIRED"},
		{"shadowed", with(down(""), func(f *diagnose.Facts) { f.Policies[0].Shadow = "r7/lan" }), diagnose.Shadowed, "r7/lan"},
		{"black hole", with(down(""), func(f *diagnose.Facts) {
			f.Peers[0].RecoveryNote = "invalid_spi_recovery is off"
			f.Unknown = []api.UnknownSPI{{Source: "192.0.2.8", SPI: "0x00000abc", Packets: 9, Last: before(time.Second)}}
		}), diagnose.BlackHole, "0x00000abc"},
		{"waits for traffic", down(""), diagnose.WaitsForTraffic, ""},
		{"dialled by hand", with(down(""), func(f *diagnose.Facts) { f.Connection.Start = "manual" }), diagnose.WaitsForUp, "spindle up"},
		{"taken down, and no policy says what it carries", with(down(""), func(f *diagnose.Facts) { f.Policies = nil }), diagnose.WaitsForUp, "no packet can ask"},
		{"user refused", down("peer refuses user or password (XAUTH; configuration keys: easyvpn.user, easyvpn.password)"), diagnose.Authentication, "password"},
		{"proposals of IKEv1", down("no common proposal, first difference in encryption: x (configuration keys: ike, auth)"), diagnose.Proposals, ""},
		{"waits for the peer", with(down(""), func(f *diagnose.Facts) { f.Hosts, f.Connection.Start = nil, "never" }), diagnose.WaitsForPeer, ""},
		{"ESP blocked", with(healthy(), deaf), diagnose.ESPBlocked, "IKE still works"},
		{"NAT mapping lost", with(with(with(healthy(), deaf), unanswered(1)), func(f *diagnose.Facts) { f.IKE[0].NAT = "remote" }), diagnose.NATMapping, "192.0.2.8:500"},
		{"everything blocked", with(with(with(healthy(), deaf), unanswered(1)), func(f *diagnose.Facts) { f.Path.Host = diagnose.Silent }), diagnose.NoAnswer, ""},
		{"MTU black hole", with(healthy(), func(f *diagnose.Facts) { f.Path.Large, f.Path.Passes = diagnose.Silent, 1400 }), diagnose.MTUBlackHole, "those of 1400 arrive"},
		{"small path, a router says so", with(healthy(), func(f *diagnose.Facts) { f.Path.Large, f.Path.Signaled = diagnose.Unreachable, true }), diagnose.Up, ""},
		{"no probe is answered", with(healthy(), func(f *diagnose.Facts) { f.Path.Host, f.Path.Large = diagnose.Silent, diagnose.Silent }), diagnose.Up, ""},
		{"nobody knows", with(down("x"), func(f *diagnose.Facts) {
			f.Connection.State, f.IKE = "down", []api.IKESA{{State: "established", NAT: "none"}}
		}), diagnose.Unknown, "Cannot tell"},
	} {
		t.Run(c.name, func(t *testing.T) {
			why := diagnose.Explain(c.facts)
			if why.Verdict != c.verdict || !strings.Contains(why.Cause, c.words) {
				t.Errorf("%s: %s; want %s with %q", why.Verdict, why.Cause, c.verdict, c.words)
			}
			if why.Cause == "" || why.Action == "" || len(why.Evidence) < 4 {
				t.Errorf("incomplete: %+v", why)
			}
			if strings.Contains(why.Cause, "..") || !strings.HasSuffix(why.Cause, ".") {
				t.Errorf("not a sentence: %q", why.Cause)
			}
		})
	}
}

// TestNext: liveness says what will happen next and when.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		peer api.Peer
		says string
	}{
		{api.Peer{State: "established", Mode: "on-demand", Interval: 10}, "when packets leave and nothing authentic has come for 10 s"},
		{api.Peer{State: "established", Mode: "periodic", NextQuery: api.Instant{Time: now.Add(7 * time.Second)}}, "in 7 s"},
		{api.Peer{State: "established", Mode: "off"}, "stays undiscovered"},
		{api.Peer{State: "established", Outstanding: true, Unanswered: 3, Tries: 5, Retry: 2}, "3 of 5 unanswered: the peer is declared dead within 4 s"},
	} {
		f := healthy()
		f.Children = nil
		f.Peers = []api.Peer{c.peer}
		found := false
		for _, e := range diagnose.Explain(f).Evidence {
			found = found || e.Check == "liveness" && strings.Contains(e.Says, c.says)
		}
		if !found {
			t.Errorf("%+v: nothing says %q", c.peer, c.says)
		}
	}
}
