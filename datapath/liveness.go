package datapath

import (
	"time"

	"spindle/datapath/esp"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// watch notices a peer that is sent to and does not answer (D3). Its fields
// belong to the owner worker. It looks only when the SA has just been used, so a
// peer that nobody talks to costs nothing (D10).
type watch struct {
	limit   int64         // nanoseconds, 0 never
	since   int64         // the SA is not older than this
	told    int64         // of the last report
	partner *esp.Counters // of the inbound SA of the pair, nil without one
}

const silenceRepeat = int64(time.Second)

func newWatch(sa *sadb.SA, partner *inboundSA, now int64) watch {
	w := watch{limit: int64(sa.Silence), since: now}
	if partner != nil {
		w.partner = &partner.Counters
	}
	return w
}

// look compares the last packet sent with the last one that authenticated.
func (w *watch) look(pair sadb.SPI, sent int64, slow SlowPath) {
	if w.limit == 0 || w.partner == nil {
		return
	}
	if sent-max(w.partner.LastUsed, w.since) < w.limit || sent-w.told < silenceRepeat {
		return
	}
	m := keysock.Silence{Pair: pair}
	if in := w.partner.LastUsed; in != 0 {
		m.LastIn = time.Unix(0, in)
	}
	if slow.Report(m) {
		w.told = sent
	}
}

// SweepIdle reports, once for each, the pairs that carried no packet either way
// for as long as they may be idle (T1). Calling it once a second is enough, and
// costs the workers nothing.
func (s *Server) SweepIdle(now time.Time, report func(keysock.Message) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.in {
		limit := in.held.sa.Idle
		if limit == 0 || in.held.idled {
			continue
		}
		last := max(in.Usage().LastUsed, in.held.since)
		if out := s.out[in.held.sa.Pair]; out != nil {
			last = max(last, out.Usage().LastUsed)
		}
		if now.UnixNano()-last >= int64(limit) {
			in.held.idled = report(keysock.Expire{Pair: in.held.sa.Pair, Hard: true, Cause: "idle"})
		}
	}
}
