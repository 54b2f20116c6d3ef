// Package ike is the IKE engine of the control process: it finds the machine
// that an input is for, bounds what strangers can make it hold, and keeps the
// timers. It is sans-IO: no clock, no socket, no goroutine; time and events come
// in by Step, what is to be done comes out as a list of outputs whose order is
// the contract (DESIGN.md §3).
//
// It holds no protocol. IKEv2 (RFC 7296) is in v2.
package ike

import (
	"io"
	"time"

	"spindle/ike/session"
)

// Config is what an engine needs from its surroundings.
type Config struct {
	Rand    io.Reader    // unpredictable bytes: crypto/rand.Reader, or a seeded one in tests
	SPIs    session.SPIs // *sadb.Allocator
	Trace   bool         // one debug Audit for every IKE message in and out
}

// Engine runs every IKE SA of a gateway. It is used by one goroutine.
type Engine struct {
	cfg Config
	out session.Outbox
}

// New returns an engine without connections: give it a ConfigChanged.
func New(cfg Config) *Engine { return &Engine{cfg: cfg} }

// Step takes one input and returns what is to be done, in that order.
func (e *Engine) Step(now time.Time, in session.Input) []session.Output {
	return e.out.Take()
}

// Deadline is when the engine wants a Tick at the latest, zero for never.
func (e *Engine) Deadline() time.Time { return time.Time{} }

// Status is what there is at that moment, for show.
func (e *Engine) Status(now time.Time) session.Status { return session.Status{} }
