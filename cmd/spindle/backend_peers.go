package main

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"spindle/cmd/internal/api"
	"spindle/ike/session"
	"spindle/sadb"
)

// ikePort is where a peer is called.
const ikePort = 500

// Peers are those with an IKE SA, then the configured addresses without one.
func (b *backend) Peers(ctx context.Context) (list []api.Peer, err error) {
	err = b.status(ctx, func(s session.Status) error {
		list = peerRows(s, time.Now())
		return nil
	})
	return list, err
}

func peerRows(s session.Status, now time.Time) (list []api.Peer) {
	conns := map[string]session.ConnectionStatus{}
	for _, c := range s.Connections {
		conns[c.Conn] = c
	}
	type end struct {
		conn string
		addr netip.Addr
	}
	called := map[end]bool{}
	for _, sa := range s.IKE {
		called[end{sa.Conn, sa.Remote.Addr()}] = true
		row := api.Peer{Conn: sa.Conn, Peer: sa.Remote.String(), Local: sa.Local.String(), ID: sa.RemoteID, State: sa.State}
		dpd := sa.DPD
		if dpd.Tries == 0 { // half open: nothing is asked yet
			dpd.DPD = conns[sa.Conn].DPD
		}
		liveness(&row, dpd, now)
		recovery(&row, conns[sa.Conn])
		list = append(list, row)
	}
	for _, c := range s.Connections {
		for _, addr := range c.Remote {
			if called[end{c.Conn, addr}] {
				continue
			}
			row := api.Peer{Conn: c.Conn, Peer: netip.AddrPortFrom(addr, ikePort).String(), Local: localText(c), State: "down"}
			liveness(&row, session.DPDStatus{DPD: c.DPD}, now)
			recovery(&row, c)
			list = append(list, row)
		}
	}
	return list
}

// How a peer is asked whether it lives (D9).
const (
	methodDPD       = "dpd"
	methodKeepalive = "keepalive"
)

// liveness fills in the figures of D7.
func liveness(row *api.Peer, d session.DPDStatus, now time.Time) {
	row.Method, row.Rejected = methodDPD, d.Rejected
	if d.Keepalive {
		row.Method = methodKeepalive
	}
	row.Mode, row.Interval, row.Retry, row.Tries = d.Mode.String(), d.Interval.Seconds(), d.Retry.Seconds(), d.Tries
	row.MyLastSeq, row.PeerLastSeq, row.Outstanding, row.Unanswered = d.MySeq, d.PeerSeq, d.Outstanding, d.Errors
	row.LastReceived, row.LastProof, row.NextQuery = api.Instant{Time: d.LastReceived}, api.Instant{Time: d.LastProof}, api.Instant{Time: d.Next}
	if !d.LastReceived.IsZero() {
		since := now.Sub(d.LastReceived).Seconds()
		row.LastReceivedS = &since
	}
}

func recovery(row *api.Peer, c session.ConnectionStatus) {
	row.Recovery, row.RecoveryNote = c.Recovery == "" && c.Conn != "", c.Recovery
	if row.Recovery {
		row.RecoveryNote = "static peer, invalid_spi_recovery is on"
	}
}

// Policies are in the order of lookup. What an earlier entry takes entirely from a
// later one never reaches it, so that one is said to be shadowed.
func (b *backend) Policies(ctx context.Context) (list []api.Policy, err error) {
	err = b.do(ctx, func() error {
		policies := make([]sadb.Policy, 0, len(b.ledger.policies))
		for _, p := range b.ledger.policies {
			policies = append(policies, p)
		}
		slices.SortFunc(policies, func(x, y sadb.Policy) int {
			return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.ID, y.ID))
		})
		serving := map[sadb.PolicyID]sadb.SPI{}
		for _, sa := range b.ledger.out {
			serving[sa.Policy] = sa.SPI
		}
		for i, p := range policies {
			row := api.Policy{ID: uint32(p.ID), Priority: p.Priority, Action: p.Action.String(),
				Local: texts(p.Local), Remote: texts(p.Remote), Access: texts(p.Access), Conn: p.Conn, Child: p.Child, Shadow: shadow(policies[:i], p)}
			if spi, ok := serving[p.ID]; ok {
				row.SPIOut = spi.String()
			}
			list = append(list, row)
		}
		return nil
	})
	return list, err
}

// shadowBound keeps the comparison of every pair of entries cheap: beyond it only
// the first entries are looked at.
const shadowBound = 1000

// shadow is the child of an earlier entry that takes everything p is for. Entries
// of the same child narrow it, which is no shadow.
func shadow(earlier []sadb.Policy, p sadb.Policy) string {
	for _, e := range earlier[:min(len(earlier), shadowBound)] {
		if (e.Conn != p.Conn || e.Child != p.Child) && covers(e.Local, p.Local) && covers(e.Remote, p.Remote) {
			return strings.Trim(e.Conn+"/"+e.Child, "/")
		}
	}
	return ""
}

// covers tells whether every selector lies in one of the others.
func covers(outer, inner []sadb.Selector) bool {
	for _, i := range inner {
		if !slices.ContainsFunc(outer, func(o sadb.Selector) bool { return o.Contains(i) }) {
			return false
		}
	}
	return true
}
