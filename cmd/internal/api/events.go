package api

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// Ring keeps the last events in memory for show events. Its Handler feeds it
// from a logger, so that what the log says and what show says is the same.
type Ring struct {
	mu     sync.Mutex
	events []Event
	next   int
	full   bool

	subscribers []*subscriber
}

// NewRing keeps the last n events, n at least 1.
func NewRing(n int) *Ring { return &Ring{events: make([]Event, max(n, 1))} }

// Add forgets the oldest event when the ring is full.
func (r *Ring) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(e)
	r.events[r.next] = e
	r.next++
	if r.next == len(r.events) {
		r.next, r.full = 0, true
	}
}

// pass hands an event to those that follow, without keeping it.
func (r *Ring) pass(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(e)
}

// List is a copy, oldest first.
func (r *Ring) List() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		return slices.Clone(r.events[:r.next])
	}
	return slices.Concat(r.events[r.next:], r.events[:r.next])
}

// Handler passes every record of level Info and above to the ring, and those
// that next takes to next.
func (r *Ring) Handler(next slog.Handler) slog.Handler { return &ringHandler{ring: r, next: next} }

type ringHandler struct {
	ring  *Ring
	next  slog.Handler
	attrs []slog.Attr // group names already joined in
	group string
}

func (h *ringHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.next.Enabled(ctx, l) || h.ring.debugging()
}

func (h *ringHandler) Handle(ctx context.Context, rec slog.Record) error {
	if e := h.event(rec); rec.Level >= slog.LevelInfo {
		h.ring.Add(e)
	} else {
		h.ring.pass(e)
	}
	if h.next.Enabled(ctx, rec.Level) {
		return h.next.Handle(ctx, rec)
	}
	return nil
}

func (h *ringHandler) event(rec slog.Record) Event {
	e := Event{Time: Instant{rec.Time}, Level: rec.Level.String(), Event: rec.Message, Attrs: map[string]string{}}
	for _, a := range h.attrs {
		flatten(e.Attrs, "", a)
	}
	rec.Attrs(func(a slog.Attr) bool {
		flatten(e.Attrs, h.group, a)
		return true
	})
	return e
}

// flatten renders a group as dotted keys, as the text log does.
func flatten(into map[string]string, prefix string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		if a.Key != "" {
			into[prefix+a.Key] = v.String()
		}
		return
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, inner := range v.Group() {
		flatten(into, prefix, inner)
	}
}

func (h *ringHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		c.attrs = append(c.attrs, slog.Attr{Key: h.group + a.Key, Value: a.Value})
	}
	c.next = h.next.WithAttrs(attrs)
	return &c
}

func (h *ringHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.group = h.group + name + "."
	c.next = h.next.WithGroup(name)
	return &c
}
