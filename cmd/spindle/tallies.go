package main

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"spindle/cmd/internal/api"
	"spindle/ike/session"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// tallies is what the control process counts for the operator: it changes nothing
// that the gateway does.
type tallies struct {
	outcomes map[outcome]uint64
	rekeys   map[childName]*rekeying
	spis     map[netip.Addr]unknownSPI
}

type (
	outcome    struct{ conn, how string }
	childName  struct{ conn, child string }
	unknownSPI struct {
		spi     sadb.SPI
		packets uint64
		last    time.Time
	}
	// rekeying follows one child from SA to SA.
	rekeying struct {
		api.Rekeys
		expired bool      // its last SA reached a bound before its successor stood
		since   time.Time // when that SA went; zero while there is one
		dropped uint64    // packets without one, when that began
	}
)

// strangerLimit bounds the sources of unknown SPIs that are remembered: whoever
// spoofs addresses must not fill the memory.
const strangerLimit = 1024

func newTallies() tallies {
	return tallies{outcomes: map[outcome]uint64{}, rekeys: map[childName]*rekeying{}, spis: map[netip.Addr]unknownSPI{}}
}

// outcomes of negotiations, by the event that says so. They are label values.
var outcomes = map[string]string{
	"IKE SA established":         "ike_established",
	"IKE SA rekeyed":             "ike_rekeyed",
	"IKE SA rekey failed":        "ike_rekey_failed",
	"IKE SA rekey refused":       "ike_rekey_refused",
	"child SA established":       "child_established",
	"child SA failed":            "child_failed",
	"child SA refused":           "child_refused",
	"negotiation failed":         "ike_failed",
	"negotiation refused":        "ike_refused",
	"half-open IKE SA timed out": "ike_timed_out",
	// The same of IKEv1, where a rekey is another phase 1.
	"ISAKMP SA established":         "ike_established",
	"ISAKMP SA replaced":            "ike_rekeyed",
	"half-open ISAKMP SA timed out": "ike_timed_out",
}

// note counts how a negotiation ended.
func (t *tallies) note(a session.Audit) {
	attrs := map[string]string{}
	for _, attr := range a.Attrs {
		attrs[attr.Key] = attr.Value.String()
	}
	if how, ok := outcomes[a.Event]; ok {
		t.outcomes[outcome{attrs["conn"], how}]++
	}
	if r := t.rekeys[childName{attrs["conn"], attrs["child"]}]; r != nil && a.Event == "child SA expired" {
		r.expired = attrs["cause"] != "idle"
	}
}

// unknown notes a source of unknown SPIs. In a full table it takes the place of
// the one that was silent longest.
func (t *tallies) unknown(m keysock.UnknownSPI, now time.Time) {
	from := m.Remote.Addr()
	if _, ok := t.spis[from]; !ok && len(t.spis) >= strangerLimit {
		oldest := from
		for a, u := range t.spis {
			if oldest == from || u.last.Before(t.spis[oldest].last) {
				oldest = a
			}
		}
		delete(t.spis, oldest)
	}
	t.spis[from] = unknownSPI{m.SPI, t.spis[from].packets + m.Packets, now}
}

// sends tells whether a child has another SA to send with than this one.
func (l *ledger) sends(conn, child string, but sadb.SPI) bool {
	for pair, sa := range l.out {
		if sa.Conn == conn && sa.Child == child && pair != but {
			return true
		}
	}
	return false
}

// rekeyed counts a new SA in the place of another: with no gap if the old one
// still stands, as it does when all goes well.
func (c *control) rekeyed(sa sadb.SA) {
	if sa.Direction != sadb.Outbound {
		return
	}
	name := childName{sa.Conn, sa.Child}
	r := c.tallies.rekeys[name]
	switch stands := c.ledger.sends(sa.Conn, sa.Child, sa.Pair); {
	case r == nil:
		c.tallies.rekeys[name] = &rekeying{Rekeys: api.Rekeys{Conn: sa.Conn, Child: sa.Child}}
	case stands:
		r.Count++
	case !r.since.IsZero():
		r.Count++
		r.GapUS += float64(time.Since(r.since).Microseconds())
		if now := c.droppedWithoutSA(); now > r.dropped {
			r.GapPackets += now - r.dropped
		}
	}
	if r != nil {
		r.expired, r.since = false, time.Time{}
	}
}

// gapOpens notes that the last SA of a child goes by its lifetime while a successor
// is not there. One that idles, is taken down or loses its peer was not to be rekeyed.
func (c *control) gapOpens(d session.DeleteSA) {
	sa, ok := c.ledger.out[d.Pair]
	if !ok || d.Direction != sadb.Outbound || c.ledger.sends(sa.Conn, sa.Child, d.Pair) {
		return
	}
	if r := c.tallies.rekeys[childName{sa.Conn, sa.Child}]; r != nil && r.expired {
		r.since, r.dropped = time.Now(), c.droppedWithoutSA()
	}
}

// droppedWithoutSA is how many packets the data path dropped for lack of an SA.
func (c *control) droppedWithoutSA() (n uint64) {
	if c.client == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	all, _ := c.client.Stats(ctx) // without a data path nothing is dropped by it
	for _, s := range all {
		for i, name := range s.Names {
			if name == "drop_no_sa" || name == "drop_policy" {
				n += s.Values[i]
			}
		}
	}
	return n
}

func (b *backend) UnknownSPIs(ctx context.Context) (list []api.UnknownSPI, err error) {
	err = b.do(ctx, func() error {
		named := b.connectionsByPeer()
		for _, from := range slices.SortedFunc(maps.Keys(b.tallies.spis), netip.Addr.Compare) {
			u := b.tallies.spis[from]
			list = append(list, api.UnknownSPI{Source: from.String(), Conn: named[from], SPI: u.spi.String(),
				Packets: u.packets, Last: api.Instant{Time: u.last}})
		}
		return nil
	})
	return list, err
}

// connectionsByPeer are the connections that name an address, the first of several.
func (b *backend) connectionsByPeer() map[netip.Addr]string {
	named := map[netip.Addr]string{}
	for _, c := range b.names.expand(b.conf.Connections) {
		for _, a := range c.Remote.Addresses {
			if _, ok := named[a]; !ok {
				named[a] = c.Name
			}
		}
	}
	return named
}

func (b *backend) Negotiations(ctx context.Context) (list []api.Tally, err error) {
	err = b.do(ctx, func() error {
		for o, n := range b.tallies.outcomes {
			list = append(list, api.Tally{Conn: o.conn, Outcome: o.how, Count: n})
		}
		slices.SortFunc(list, func(x, y api.Tally) int {
			return cmp.Or(cmp.Compare(x.Conn, y.Conn), cmp.Compare(x.Outcome, y.Outcome))
		})
		return nil
	})
	return list, err
}

func (b *backend) Rekeys(ctx context.Context) (list []api.Rekeys, err error) {
	err = b.do(ctx, func() error {
		for _, c := range b.conf.Connections {
			for _, child := range c.Children {
				row := api.Rekeys{Conn: c.Name, Child: child.Name}
				if r := b.tallies.rekeys[childName{c.Name, child.Name}]; r != nil {
					row = r.Rekeys
				}
				list = append(list, row)
			}
		}
		return nil
	})
	return list, err
}
