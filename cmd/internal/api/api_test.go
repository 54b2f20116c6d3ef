package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/cmd/internal/api"
)

// gateway is a Backend with one child SA and one connection r8.
type gateway struct{ calls []string }

func (*gateway) IKESAs(context.Context) ([]api.IKESA, error)           { return nil, nil }
func (*gateway) Connections(context.Context) ([]api.Connection, error) { return nil, nil }
func (*gateway) Peers(context.Context) ([]api.Peer, error)             { return nil, nil }
func (*gateway) Policies(context.Context) ([]api.Policy, error)        { return nil, nil }
func (*gateway) Counters(context.Context) ([]api.Counter, error)       { return nil, nil }
func (*gateway) Leases(context.Context) ([]api.Lease, error)           { return nil, nil }
func (*gateway) Events(context.Context) ([]api.Event, error)           { return nil, nil }
func (*gateway) Workers(context.Context) ([]api.Worker, error) {
	return nil, fmt.Errorf("the data path is being restarted: %w", api.ErrUnavailable)
}

func (*gateway) ChildSAs(context.Context) ([]api.ChildSA, error) {
	return []api.ChildSA{{
		Conn: "r8", Child: "lan", SPIIn: "0x04000101", SPIOut: "0xc0ffee00", Suite: "aes128gcm16", Encap: true, PacketsIn: 3, PacketsOut: 4,
		LastIn: api.Instant{Time: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)},
	}}, nil
}

func (g *gateway) Up(_ context.Context, t api.Target) error   { return g.act("up", t) }
func (g *gateway) Down(_ context.Context, t api.Target) error { return g.act("down", t) }
func (g *gateway) Reload(context.Context) error               { return fmt.Errorf("f.yaml:1:1: wrong") }

func (g *gateway) act(verb string, t api.Target) error {
	if t.Conn != "r8" {
		return fmt.Errorf("connection %s: %w", t.Conn, api.ErrNotFound)
	}
	g.calls = append(g.calls, verb+" "+t.Conn+"/"+t.Child)
	return nil
}

// serve runs the API in a fresh runtime directory.
func serve(t *testing.T, b api.Backend) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := net.Listen("unix", api.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- api.Serve(ctx, l, b, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestTables(t *testing.T) {
	g := &gateway{}
	c := api.NewClient(serve(t, g))
	var rows []api.ChildSA
	if err := c.Table(t.Context(), api.ChildSAs, &rows); err != nil {
		t.Fatal(err)
	}
	want, _ := g.ChildSAs(t.Context())
	want[0].LastIn.Time = want[0].LastIn.Truncate(time.Microsecond)
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	var raw json.RawMessage
	for _, name := range []string{api.IKESAs, api.Connections, api.Peers, api.Policies, api.Counters, api.Events} {
		if err := c.Table(t.Context(), name, &raw); err != nil || strings.TrimSpace(string(raw)) != "[]" {
			t.Errorf("%s: %s, %v; want []", name, raw, err)
		}
	}
	err := c.Table(t.Context(), api.Workers, &raw)
	if err == nil || err.Error() != "the data path is being restarted: not available now" {
		t.Errorf("workers: %v", err)
	}
}

// TestKeys: scripts rely on these names.
func TestKeys(t *testing.T) {
	text, err := json.Marshal(api.ChildSA{SPIIn: "0x00000100"})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"conn", "child", "spi_in", "spi_out", "suite", "encap", "packets_in", "packets_out"} {
		if !strings.Contains(string(text), `"`+key+`":`) {
			t.Errorf("no key %s in %s", key, text)
		}
	}
	if !strings.Contains(string(text), `"last_in":null`) {
		t.Errorf("a time that has not come is not null: %s", text)
	}
}

func TestActions(t *testing.T) {
	g := &gateway{}
	c := api.NewClient(serve(t, g))
	if err := c.Up(t.Context(), api.Target{Conn: "r8", Child: "lan"}); err != nil {
		t.Error(err)
	}
	if err := c.Down(t.Context(), api.Target{Conn: "r8"}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"up r8/lan", "down r8/"}, g.calls); diff != "" {
		t.Error(diff)
	}
	if err := c.Up(t.Context(), api.Target{Conn: "r9"}); err == nil || err.Error() != "connection r9: not found" {
		t.Errorf("up r9: %v", err)
	}
	if err := c.Reload(t.Context()); err == nil || err.Error() != "f.yaml:1:1: wrong" {
		t.Errorf("reload: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	h := api.Handler(&gateway{})
	for _, c := range []struct {
		method, path, body string
		status             int
		answer             string
	}{
		{"POST", "/v1/up", `{"conn":"r9"}`, 404, `{"error":"connection r9: not found"}`},
		{"POST", "/v1/up", `{}`, 400, `{"error":"the request names no connection"}`},
		{"POST", "/v1/up", `{"con":"r8"}`, 400, `{"error":"read request: json: unknown field \"con\""}`},
		{"POST", "/v1/up", `{"conn":"` + strings.Repeat("x", 5000) + `"}`, 400, `{"error":"read request: http: request body too large"}`},
		{"POST", "/v1/reload", ``, 409, `{"error":"f.yaml:1:1: wrong"}`},
		{"GET", "/v1/workers", ``, 503, `{"error":"the data path is being restarted: not available now"}`},
		{"GET", "/v1/why", ``, 404, `{"error":"GET /v1/why is not part of this gateway's API: the command may be of another version"}`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || got != c.answer {
			t.Errorf("%s %s %.20s: %d %s, want %d %s", c.method, c.path, c.body, w.Code, got, c.status, c.answer)
		}
	}
}

// TestNoGateway: every way of not being there says what to do.
func TestNoGateway(t *testing.T) {
	empty := t.TempDir()
	dead := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: api.SocketPath(dead), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	dying := t.TempDir()
	hangUp(t, api.SocketPath(dying))
	for dir, want := range map[string]string{
		empty: "no gateway runs with runtime directory " + empty + ": start one with spindle run, or name its directory with --runtime-dir",
		dead:  "the gateway of " + dead + " is not running any more: start it with spindle run",
		dying: "the control process of " + dying + " died while it answered: it restarts by itself; try again",
	} {
		if err := api.NewClient(dir).Reload(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(empty, "api.sock")); err == nil {
		t.Error("a client made a socket")
	}
}

// hangUp listens and closes every connection after the request.
func hangUp(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			c.Close()
		}
	}()
}

func TestRing(t *testing.T) {
	r := api.NewRing(2)
	log := slog.New(r.Handler(slog.NewTextHandler(io.Discard, nil))).With("process", "control")
	log.Debug("not kept")
	log.Info("one")
	log.WithGroup("ike").Warn("two", "peer", "192.0.2.2", slog.Group("sa", "spi", 7))
	log.Error("three")
	var got []string
	for _, e := range r.List() {
		got = append(got, fmt.Sprint(e.Level, " ", e.Event, " ", e.Attrs))
	}
	want := []string{"WARN two map[ike.peer:192.0.2.2 ike.sa.spi:7 process:control]", "ERROR three map[process:control]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
