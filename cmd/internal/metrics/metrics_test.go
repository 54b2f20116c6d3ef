package metrics_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

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
		{Name: "r8", State: "up", Children: 1, Configured: []string{"lan", "dmz"}},
		{Name: "r9", State: "down", Configured: []string{"lan"}},
	}, nil
}

func (gateway) ChildSAs(context.Context) ([]api.ChildSA, error) {
	return []api.ChildSA{{Conn: "r8", Child: "lan", SPIIn: "0x00000101", PacketsIn: 7, PacketsOut: 9, BytesOut: 900, DropsIn: 1,
		LastIn: api.Instant{Time: time.Unix(1700000000, 500000000)}}}, nil
}

func (gateway) Reasons(context.Context) (map[string]string, error) {
	return map[string]string{"r8": "up", "r9": "ike-blocked"}, nil
}

func (gateway) Peers(context.Context) ([]api.Peer, error) {
	row := api.Peer{Conn: "r8", Peer: "192.0.2.8:500", Unanswered: 2, LastReceived: api.Instant{Time: time.Unix(1700000000, 0)}}
	return []api.Peer{row, row, {Peer: "203.0.113.9:500"}}, nil
}

func (gateway) UnknownSPIs(context.Context) ([]api.UnknownSPI, error) {
	return []api.UnknownSPI{{Source: "203.0.113.1", Packets: 4}, {Source: "203.0.113.2", Packets: 7}, {Source: "192.0.2.8", Conn: "r8", Packets: 3}}, nil
}

func (gateway) Negotiations(context.Context) ([]api.Tally, error) {
	return []api.Tally{{Conn: "r9", Outcome: "ike_failed", Count: 4}}, nil
}

func (gateway) Rekeys(context.Context) ([]api.Rekeys, error) {
	return []api.Rekeys{{Conn: "r8", Child: "lan", Count: 6, GapUS: 1500, GapPackets: 2}}, nil
}

func (gateway) Workers(context.Context) ([]api.Worker, error) {
	return []api.Worker{{Worker: 0, SAs: 1}}, nil
}

func (g gateway) Counters(context.Context) ([]api.Counter, error) {
	return []api.Counter{{Source: "worker 0", Name: "drop_replay", Value: 3}, {Source: "xdp eth1", Name: "redirect_esp", Value: 8}}, g.countersErr
}

func (gateway) Translations(context.Context) ([]api.Translation, error) {
	return []api.Translation{
		{Conn: "r8", Address: "10.99.0.1", TCP: 5, UDP: 2, ICMP: 1, Other: 1, Bound: 16384, Made: 40, Full: 3, NoMapping: 6, Untranslatable: 1},
		{Conn: "r8", Address: "10.99.0.2", TCP: 1, Bound: 16384, Made: 1},
	}, nil
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
		`spindle_connection_up{conn="r8",reason="up"} 1`,
		`spindle_connection_up{conn="r9",reason="ike-blocked"} 0`,
		`spindle_child_up{child="lan",conn="r8",reason="up"} 1`,
		`spindle_child_up{child="dmz",conn="r8",reason="waits-for-traffic"} 0`,
		`spindle_child_up{child="lan",conn="r9",reason="ike-blocked"} 0`,
		`spindle_peer_last_dpd_answer_timestamp_seconds{conn="r8",peer="192.0.2.8:500"} 1.7e+09`,
		`spindle_peer_last_authenticated_timestamp_seconds{conn="r8",peer="192.0.2.8:500"} 0`,
		`spindle_peer_dpd_unanswered_queries{conn="r8",peer="192.0.2.8:500"} 2`,
		`spindle_unknown_spi_packets_total{conn=""} 11`,
		`spindle_unknown_spi_packets_total{conn="r8"} 3`,
		`spindle_negotiations_total{conn="r9",outcome="ike_failed"} 4`,
		`spindle_rekeys_total{child="lan",conn="r8"} 6`,
		`spindle_rekey_gap_seconds_total{child="lan",conn="r8"} 0.0015`,
		`spindle_rekey_gap_packets_total{child="lan",conn="r8"} 2`,
		`spindle_connection_child_sas{conn="r9"} 0`,
		`spindle_child_packets_total{child="lan",conn="r8",direction="in",spi_in="0x00000101"} 7`,
		`spindle_child_bytes_total{child="lan",conn="r8",direction="out",spi_in="0x00000101"} 900`,
		`spindle_child_drops_total{child="lan",conn="r8",direction="in",spi_in="0x00000101"} 1`,
		`spindle_child_last_packet_timestamp_seconds{child="lan",conn="r8",direction="in",spi_in="0x00000101"} 1.7000000005e+09`,
		`spindle_child_last_packet_timestamp_seconds{child="lan",conn="r8",direction="out",spi_in="0x00000101"} 0`,
		`spindle_worker_sas{worker="0"} 1`,
		`spindle_translation_mappings{conn="r8",kind="tcp"} 6`,
		`spindle_translation_mappings{conn="r8",kind="udp"} 2`,
		`spindle_translation_mappings{conn="r8",kind="icmp"} 1`,
		`spindle_translation_mappings{conn="r8",kind="other"} 1`,
		`spindle_translation_mappings_bound{conn="r8"} 32768`,
		`spindle_translation_mappings_made_total{conn="r8"} 41`,
		`spindle_translation_drops_total{conn="r8",reason="full"} 3`,
		`spindle_translation_drops_total{conn="r8",reason="no_mapping"} 6`,
		`spindle_translation_drops_total{conn="r8",reason="untranslatable"} 1`,
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
	if !strings.Contains(body, `spindle_connection_up{conn="r8",reason="up"} 1`) {
		t.Errorf("connections are missing in\n%s", body)
	}
}

// TestNames: names, types and help are as promtool wants them.
func TestNames(t *testing.T) {
	_, body := scrape(t, gateway{})
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
