package ike

import (
	"slices"
	"time"

	"spindle/ike/session"
)

// clear is the operator's clear crypto: SAs go, but what brings them up stays as
// it is configured, unlike after a down.
func (e *Engine) clear(now time.Time, in session.Clear) {
	for _, m := range slices.Clone(e.sas) {
		if !m.Listed() || !in.Matches(m.Status(now).Local, m.Remote()) {
			continue
		}
		switch {
		case in.Silent:
			m.ForgetAll(now)
		case in.Children:
			for _, child := range m.Children(now) {
				m.Terminate(now, child.Child)
			}
		default:
			m.Terminate(now, "")
		}
		e.sync(now, m)
	}
}

// trace turns the Audit of every IKE message on or off.
func (e *Engine) trace(on bool) { e.cfg.Trace, e.env.Trace, e.v1.Trace = on, on, on }
