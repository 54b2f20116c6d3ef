package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/diagnose"
	"spindle/ike/session"
)

// Why answers for one connection, or for all those with a peer. The network is
// asked beside the control loop.
func (b *backend) Why(ctx context.Context, name string) ([]api.Why, error) {
	all, err := b.facts(ctx)
	if err != nil {
		return nil, err
	}
	list := []api.Why{}
	for _, f := range all {
		if !f.about(name) {
			continue
		}
		f.look()
		f.probe(ctx)
		list = append(list, diagnose.Explain(&f.Facts))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no connection and no peer is called %q: spindle show connections lists them", api.ErrNotFound, name)
	}
	return list, nil
}

// Reasons are the same verdicts from what is known without sending anything. The
// way to a peer whose tunnel is up is not looked at.
func (b *backend) Reasons(ctx context.Context) (map[string]string, error) {
	all, err := b.facts(ctx)
	reasons := map[string]string{}
	looked := map[netip.Addr]diagnose.Path{}
	for _, f := range all {
		if path, ok := looked[f.peer]; ok {
			f.Path = path
		} else if f.Connection.State != "up" && f.peer.IsValid() {
			f.look()
			looked[f.peer] = f.Path
		}
		reasons[f.Connection.Name] = diagnose.Explain(&f.Facts).Verdict
	}
	return reasons, err
}

// matter is one connection with the address that its next message goes to.
type matter struct {
	diagnose.Facts
	peer      netip.Addr
	addresses []string
}

// about tells whether a name is the connection's, or an address or name of its peer.
func (m *matter) about(name string) bool {
	return m.Connection.Name == name || slices.Contains(m.Hosts, name) || slices.Contains(m.addresses, name)
}

func (m *matter) look() {
	if m.peer.IsValid() {
		m.Path = diagnose.Look(m.peer)
	}
}

// probe asks only what matters: the host of a peer that is silent, and the sizes
// when nothing else is wrong.
func (m *matter) probe(ctx context.Context) {
	if !m.peer.IsValid() || m.Path.RouteError != "" {
		return
	}
	m.Path.Probe(ctx, m.peer)
	if diagnose.Explain(&m.Facts).Verdict == diagnose.Up {
		m.Path.ProbeSizes(ctx, m.peer)
	}
}

// tables are what the facts are cut from, by connection.
type tables struct {
	conf     map[string]*session.Connection
	ike      map[string][]api.IKESA
	children map[string][]api.ChildSA
	peers    map[string][]api.Peer
	policies map[string][]api.Policy
	unknown  map[string][]api.UnknownSPI
	workers  []api.Worker
	counters []api.Counter
	datapath string
}

// facts are those of every connection. A data path that does not answer is one.
func (b *backend) facts(ctx context.Context) ([]matter, error) {
	conns, err := b.Connections(ctx)
	if err != nil {
		return nil, err
	}
	t, err := b.tables(ctx)
	list := make([]matter, 0, len(conns))
	for _, c := range conns {
		list = append(list, t.matter(c))
	}
	return list, err
}

// tables reads them all, one after the other. Those of the data path may be missing.
func (b *backend) tables(ctx context.Context) (*tables, error) {
	t := &tables{conf: map[string]*session.Connection{}}
	err := b.do(ctx, func() error {
		for i := range b.conf.Connections {
			t.conf[b.conf.Connections[i].Name] = &b.conf.Connections[i]
		}
		return nil
	})
	ike, errIKE := b.IKESAs(ctx)
	peers, errPeers := b.Peers(ctx)
	policies, errPolicies := b.Policies(ctx)
	unknown, errUnknown := b.UnknownSPIs(ctx)
	children, errChildren := b.ChildSAs(ctx)
	workers, errWorkers := b.Workers(ctx)
	counters, errCounters := b.Counters(ctx)
	if err := cmp.Or(errChildren, errWorkers, errCounters); err != nil {
		t.datapath = err.Error()
	}
	t.ike = byConn(ike, func(r *api.IKESA) string { return r.Conn })
	t.children = byConn(children, func(r *api.ChildSA) string { return r.Conn })
	t.peers = byConn(peers, func(r *api.Peer) string { return r.Conn })
	t.policies = byConn(policies, func(r *api.Policy) string { return r.Conn })
	t.unknown = byConn(unknown, func(r *api.UnknownSPI) string { return r.Conn })
	t.workers, t.counters = workers, counters
	return t, errors.Join(err, errIKE, errPeers, errPolicies, errUnknown)
}

// matter is one connection's part.
func (t *tables) matter(c api.Connection) matter {
	m := matter{Facts: diagnose.Facts{Now: time.Now(), Connection: c, Workers: t.workers, Counters: t.counters, Datapath: t.datapath,
		IKE: t.ike[c.Name], Children: t.children[c.Name], Peers: t.peers[c.Name], Policies: t.policies[c.Name], Unknown: t.unknown[c.Name]}}
	if conf := t.conf[c.Name]; conf != nil {
		m.Hosts = conf.Remote.Hosts
		for _, child := range conf.Children {
			m.Configured = append(m.Configured, child.Name)
		}
	}
	for _, p := range m.Peers {
		m.addresses = append(m.addresses, addressOf(p.Peer).String())
	}
	m.peer = m.next()
	if m.peer.IsValid() {
		m.Path.Peer = m.peer.String()
	}
	return m
}

// next is where the next message goes: to the peer of the newest IKE SA, else to
// the first address.
func (m *matter) next() netip.Addr {
	for _, sa := range slices.Backward(m.IKE) {
		return addressOf(sa.Remote)
	}
	if len(m.Peers) > 0 {
		return addressOf(m.Peers[0].Peer)
	}
	return netip.Addr{}
}

func byConn[Row any](rows []Row, conn func(*Row) string) map[string][]Row {
	m := map[string][]Row{}
	for i := range rows {
		m[conn(&rows[i])] = append(m[conn(&rows[i])], rows[i])
	}
	return m
}
