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
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/cmd/internal/api"
)

// gateway is a Backend with one child SA and one connection r8.
type gateway struct{ calls []string }

func (*gateway) IKESAs(context.Context) ([]api.IKESA, error)             { return nil, nil }
func (*gateway) Connections(context.Context) ([]api.Connection, error)   { return nil, nil }
func (*gateway) Peers(context.Context) ([]api.Peer, error)               { return nil, nil }
func (*gateway) Policies(context.Context) ([]api.Policy, error)          { return nil, nil }
func (*gateway) Counters(context.Context) ([]api.Counter, error)         { return nil, nil }
func (*gateway) Leases(context.Context) ([]api.Lease, error)             { return nil, nil }
func (*gateway) Translations(context.Context) ([]api.Translation, error) { return nil, nil }
func (*gateway) Events(context.Context) ([]api.Event, error)             { return nil, nil }
func (*gateway) UnknownSPIs(context.Context) ([]api.UnknownSPI, error)   { return nil, nil }
func (*gateway) Negotiations(context.Context) ([]api.Tally, error)       { return nil, nil }
func (*gateway) Rekeys(context.Context) ([]api.Rekeys, error)            { return nil, nil }
func (*gateway) Reasons(context.Context) (map[string]string, error)      { return nil, nil }

func (*gateway) Why(_ context.Context, name string) ([]api.Why, error) {
	return []api.Why{{Name: name, Verdict: "up"}}, nil
}

// Follow delivers one event and lets the gateway go.
func (g *gateway) Follow(ctx context.Context, f api.Follow, deliver func(api.Event, int) error) error {
	return deliver(api.Event{Event: fmt.Sprint("debug ", f.Debug, " peer ", f.Peer)}, 7)
}

func (g *gateway) Clear(_ context.Context, c api.Clear) (api.Cleared, error) {
	g.calls = append(g.calls, fmt.Sprintf("clear %v port %d, %v port %d, %v %v", c.Local, c.LocalPort, c.Remote, c.RemotePort, c.Children, c.Silent))
	return api.Cleared{IKE: 1, Children: 2}, nil
}

func (*gateway) Workers(context.Context) ([]api.Worker, error) {
	return nil, fmt.Errorf("the data path is being restarted: %w", api.ErrUnavailable)
}

func (*gateway) ChildSAs(context.Context) ([]api.ChildSA, error) {
	return []api.ChildSA{{
		Conn: "r8", Child: "lan", SPIIn: "0x04000101", SPIOut: "0xc0ffee00", Suite: "aes128gcm16", Encap: true, PacketsIn: 3, PacketsOut: 4,
		LastIn: api.Instant{Time: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)},
	}}, nil
}

func (g *gateway) Up(_ context.Context, t api.Target) error    { return g.act("up", t) }
func (g *gateway) Rekey(_ context.Context, t api.Target) error { return g.act("rekey", t) }
func (g *gateway) Down(_ context.Context, t api.Target) error  { return g.act("down", t) }
func (g *gateway) Reload(context.Context) error                { return fmt.Errorf("f.yaml:1:1: wrong") }

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
	for _, name := range []string{api.UnknownSPIs, api.Outcomes, api.Rekeying, api.IKESAs, api.Connections, api.Peers, api.Policies, api.Counters, api.Events} {
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

func TestOperations(t *testing.T) {
	g := &gateway{}
	c := api.NewClient(serve(t, g))
	why, err := c.Why(t.Context(), "r8 & co")
	if err != nil || len(why) != 1 || why[0].Name != "r8 & co" {
		t.Errorf("why: %+v, %v", why, err)
	}
	peer := netip.MustParseAddr("2001:db8::8")
	done, err := c.Clear(t.Context(), api.Clear{Remote: peer, RemotePort: 4500, Silent: true})
	if err != nil || done != (api.Cleared{IKE: 1, Children: 2}) {
		t.Errorf("clear: %+v, %v", done, err)
	}
	if diff := cmp.Diff([]string{"clear invalid IP port 0, 2001:db8::8 port 4500, false true"}, g.calls); diff != "" {
		t.Error(diff)
	}
	var got []string
	err = c.Follow(t.Context(), api.Follow{Debug: true, Peer: peer}, func(e api.Event) error {
		got = append(got, e.Event+e.Attrs["events"])
		return nil
	})
	if err == nil || err.Error() != "the gateway stopped" {
		t.Errorf("a stream that ends: %v", err)
	}
	if diff := cmp.Diff([]string{"events lost: the reader is too slow7", "debug true peer 2001:db8::8"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestSubscribe: a follower sees what it wants, debug events are not kept for
// others, and nobody waits for a slow one.
func TestSubscribe(t *testing.T) {
	r := api.NewRing(4)
	log := slog.New(r.Handler(slog.NewTextHandler(io.Discard, nil)))
	log.Debug("before", "peer", "192.0.2.8:500")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string)
	done := make(chan error)
	go func() {
		done <- r.Subscribe(ctx, api.Follow{Debug: true, Peer: netip.MustParseAddr("192.0.2.8"), Conn: "r8"}, func(e api.Event, lost int) error {
			seen <- fmt.Sprint(e.Event, " ", lost)
			return nil
		})
	}()
	for !log.Enabled(ctx, slog.LevelDebug) { // until the follower is there
		time.Sleep(time.Millisecond)
	}
	log.Debug("message", "peer", "192.0.2.8:4500")
	if got := <-seen; got != "message 0" {
		t.Errorf("got %q", got)
	}
	log.Info("of the connection", "conn", "r8")
	log.Info("of another", "conn", "r9", "peer", "192.0.2.9:500")
	for i := range 3000 {
		log.Debug(fmt.Sprint("flood ", i), "peer", "192.0.2.8")
	}
	log.Info("last", "from", "192.0.2.8:1")
	lost, got := 0, 0
	for last := ""; last != "last"; got++ {
		word, n, _ := strings.Cut(<-seen, " ")
		last = word
		if i := strings.LastIndex(n, " "); i >= 0 {
			n = n[i+1:]
		}
		more, _ := strconv.Atoi(n)
		lost += more
	}
	if got+lost != 3002 || lost == 0 {
		t.Errorf("%d events arrived and %d were lost, want 3002 in all", got, lost)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug events are made for nobody")
	}
	if n := len(r.List()); n != 3 {
		t.Errorf("%d events are kept, want the 3 that are none of debug", n)
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
		{"GET", "/v1/why", ``, 400, `{"error":"the request names no connection or peer"}`},
		{"GET", "/v1/follow?peer=x", ``, 400, `{"error":"peer \"x\" is no address"}`},
		{"POST", "/v1/clear", `{"remote":"x"}`, 400, `{"error":"read request: ParseAddr(\"x\"): unable to parse IP"}`},
		{"GET", "/v1/what", ``, 404, `{"error":"GET /v1/what is not part of this gateway's API: the command may be of another version"}`},
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
