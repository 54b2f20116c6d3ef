package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"spindle/cmd/internal/api"
)

func TestMain(m *testing.M) {
	testscript.Main(withFolder{m}, map[string]func(){"spindle": main})
}

// withFolder gives the end-to-end tests a folder for the binary that they build.
// It goes with the last test.
type withFolder struct{ *testing.M }

func (w withFolder) Run() int {
	dir, err := os.MkdirTemp("", "spindle-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = errors.Join(os.Chmod(dir, 0o755), os.Setenv("SPINDLE_E2E", dir)) // the control process is nobody
	}
	// Tests that are parallel here wait for seconds to pass, not for a CPU.
	if f := flag.Lookup("test.parallel"); err == nil && f.Value.String() == f.DefValue {
		err = f.Value.Set(labsAtOnce)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return w.M.Run()
}

// labsAtOnce bounds the labs that stand at one time.
const labsAtOnce = "10"

// TestScripts runs testdata/script: what a user types, and every byte and exit
// code that comes back. usage is the exit code, which testscript cannot tell from 1.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"gateway": startGateway,
			"exits":   exits,
		},
	})
}

// exits CODE ARGUMENTS... runs spindle in this process and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE [ARGUMENTS]")
	}
	code := execute(context.Background(), args[1:], ts.Stdout(), ts.Stderr())
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// startGateway DIR [empty] serves the API of a gateway with one tunnel, or none.
func startGateway(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: gateway DIR [empty]")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	l, err := net.Listen("unix", api.SocketPath(dir))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = api.Serve(ctx, l, tunnel{empty: len(args) > 1}, slog.New(slog.DiscardHandler))
	}()
	ts.Defer(func() { cancel(); <-done })
}

// tunnel is a gateway whose connection r8 is up.
type tunnel struct{ empty bool }

func rows[Row any](t tunnel, r ...Row) ([]Row, error) {
	if t.empty {
		return nil, nil
	}
	return r, nil
}

func (t tunnel) Leases(context.Context) ([]api.Lease, error) {
	return rows(t, api.Lease{Address: "10.9.0.1", Conn: "r8", Peer: "r8\x1b[2J", Remote: "192.0.2.2:500", DNS: []string{"10.8.0.53"}, Subnets: []string{"10.8.0.0/16"}})
}

func (t tunnel) Translations(context.Context) ([]api.Translation, error) {
	return rows(t, api.Translation{Conn: "r8", Address: "10.99.0.1", InUse: 7, TCP: 5, UDP: 2, Bound: 16384, Made: 40, NoMapping: 6})
}

func (t tunnel) IKESAs(context.Context) ([]api.IKESA, error) {
	return rows(t, api.IKESA{
		Conn: "r8", Version: 2, Exchange: "IKE_AUTH", State: "established", Local: "192.0.2.1:500", Remote: "192.0.2.2:500",
		LocalID: "192.0.2.1", RemoteID: "r8\x1b[2J", Suite: "aes128gcm16-prfsha256-x25519", Initiator: true, NAT: "none", Age: 3723,
	})
}

func (t tunnel) ChildSAs(context.Context) ([]api.ChildSA, error) {
	return rows(t, api.ChildSA{
		Conn: "r8", Child: "lan", State: "installed", SPIIn: "0x04000101", SPIOut: "0xc0ffee00", Suite: "aes128gcm16", Mode: "tunnel",
		Local: "192.0.2.1:500", Remote: "192.0.2.2:500", LocalTS: []string{"10.6.6.6/32"}, RemoteTS: []string{"10.8.8.8/32"},
		PacketsIn: 10000, PacketsOut: 10001, BytesIn: 840000, BytesOut: 840084, Age: 61,
	})
}

func (t tunnel) Connections(context.Context) ([]api.Connection, error) {
	return rows(t,
		api.Connection{Name: "r8", State: "up", Version: 2, Remote: "192.0.2.2", Children: 1, Configured: []string{"lan"}, Since: api.Instant{Time: time.Now()}},
		api.Connection{Name: "r9", State: "down", Version: 2, Remote: "192.0.2.9", Reason: "no answer", LastError: "peer 192.0.2.9 did not answer IKE_SA_INIT"})
}

