package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/supervise"
	"spindle/datapath/esp"
	"spindle/ike/session"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// backend answers the API. Every answer is made on the control loop, where
// nothing else happens meanwhile.
type backend struct{ *control }

// do runs f on the control loop.
func (b *backend) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case b.requests <- func() { done <- f() }:
		return <-done
	case <-ctx.Done():
		return fmt.Errorf("%w: the control process is busy: %w", api.ErrUnavailable, ctx.Err())
	}
}

// status runs f with the engine's state.
func (b *backend) status(ctx context.Context, f func(session.Status) error) error {
	return b.do(ctx, func() error {
		if b.engine == nil {
			return fmt.Errorf("%w: the data path has not started yet, see the log of spindle run", api.ErrUnavailable)
		}
		return f(b.engine.Status(time.Now()))
	})
}

func (b *backend) IKESAs(ctx context.Context) (list []api.IKESA, err error) {
	err = b.status(ctx, func(s session.Status) error {
		for _, sa := range s.IKE {
			list = append(list, ikeRow(sa, s.Children))
		}
		return nil
	})
	return list, err
}

func ikeRow(sa session.IKEStatus, children []session.ChildStatus) api.IKESA {
	row := api.IKESA{
		Conn: sa.Conn, Version: sa.Version, Exchange: sa.Exchange, State: sa.State,
		Local: sa.Local.String(), Remote: sa.Remote.String(), LocalID: sa.LocalID, RemoteID: sa.RemoteID,
		SPIi: fmt.Sprintf("%016x", sa.SPIi), SPIr: fmt.Sprintf("%016x", sa.SPIr),
		Suite: sa.Suite, Initiator: sa.Initiator, NAT: natOf(sa), Age: sa.Age.Seconds(), RekeyIn: sa.RekeyIn.Seconds(),
	}
	for _, c := range children {
		if c.Conn == sa.Conn {
			row.Children++
		}
	}
	return row
}

func natOf(sa session.IKEStatus) string {
	switch {
	case sa.NATLocal && sa.NATRemote:
		return "both"
	case sa.NATLocal:
		return "local"
	case sa.NATRemote:
		return "remote"
	}
	return "none"
}

func (b *backend) ChildSAs(ctx context.Context) (list []api.ChildSA, err error) {
	err = b.status(ctx, func(s session.Status) error {
		usage, err := b.usageByPair()
		for _, c := range s.Children {
			list = append(list, childRow(c, usage[c.SPIIn]))
		}
		for _, pair := range slices.Sorted(maps.Keys(b.ledger.orphans)) {
			list = append(list, orphanRow(b.ledger.orphans[pair], usage[pair]))
		}
		return err
	})
	return list, err
}

// pairUsage is both directions of an SA pair as the data path counts them.
type pairUsage struct{ in, out keysock.Usage }

func (b *backend) usageByPair() (map[sadb.SPI]pairUsage, error) {
	usage, err := b.dump()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	pairs := map[sadb.SPI]pairUsage{}
	for _, u := range usage {
		p := pairs[u.SA.Pair]
		if u.SA.Direction == sadb.Inbound {
			p.in = u
		} else {
			p.out = u
		}
		pairs[u.SA.Pair] = p
	}
	return pairs, nil
}

func childRow(c session.ChildStatus, u pairUsage) api.ChildSA {
	row := api.ChildSA{
		Conn: c.Conn, Child: c.Child, State: c.State,
		SPIIn: c.SPIIn.String(), SPIOut: c.SPIOut.String(), Suite: c.Suite, Mode: c.Mode.String(), Encap: c.Encap,
		Local: c.Local.String(), Remote: c.Remote.String(), LocalTS: texts(c.LocalTS), RemoteTS: texts(c.RemoteTS),
		Age: c.Age.Seconds(), Worker: c.SPIIn.Worker(), KeyIn: c.KeyIn, KeyOut: c.KeyOut,
		RekeyIn: c.RekeyIn.Seconds(), ExpiresIn: c.ExpiresIn.Seconds(),
	}
	count(&row, u)
	return row
}

