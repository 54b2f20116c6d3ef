package main

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"spindle/cmd/internal/config"
	"spindle/ike/session"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// ledger is what the data path should hold: either process may die and come
// back, and then the two are compared.
type ledger struct {
	in, out  map[sadb.SPI]sadb.SA // by pair
	policies map[sadb.PolicyID]sadb.Policy
	hosts    map[netip.Addr]bool  // inside addresses that this host has from its peers
	orphans  map[sadb.SPI]sadb.SA // inbound SAs of an earlier control process, which still forward
}

func newLedger() ledger {
	return ledger{
		in: map[sadb.SPI]sadb.SA{}, out: map[sadb.SPI]sadb.SA{},
		policies: map[sadb.PolicyID]sadb.Policy{}, orphans: map[sadb.SPI]sadb.SA{},
		hosts: map[netip.Addr]bool{},
	}
}

func (l *ledger) side(d sadb.Direction) map[sadb.SPI]sadb.SA {
	if d == sadb.Outbound {
		return l.out
	}
	return l.in
}

func (l *ledger) add(sa sadb.SA) {
	sa.Key = slices.Clone(sa.Key)
	l.side(sa.Direction)[sa.Pair] = sa
}

func (l *ledger) update(u session.UpdateSA) {
	for _, side := range []map[sadb.SPI]sadb.SA{l.in, l.out} {
		if sa, ok := side[u.Pair]; ok {
			sa.Local, sa.Remote, sa.Encap = u.Local, u.Remote, u.Encap
			side[u.Pair] = sa
		}
	}
}

func (l *ledger) remove(d sadb.Direction, pair sadb.SPI) {
	clear(l.side(d)[pair].Key)
	delete(l.side(d), pair)
}

func (l *ledger) policy(p session.Policy) {
	if p.Remove {
		delete(l.policies, p.Policy.ID)
		return
	}
	l.policies[p.Policy.ID] = p.Policy
}

func (l *ledger) address(a session.Address) {
	if a.Remove {
		delete(l.hosts, a.Addr)
		return
	}
	l.hosts[a.Addr] = true
}

// Bounds of a jump in outbound sequence numbers. At 10 million packets a second
// an SA sends a tenth of the jump between two surveys, so no number, and with it
// no IV, comes twice; a 32-bit SA that has no room to jump is not restored.
const (
	sequenceJump = 1 << 30
	sequenceEnd  = 1<<32 - 1
)

// survey notes how far the sequence numbers are.
func (c *control) survey() {
	if c.client == nil || len(c.ledger.out) == 0 {
		return
	}
	usage, err := c.dump()
	if err != nil {
		return
	}
	for _, u := range usage {
		side := c.ledger.side(u.SA.Direction)
		if sa, ok := side[u.SA.Pair]; ok {
			sa.Sequence = max(sa.Sequence, u.SA.Sequence)
			side[u.SA.Pair] = sa
		}
	}
}

func (c *control) dump() ([]keysock.Usage, error) {
	if c.client == nil {
		return nil, errors.New("no data path is running")
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return c.client.Dump(ctx)
}

// restore fills a new data path: policies first, so that nothing leaves in the
// clear, then the SAs, outbound ones with their sequence numbers far ahead of
// anything sent. The restored SAs are replaced at once: the new replay windows
// have forgotten what they saw.
func (c *control) restore() {
	for _, id := range slices.Sorted(maps.Keys(c.ledger.policies)) {
		c.call(keysock.PolicyAdd{Policy: c.ledger.policies[id]})
	}
	for _, a := range slices.SortedFunc(maps.Keys(c.ledger.hosts), netip.Addr.Compare) {
		c.call(keysock.HostAddress{Addr: a})
	}
	usage, err := c.dump()
	if err != nil {
		return
	}
	held := map[sadb.SPI]bool{}
	for _, u := range usage {
		held[u.SA.Pair] = true
	}
	for _, pair := range slices.Sorted(maps.Keys(c.ledger.out)) {
		if held[pair] {
			continue
		}
		c.restorePair(pair)
	}
}

func (c *control) restorePair(pair sadb.SPI) {
	if pair.Worker() >= c.hello.Workers {
		c.step(session.Expire{Pair: pair, Hard: true, Cause: "its worker is no more"})
		return
	}
	out := c.ledger.out[pair]
	out.Sequence += sequenceJump
	if !out.ESN && out.Sequence >= sequenceEnd {
		c.step(session.Expire{Pair: pair, Hard: true, Cause: "sequence"})
		return
	}
	c.ledger.out[pair] = out
	if in, ok := c.ledger.in[pair]; ok {
		c.call(keysock.Add{SA: in})
	}
	c.call(keysock.Add{SA: out})
	c.step(session.Expire{Pair: pair, Cause: "restart"})
}

// adopt finds the SAs of an earlier control process. They go on forwarding, and
// keep their SPIs, until the connection they belong to has SAs again or their
// lifetime ends.
func (c *control) adopt() {
	usage, err := c.dump()
	if err != nil {
		return
	}
	for _, u := range usage {
		if u.SA.Direction != sadb.Inbound {
			continue
		}
		if err := c.spis.Reserve(u.SA.SPI); err != nil {
			c.log.Error("SA of an earlier control process", "spi", u.SA.SPI, "error", err)
			continue
		}
		c.ledger.orphans[u.SA.Pair] = u.SA
	}
	if n := len(c.ledger.orphans); n > 0 {
		c.log.Info("SAs of an earlier control process go on forwarding", "pairs", n)
	}
}

// retireOrphans removes those that a new outbound SA replaces.
func (c *control) retireOrphans(sa sadb.SA) {
	if sa.Direction != sadb.Outbound {
		return
	}
	for pair, orphan := range c.ledger.orphans {
		if orphan.Conn == sa.Conn && orphan.Child == sa.Child {
			c.deleteOrphan(pair)
		}
	}
}

func (c *control) deleteOrphan(pair sadb.SPI) {
	c.call(keysock.Delete{Direction: sadb.Outbound, Pair: pair})
	c.call(keysock.Delete{Direction: sadb.Inbound, Pair: pair})
	c.spis.Free(pair)
	delete(c.ledger.orphans, pair)
}

// setPolicies makes the SPD entries of the configuration's `policies` those of the
// data path. The engine has no part in them.
func (c *control) setPolicies() {
	if c.engine == nil {
		return
	}
	want := map[sadb.PolicyID]bool{}
	for _, p := range c.conf.Policies {
		want[p.ID] = true
		c.apply(session.Policy{Policy: p})
	}
	for _, id := range slices.Sorted(maps.Keys(c.ledger.policies)) {
		if config.IsConfigured(id) && !want[id] {
			c.apply(session.Policy{Remove: true, Policy: sadb.Policy{ID: id}})
		}
	}
}

// dropStalePolicies removes the SPD entries that only an earlier control process knew.
func (c *control) dropStalePolicies(h keysock.Hello) {
	for _, id := range h.Policies {
		if _, ok := c.ledger.policies[id]; !ok {
			c.call(keysock.PolicyDelete{ID: id})
		}
	}
}
