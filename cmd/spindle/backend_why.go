package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/diagnose"
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

// Reasons are the same verdicts from what is known without sending anything.
func (b *backend) Reasons(ctx context.Context) (map[string]string, error) {
	all, err := b.facts(ctx)
	reasons := map[string]string{}
	looked := map[netip.Addr]diagnose.Path{}
	for _, f := range all {
		if path, ok := looked[f.peer]; ok {
			f.Path = path
		} else if f.look(); f.peer.IsValid() {
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

// tables are what the facts are cut from.
type tables struct {
	ike      []api.IKESA
	children []api.ChildSA
	peers    []api.Peer
	policies []api.Policy
	unknown  []api.UnknownSPI
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
	var t tables
	if t.ike, err = b.IKESAs(ctx); err != nil {
		return nil, err
	}
	if t.peers, err = b.Peers(ctx); err != nil {
		return nil, err
	}
	if t.policies, err = b.Policies(ctx); err != nil {
		return nil, err
	}
	if t.unknown, err = b.UnknownSPIs(ctx); err != nil {
		return nil, err
	}
	for _, read := range []func() error{
		func() (err error) { t.children, err = b.ChildSAs(ctx); return err },
		func() (err error) { t.workers, err = b.Workers(ctx); return err },
		func() (err error) { t.counters, err = b.Counters(ctx); return err },
	} {
		if err := read(); err != nil {
			t.datapath = err.Error()
		}
	}
	var list []matter
	err = b.do(ctx, func() error {
		for _, c := range conns {
			list = append(list, b.matter(c, &t))
		}
		return nil
	})
	return list, err
}

// matter cuts one connection's part out of the tables. It runs on the control loop.
func (b *backend) matter(c api.Connection, t *tables) matter {
	m := matter{Facts: diagnose.Facts{Now: time.Now(), Connection: c, Workers: t.workers, Counters: t.counters, Datapath: t.datapath}}
	for i := range b.conf.Connections {
		conf := &b.conf.Connections[i]
		if conf.Name != c.Name {
			continue
		}
		m.Hosts = conf.Remote.Hosts
		for _, child := range conf.Children {
			m.Configured = append(m.Configured, child.Name)
		}
	}
	m.IKE = of(t.ike, c.Name, func(r *api.IKESA) string { return r.Conn })
	m.Children = of(t.children, c.Name, func(r *api.ChildSA) string { return r.Conn })
	m.Peers = of(t.peers, c.Name, func(r *api.Peer) string { return r.Conn })
	m.Policies = of(t.policies, c.Name, func(r *api.Policy) string { return r.Conn })
	m.Unknown = of(t.unknown, c.Name, func(r *api.UnknownSPI) string { return r.Conn })
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

func of[Row any](rows []Row, conn string, name func(*Row) string) (list []Row) {
	for i := range rows {
		if name(&rows[i]) == conn {
			list = append(list, rows[i])
		}
	}
	return list
}