// orphanRow is an SA of an earlier control process.
func orphanRow(sa sadb.SA, u pairUsage) api.ChildSA {
	row := api.ChildSA{
		Conn: sa.Conn, Child: sa.Child, State: "orphaned",
		SPIIn: sa.SPI.String(), SPIOut: u.out.SA.SPI.String(), Suite: sa.Suite, Mode: sa.Mode.String(), Encap: sa.Encap,
		Local: sa.Local.String(), Remote: sa.Remote.String(), LocalTS: texts(sa.LocalTS), RemoteTS: texts(sa.RemoteTS),
		Worker: sa.SPI.Worker(), KeyIn: u.in.KeyFingerprint, KeyOut: u.out.KeyFingerprint,
	}
	count(&row, u)
	return row
}

func count(row *api.ChildSA, u pairUsage) {
	row.PacketsIn, row.BytesIn, row.DropsIn = u.in.Packets, u.in.Bytes, u.in.Drops
	row.PacketsOut, row.BytesOut, row.DropsOut = u.out.Packets, u.out.Bytes, u.out.Drops
	row.MTU, row.PathMTU = int(u.out.MTU), int(u.out.PathMTU)
	row.Reordering = reordering(u.in).Window()
	row.Late, row.Left, row.AccessIn = buckets(u.in.Late), buckets(u.in.Left), texts(u.in.SA.Access)
	row.LastIn, row.LastOut = api.Instant{Time: u.in.LastUsed}, api.Instant{Time: u.out.LastUsed}
}

// buckets are those of a histogram up to the last one with a packet in it.
func buckets(all []uint64) []uint64 {
	last := len(all)
	for last > 0 && all[last-1] == 0 {
		last--
	}
	return append([]uint64{}, all[:last]...)
}

// reordering is the histogram of an inbound SA.
func reordering(u keysock.Usage) (r esp.Reordering) {
	copy(r.Late[:], u.Late)
	copy(r.Left[:], u.Left)
	return r
}

func texts[T fmt.Stringer](ts []T) []string {
	list := make([]string, len(ts))
	for i, t := range ts {
		list[i] = t.String()
	}
	return list
}

func (b *backend) Connections(ctx context.Context) (list []api.Connection, err error) {
	err = b.status(ctx, func(s session.Status) error {
		for _, c := range s.Connections {
			row := api.Connection{Name: c.Conn, State: c.State, Reason: c.Reason, LastError: c.LastError,
				Since: api.Instant{Time: c.LastErrorAt}, Version: c.Version, Remote: remoteText(c), Local: localText(c), Start: c.Start.String(), Configured: c.Children, RetryAt: api.Instant{Time: c.RetryAt}}
			if c.ByHand {
				row.Start = "manual"
			}
			for _, child := range s.Children {
				if child.Conn == c.Conn {
					row.Children++
				}
			}
			list = append(list, row)
		}
		return nil
	})
	return list, err
}

func remoteText(c session.ConnectionStatus) string {
	if len(c.Remote) == 0 {
		return "any"
	}
	var all []string
	for _, a := range c.Remote {
		all = append(all, a.String())
	}
	return strings.Join(all, " ")
}

func (b *backend) Leases(ctx context.Context) (list []api.Lease, err error) {
	err = b.status(ctx, func(s session.Status) error {
		for _, l := range s.Leases {
			list = append(list, api.Lease{Address: l.Address.String(), Conn: l.Conn, Peer: l.Peer, Remote: l.Remote.String(),
				Ours: l.Ours, DNS: words(l.DNS), Subnets: words(l.Subnets), WINS: words(l.WINS), Domain: l.Domain, Banner: l.Banner})
		}
		return nil
	})
	return list, err
}

// words prints each thing of a list; no things are [], never null.
func words[T fmt.Stringer](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = v.String()
	}
	return all
}

func localText(c session.ConnectionStatus) string {
	if len(c.Local) == 0 {
		return ""
	}
	return c.Local[0].String()
}

