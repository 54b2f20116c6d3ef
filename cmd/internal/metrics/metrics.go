// Package metrics shows a running gateway to Prometheus. It reads the same rows
// as show does, at the moment of the scrape, and keeps nothing. Everything that is
// configured has a series, up or down, so that an alert can be written before the
// first tunnel ever stood; what is down says why in the reason label.
package metrics

import (
	"context"
	"log/slog"
	"net"
	"net/http"
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
	connectionUp = desc("connection_up", "1 while the configured connection has an IKE SA, with the reason it does not.", "conn", "reason")
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
		c.connections, c.children, c.workers, c.verdicts,
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
	for _, row := range rows {
		up := 0.0
		if row.State == "up" {
			up = 1
		}
		gauge(out, connectionUp, up, row.Name, row.Reason)
		gauge(out, childSAs, float64(row.Children), row.Name)
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
