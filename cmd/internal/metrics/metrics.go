// Package metrics shows a running gateway to Prometheus. It reads the same rows
// as show does, at the moment of the scrape, and keeps nothing. Everything that is
// configured has a series, up or down, so that an alert can be written before the
// first tunnel ever stood; what is down says why in the reason label.
package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"spindle/cmd/internal/api"
)

// scrapeTimeout bounds what one scrape may ask of the gateway.
const scrapeTimeout = 5 * time.Second

// Serve answers /metrics on l until ctx ends. It closes l.
func Serve(ctx context.Context, l net.Listener, b api.Backend, log *slog.Logger) error {
	s := &http.Server{
		Handler:           Handler(b),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// Handler serves /metrics over b.
func Handler(b api.Backend) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{b})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}

// collector turns rows into series.
type collector struct{ api.Backend }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("spindle_"+name, help, labels, nil)
}

var (
	connectionUp = desc("connection_up", "1 while the configured connection carries a child SA; the reason is the verdict of spindle why.", "conn", "reason")
	childUp      = desc("child_up", "1 while the configured child has an SA; the reason is that of its connection.", "conn", "child", "reason")
	lastAnswer   = desc("peer_last_dpd_answer_timestamp_seconds", "When the peer last answered a query of dead peer detection. 0 is never.", "conn", "peer")
	lastProof    = desc("peer_last_authenticated_timestamp_seconds", "When anything of the peer last authenticated. 0 is never.", "conn", "peer")
	unanswered   = desc("peer_dpd_unanswered_queries", "Queries of dead peer detection that are unanswered in a row.", "conn", "peer")
	unknownSPIs  = desc("unknown_spi_packets_total", "ESP for SPIs that this gateway does not hold, by the connection that names its source; empty: none does.", "conn")
	unknownLast  = desc("unknown_spi_last_timestamp_seconds", "When the last ESP for an unknown SPI came.", "conn")
	negotiations = desc("negotiations_total", "Negotiations by how they ended.", "conn", "outcome")
	rekeys       = desc("rekeys_total", "Child SAs that replaced another one.", "conn", "child")
	gapSeconds   = desc("rekey_gap_seconds_total", "Time in which a rekey left no SA to send with.", "conn", "child")
	gapPackets   = desc("rekey_gap_packets_total", "Packets dropped in that time for lack of an SA.", "conn", "child")
	childSAs     = desc("connection_child_sas", "Child SAs of the connection.", "conn")
	childPackets = desc("child_packets_total", "Inner packets of a child SA pair.", "conn", "child", "spi_in", "direction")
	childBytes   = desc("child_bytes_total", "Inner bytes of a child SA pair.", "conn", "child", "spi_in", "direction")
	childDrops   = desc("child_drops_total", "Packets of a child SA pair that were dropped.", "conn", "child", "spi_in", "direction")
	childLast    = desc("child_last_packet_timestamp_seconds", "When the last packet passed; inbound, it authenticated. 0 is never.", "conn", "child", "spi_in", "direction")
	workerSAs    = desc("worker_sas", "SA pairs that a worker owns.", "worker")
	verdicts     = desc("verdicts_total", "How packets ended, by worker; frames, by port of the XDP program.", "source", "verdict")
)

// Describe sends nothing: what there is depends on the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads every table once. A table that cannot be read shows as an error
// of the scrape; the others are there all the same.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	for _, table := range []func(context.Context, chan<- prometheus.Metric) error{
		c.connections, c.children, c.peers, c.strangers, c.negotiations, c.rekeys, c.workers, c.verdicts, c.translations,
	} {
		if err := table(ctx, out); err != nil {
			out <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
	}
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (c collector) connections(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Connections(ctx)
	if err != nil {
		return err
	}
	// Without the data path there is no table of child SAs, and what is down is
	// down for that reason.
	sas, errSAs := c.ChildSAs(ctx)
	reasons, err := c.Reasons(ctx)
	for _, row := range rows {
		gauge(out, connectionUp, truth(row.State == "up"), row.Name, reasons[row.Name])
		gauge(out, childSAs, float64(row.Children), row.Name)
		for _, child := range row.Configured {
			up := slices.ContainsFunc(sas, func(sa api.ChildSA) bool { return sa.Conn == row.Name && sa.Child == child })
			reason := reasons[row.Name]
			if up {
				reason = "up"
			} else if reason == "up" {
				reason = "waits-for-traffic"
			}
			gauge(out, childUp, truth(up), row.Name, child, reason)
		}
	}
	return errors.Join(err, errSAs)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c collector) peers(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Peers(ctx)
	seen := map[[2]string]bool{}
	for _, row := range rows {
		// Two IKE SAs with one peer stand for a moment: the one that is older says less.
		key := [2]string{row.Conn, row.Peer}
		if row.Conn == "" || seen[key] {
			continue
		}
		seen[key] = true
		gauge(out, lastAnswer, seconds(row.LastReceived), row.Conn, row.Peer)
		gauge(out, lastProof, seconds(row.LastProof), row.Conn, row.Peer)
		gauge(out, unanswered, float64(row.Unanswered), row.Conn, row.Peer)
	}
	return err
}

// strangers sums the sources by connection: their addresses are anybody's choice,
// and would make as many series as somebody likes.
func (c collector) strangers(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.UnknownSPIs(ctx)
	packets, last := map[string]uint64{}, map[string]float64{}
	for _, row := range rows {
		packets[row.Conn] += row.Packets
		last[row.Conn] = max(last[row.Conn], seconds(row.Last))
	}
	for conn := range packets {
		counter(out, unknownSPIs, packets[conn], conn)
		gauge(out, unknownLast, last[conn], conn)
	}
	return err
}

func (c collector) negotiations(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Negotiations(ctx)
	for _, row := range rows {
		counter(out, negotiations, row.Count, row.Conn, row.Outcome)
	}
	return err
}

func (c collector) rekeys(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Rekeys(ctx)
	for _, row := range rows {
		counter(out, rekeys, row.Count, row.Conn, row.Child)
		out <- prometheus.MustNewConstMetric(gapSeconds, prometheus.CounterValue, row.GapUS/1e6, row.Conn, row.Child)
		counter(out, gapPackets, row.GapPackets, row.Conn, row.Child)
	}
	return err
}

func (c collector) children(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.ChildSAs(ctx)
	for _, row := range rows {
		for _, way := range []struct {
			direction             string
			packets, bytes, drops uint64
			last                  api.Instant
		}{
			{"in", row.PacketsIn, row.BytesIn, row.DropsIn, row.LastIn},
			{"out", row.PacketsOut, row.BytesOut, row.DropsOut, row.LastOut},
		} {
			labels := []string{row.Conn, row.Child, row.SPIIn, way.direction}
			counter(out, childPackets, way.packets, labels...)
			counter(out, childBytes, way.bytes, labels...)
			counter(out, childDrops, way.drops, labels...)
			gauge(out, childLast, seconds(way.last), labels...)
		}
	}
	return err
}

// seconds is a time since 1970, 0 for never.
func seconds(t api.Instant) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

func (c collector) workers(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Workers(ctx)
	for _, row := range rows {
		gauge(out, workerSAs, float64(row.SAs), strconv.Itoa(row.Worker))
	}
	return err
}

func (c collector) verdicts(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Counters(ctx)
	for _, row := range rows {
		counter(out, verdicts, row.Value, row.Source, row.Name)
	}
	return err
}
