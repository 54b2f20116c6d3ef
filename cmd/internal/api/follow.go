package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
)

// Follow says which events a follower wants from now on.
type Follow struct {
	Debug bool       // every IKE message as well
	Peer  netip.Addr // only events about this peer, or its connection; zero: all
	Conn  string     // that connection; the gateway finds it
}

// wants tells whether an event is one of those that are followed.
func (f *Follow) wants(e *Event) bool {
	if !f.Debug && e.Level == slog.LevelDebug.String() {
		return false
	}
	if !f.Peer.IsValid() {
		return !f.Debug || ofIKE(e)
	}
	for _, key := range []string{"peer", "from", "remote", "to"} {
		value := e.Attrs[key]
		if ap, err := netip.ParseAddrPort(value); err == nil && ap.Addr() == f.Peer || value == f.Peer.String() {
			return true
		}
	}
	return f.Conn != "" && e.Attrs["conn"] == f.Conn
}

// ofIKE leaves out what is about no peer and no connection: the start of a process.
func ofIKE(e *Event) bool { return e.Attrs["peer"] != "" || e.Attrs["conn"] != "" }

// followDepth is how many events may wait for a slow follower. One that is slower
// still loses the oldest, and is told how many.
const followDepth = 1024

// Subscribe delivers the events that f wants until ctx ends. lost is how many the
// reader was too slow for since the one before.
func (r *Ring) Subscribe(ctx context.Context, f Follow, deliver func(e Event, lost int) error) error {
	s := &subscriber{follow: f, ready: make(chan struct{}, 1)}
	r.mu.Lock()
	r.subscribers = append(r.subscribers, s)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.subscribers = slices.DeleteFunc(r.subscribers, func(o *subscriber) bool { return o == s })
		r.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.ready:
		}
		r.mu.Lock()
		waiting, lost := s.waiting, s.lost
		s.waiting, s.lost = nil, 0
		r.mu.Unlock()
		for _, e := range waiting {
			if err := deliver(e, lost); err != nil {
				return err
			}
			lost = 0
		}
	}
}

type subscriber struct {
	follow  Follow
	waiting []Event
	lost    int
	ready   chan struct{}
}

// publish hands an event to those that follow. The ring is locked.
func (r *Ring) publish(e Event) {
	for _, s := range r.subscribers {
		if !s.follow.wants(&e) {
			continue
		}
		if len(s.waiting) == followDepth {
			s.waiting = s.waiting[1:]
			s.lost++
		}
		s.waiting = append(s.waiting, e)
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
}

// debugging tells whether somebody follows what the log does not show.
func (r *Ring) debugging() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.subscribers, func(s *subscriber) bool { return s.follow.Debug })
}

// stream serves GET /v1/follow: one JSON object a line, until either end hangs up.
func stream(b Backend, stopping context.Context) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f := Follow{Debug: r.FormValue("debug") == "true"}
		if peer := r.FormValue("peer"); peer != "" {
			var err error
			if f.Peer, err = netip.ParseAddr(peer); err != nil {
				refuse(w, http.StatusBadRequest, fmt.Sprintf("peer %q is no address", peer))
				return
			}
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(stopping, cancel)()
		flow := http.NewResponseController(w)
		lines := json.NewEncoder(w)
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		_ = flow.Flush()
		_ = b.Follow(ctx, f, func(e Event, lost int) error {
			if lost > 0 {
				_ = lines.Encode(Event{Time: e.Time, Level: "WARN", Event: "events lost: the reader is too slow", Attrs: map[string]string{"events": fmt.Sprint(lost)}})
			}
			if err := lines.Encode(e); err != nil {
				return err
			}
			return flow.Flush()
		})
	}
}