// asked is what the data path answers.
func asked[T any](ctx context.Context, b *backend, ask func(*keysock.Client, context.Context) ([]T, error)) (all []T, err error) {
	err = b.do(ctx, func() error {
		if b.client == nil {
			return fmt.Errorf("%w: no data path is running, see the log of spindle run", api.ErrUnavailable)
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		all, err = ask(b.client, ctx)
		return err
	})
	return all, err
}

func (b *backend) Counters(ctx context.Context) (list []api.Counter, err error) {
	all, err := asked(ctx, b, (*keysock.Client).Stats)
	for _, c := range all {
		for i, name := range c.Names {
			list = append(list, api.Counter{Source: c.Source, Name: name, Value: c.Values[i]})
		}
	}
	return list, err
}

func (b *backend) Workers(ctx context.Context) (list []api.Worker, err error) {
	all, err := asked(ctx, b, (*keysock.Client).Stats)
	for _, c := range all {
		var n int
		if _, err := fmt.Sscanf(c.Source, "worker %d", &n); err != nil {
			continue
		}
		list = append(list, b.workerRow(n, c))
	}
	return list, err
}

func (b *backend) workerRow(n int, c keysock.Counters) api.Worker {
	row := api.Worker{Worker: n, CPU: -1, Crypto: b.hello.Crypto, Verdicts: map[string]uint64{}}
	if n < len(b.hello.CPUs) {
		row.CPU = b.hello.CPUs[n]
	}
	for _, mode := range strings.Split(b.hello.XDP, "\n") {
		row.Ports = append(row.Ports, mode)
	}
	for i, name := range c.Names {
		row.Verdicts[name] = c.Values[i]
		row.Packets += c.Values[i]
		switch {
		case name == "forwarded":
			row.Forwarded = c.Values[i]
		case strings.HasPrefix(name, "drop_"):
			row.Dropped += c.Values[i]
		}
	}
	for pair := range b.ledger.in {
		if pair.Worker() == n {
			row.SAs++
		}
	}
	return row
}

func (b *backend) Events(context.Context) ([]api.Event, error) { return b.events.List(), nil }

func (b *backend) Up(ctx context.Context, t api.Target) error {
	return b.act(ctx, t, session.Initiate{Conn: t.Conn, Child: t.Child})
}

func (b *backend) Down(ctx context.Context, t api.Target) error {
	return b.act(ctx, t, session.Terminate{Conn: t.Conn, Child: t.Child})
}

func (b *backend) Rekey(ctx context.Context, t api.Target) error {
	return b.act(ctx, t, session.Rekey{Conn: t.Conn, Child: t.Child})
}

func (b *backend) act(ctx context.Context, t api.Target, in session.Input) error {
	return b.status(ctx, func(s session.Status) error {
		i := slices.IndexFunc(s.Connections, func(c session.ConnectionStatus) bool { return c.Conn == t.Conn })
		if i < 0 {
			return fmt.Errorf("%w: no connection %q is configured", api.ErrNotFound, t.Conn)
		}
		if t.Child != "" && !slices.Contains(s.Connections[i].Children, t.Child) {
			return fmt.Errorf("%w: connection %q has no child %q, but %s", api.ErrNotFound, t.Conn, t.Child, strings.Join(s.Connections[i].Children, ", "))
		}
		b.step(in)
		return nil
	})
}

func (b *backend) Reload(ctx context.Context) error { return b.reload(ctx) }

// reloads pairs the requests to read the configuration again with the
// supervisor's answers.
type reloads struct {
	p       *process
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan error
}

func newReloads(p *process) *reloads { return &reloads{p: p, waiting: map[uint64]chan error{}} }

// ask returns once the new configuration is in force, or why it is not.
func (r *reloads) ask(ctx context.Context) error {
	answer := make(chan error, 1)
	r.mu.Lock()
	r.last++
	request := r.last
	r.waiting[request] = answer
	r.mu.Unlock()
	if err := r.p.channel.Send(supervise.Message{Kind: supervise.Reload, Request: request}); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *reloads) answered(m *supervise.Message) {
	r.mu.Lock()
	answer := r.waiting[m.Request]
	delete(r.waiting, m.Request)
	r.mu.Unlock()
	if answer == nil {
		return
	}
	if m.Error != "" {
		answer <- errors.New(m.Error)
		return
	}
	answer <- nil
}
