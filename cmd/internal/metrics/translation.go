package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"spindle/cmd/internal/api"
)

var (
	mappings      = desc("translation_mappings", "Mappings of inside hosts behind the address that the peer assigned.", "conn", "kind")
	mappingsBound = desc("translation_mappings_bound", "How many there may be.", "conn")
	mappingsMade  = desc("translation_mappings_made_total", "Mappings made.", "conn")
	untranslated  = desc("translation_drops_total", "Packets dropped for want of a mapping.", "conn", "reason")
)

// translations sums the addresses of a connection, which its peer chooses.
func (c collector) translations(ctx context.Context, out chan<- prometheus.Metric) error {
	rows, err := c.Translations(ctx)
	sums := map[string]api.Translation{}
	for _, row := range rows {
		s := sums[row.Conn]
		s.TCP, s.UDP, s.ICMP, s.Other, s.Bound, s.Made = s.TCP+row.TCP, s.UDP+row.UDP, s.ICMP+row.ICMP, s.Other+row.Other, s.Bound+row.Bound, s.Made+row.Made
		s.Full, s.NoMapping, s.Untranslatable = s.Full+row.Full, s.NoMapping+row.NoMapping, s.Untranslatable+row.Untranslatable
		sums[row.Conn] = s
	}
	for conn, s := range sums {
		for kind, n := range map[string]int{"tcp": s.TCP, "udp": s.UDP, "icmp": s.ICMP, "other": s.Other} {
			gauge(out, mappings, float64(n), conn, kind)
		}
		gauge(out, mappingsBound, float64(s.Bound), conn)
		counter(out, mappingsMade, s.Made, conn)
		for reason, n := range map[string]uint64{"full": s.Full, "no_mapping": s.NoMapping, "untranslatable": s.Untranslatable} {
			counter(out, untranslated, n, conn, reason)
		}
	}
	return err
}
