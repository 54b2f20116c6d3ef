package ike

import (
	"slices"
	"time"

	"spindle/ike/session"
)

// Status is what there is at that moment, for show.
func (e *Engine) Status(now time.Time) session.Status {
	var st session.Status
	for _, c := range e.connections {
		st.Connections = append(st.Connections, c.status(now))
	}
	for _, m := range e.sas {
		if m.Listed() {
			st.IKE = append(st.IKE, m.Status(now))
		}
		st.Children = append(st.Children, m.Children(now)...)
		st.Leases = append(st.Leases, m.Leases()...)
	}
	return st
}

func (c *connection) status(now time.Time) session.ConnectionStatus {
	st := session.ConnectionStatus{
		Conn: c.conf.Name, Version: c.conf.Version,
		Local: c.conf.Local.Addresses, Remote: c.conf.Remote.Addresses,
		State: "down", LastError: c.lastError, LastErrorAt: c.lastErrorAt,
		Start: c.conf.Start, RetryAt: c.heldUntil(now), DPD: c.conf.DPD, Recovery: c.conf.Unrecoverable(),
	}
	st.ByHand = c.conf.Start == session.StartNever && c.conf.V1.EasyVPN
	for _, child := range c.conf.Children {
		st.Children = append(st.Children, child.Name)
	}
	switch {
	case slices.ContainsFunc(c.sas, func(m *machine) bool { return m.Up() }):
		st.State = "up"
		return st
	case slices.ContainsFunc(c.sas, func(m *machine) bool { return m.Negotiating() }):
		st.State = "connecting"
		return st
	}
	switch {
	case c.lastError != "":
		st.Reason = c.lastError
	case st.ByHand:
		st.Reason = "waits for spindle up"
	case c.conf.Start == session.StartNever || c.conf.Remote.Any():
		st.Reason = "waits for the peer"
	case !slices.ContainsFunc(c.conf.Children, asks) && c.conf.Pool == nil:
		st.Reason = "waits for spindle up"
	default:
		st.Reason = "waits for traffic"
	}
	return st
}

// asks tells children whose policy stands without an SA, so that a packet can ask
// for one: what the peer is to assign or to name is known only afterwards.
func asks(c session.Child) bool { return len(c.Local) > 0 && len(c.Remote) > 0 }

// heldUntil is the end of the last hold that has not passed.
func (c *connection) heldUntil(now time.Time) (until time.Time) {
	for _, h := range c.holds {
		if h.until.After(now) && h.until.After(until) {
			until = h.until
		}
	}
	return until
}