func (t tunnel) Peers(context.Context) ([]api.Peer, error) {
	asked := 3.4
	return rows(t,
		api.Peer{Conn: "r8", Peer: "192.0.2.2:500", Local: "192.0.2.1:500", ID: "192.0.2.2", State: "established", LastReceivedS: &asked, MyLastSeq: 4, PeerLastSeq: 31,
			Outstanding: true, Unanswered: 2, Mode: "periodic", Interval: 10, Retry: 2, Tries: 5, Recovery: true, RecoveryNote: "static peer, invalid_spi_recovery is on"},
		api.Peer{Conn: "r9", Peer: "192.0.2.9:500", Local: "192.0.2.1", State: "down", Mode: "on-demand", Interval: 10, Retry: 2, Tries: 5, RecoveryNote: "invalid_spi_recovery is off"})
}
func (t tunnel) Policies(context.Context) ([]api.Policy, error)  { return rows[api.Policy](t) }
func (t tunnel) Counters(context.Context) ([]api.Counter, error) { return rows[api.Counter](t) }

func (t tunnel) UnknownSPIs(context.Context) ([]api.UnknownSPI, error) {
	return rows(t, api.UnknownSPI{Source: "192.0.2.2", Conn: "r8", SPI: "0x00000abc", Packets: 12})
}
func (t tunnel) Negotiations(context.Context) ([]api.Tally, error) {
	return rows(t, api.Tally{Conn: "r8", Outcome: "ike_failed", Count: 3})
}
func (t tunnel) Rekeys(context.Context) ([]api.Rekeys, error) {
	return rows(t, api.Rekeys{Conn: "r8", Child: "lan", Count: 6, GapUS: 1500, GapPackets: 2})
}
func (t tunnel) Reasons(context.Context) (map[string]string, error) { return nil, nil }

func (t tunnel) Why(_ context.Context, name string) ([]api.Why, error) {
	if err := known(api.Target{Conn: name}); err != nil {
		return nil, err
	}
	return []api.Why{{Name: "r8", Verdict: "no-route", Cause: "There is no route.", Action: "Add one.",
		Evidence: []api.Evidence{{Check: "configuration", Says: "IKEv2"}, {Check: "route", Says: "unreachable\x1b[2J"}}}}, nil
}

func (t tunnel) Follow(_ context.Context, f api.Follow, deliver func(api.Event, int) error) error {
	if err := deliver(api.Event{Level: "DEBUG", Event: "IKE message", Attrs: map[string]string{"direction": "out", "peer": "192.0.2.2:500", "message": "IKE_SA_INIT request"}}, 0); err != nil {
		return err
	}
	return deliver(api.Event{Level: "INFO", Event: "IKE SA established", Attrs: map[string]string{"conn": "r8"}}, 0)
}

func (t tunnel) Clear(_ context.Context, c api.Clear) (api.Cleared, error) {
	if c.Remote.IsValid() && c.Remote.String() != "192.0.2.2" {
		return api.Cleared{}, fmt.Errorf("%w: no SA between these addresses", api.ErrNotFound)
	}
	return api.Cleared{IKE: 1, Children: 1}, nil
}

func (t tunnel) Workers(context.Context) ([]api.Worker, error) {
	return nil, fmt.Errorf("the data path is being restarted: %w", api.ErrUnavailable)
}

func (t tunnel) Events(context.Context) ([]api.Event, error) {
	return rows(t, api.Event{Level: "INFO", Event: "child SA established", Attrs: map[string]string{"conn": "r8", "peer": "192.0.2.2", "reason": "first packet"}})
}

func (t tunnel) Up(_ context.Context, x api.Target) error    { return known(x) }
func (t tunnel) Rekey(_ context.Context, x api.Target) error { return known(x) }
func (t tunnel) Down(_ context.Context, x api.Target) error  { return known(x) }
func (t tunnel) Reload(context.Context) error {
	return fmt.Errorf("f.yaml:1:1: one\nf.yaml:2:1: two")
}

func known(x api.Target) error {
	if x.Conn != "r8" {
		return fmt.Errorf("connection %s: %w", x.Conn, api.ErrNotFound)
	}
	return nil
}
