package metrics_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/metrics"
)

// gateway answers with fixed rows; what it does not name is not asked for.
type gateway struct {
	api.Backend
	countersErr error
}

func (gateway) Connections(context.Context) ([]api.Connection, error) {
	return []api.Connection{
		{Name: "r8", State: "up", Children: 1},
		{Name: "r9", State: "down", Reason: `peer does not answer "IKE_SA_INIT"`},
	}, nil
}

func (gateway) ChildSAs(context.Context) ([]api.ChildSA, error) {
	return []api.ChildSA{{Conn: "r8", Child: "lan", SPIIn: "0x00000101", PacketsIn: 7, PacketsOut: 9, BytesOut: 900, DropsIn: 1,
		LastIn: api.Instant{Time: time.Unix(1700000000, 500000000)}}}, nil
}

func (gateway) Workers(context.Context) ([]api.Worker, error) {
	return []api.Worker{{Worker: 0, SAs: 1}}, nil
}

func (g gateway) Counters(context.Context) ([]api.Counter, error) {
	return []api.Counter{{Source: "worker 0", Name: "drop_replay", Value: 3}, {Source: "xdp eth1", Name: "redirect_esp", Value: 8}}, g.countersErr
}

func scrape(t *testing.T, b api.Backend) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	metrics.Handler(b).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Code, string(body)
}

func TestScrape(t *testing.T) {
	code, body := scrape(t, gateway{})
	if code != 200 {
		t.Fatalf("status %d: %s", code, body)
	}
	for _, want := range []string{
		`spindle_connection_up{conn="r8",reason=""} 1`,
		`spindle_connection_up{conn="r9",reason="peer does not answer \"IKE_SA_INIT\""} 0`,
		`spindle_connection_child_sas{conn="r9"} 0`,
		`spindle_child_packets_total{child="lan",conn="r8",direction="in",spi_in="0x00000101"} 7`,
		`spindle_child_bytes_total{child="lan",conn="r8",direction="out",spi_in="0x00000101"} 900`,
		`spindle_child_drops_total{child="lan",conn="r8",direction="in",spi_in="0x00000101"} 1`,
		`spindle_child_last_packet_timestamp_seconds{child="lan",conn="r8",direction="in",spi_in="0x00000101"} 1.7000000005e+09`,
		`spindle_child_last_packet_timestamp_seconds{child="lan",conn="r8",direction="out",spi_in="0x00000101"} 0`,
		`spindle_worker_sas{worker="0"} 1`,
		`spindle_verdicts_total{source="worker 0",verdict="drop_replay"} 3`,
		`spindle_verdicts_total{source="xdp eth1",verdict="redirect_esp"} 8`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("missing %s in\n%s", want, body)
		}
	}
}

// TestPartialScrape: a data path that is away takes only its own series along.
func TestPartialScrape(t *testing.T) {
	_, body := scrape(t, gateway{countersErr: errors.New("no data path is running")})
	if !strings.Contains(body, `spindle_connection_up{conn="r8",reason=""} 1`) {
		t.Errorf("connections are missing in\n%s", body)
	}
}
