package sadb

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// DB holds what the data path needs to know of every SA and policy. I and O
// are what it keeps for an inbound and an outbound SA (cipher, sequence number,
// replay window); the DB only hands the pointers on.
//
// One goroutine, the writer, changes it: changes gather in a draft that Publish
// makes visible in one step. Workers read through a Reader each.
type DB[I, O any] struct {
	current atomic.Pointer[Snapshot[I, O]]

	readersMu sync.Mutex
	readers   map[*Reader[I, O]]struct{}

	// What follows belongs to the writer.
	draft   *Snapshot[I, O] // nil while nothing has changed since Publish
	index   indexer
	retired []retired

	inbound  map[SPI]*I
	policies map[PolicyID]rule
	bindings map[PolicyID][]binding[O] // in order of binding; the last one is in use
	outbound map[SPI]PolicyID          // by pair
	rows     []Row                     // rows of Snapshot.entries to reuse
	rowCount Row                       // the highest one ever used
}

// binding is one outbound SA of a policy.
type binding[O any] struct {
	pair SPI
	out  *O
}

// NewDB makes an empty database, its empty state published.
func NewDB[I, O any]() *DB[I, O] {
	d := &DB[I, O]{
		readers:  map[*Reader[I, O]]struct{}{},
		index:    newIndexer(),
		inbound:  map[SPI]*I{},
		policies: map[PolicyID]rule{},
		bindings: map[PolicyID][]binding[O]{},
		outbound: map[SPI]PolicyID{},
	}
	d.current.Store(&Snapshot[I, O]{epoch: 1, spd: 1, index: d.index.index})
	return d
}

// edit returns the draft. Until Publish only the writer sees it.
func (d *DB[I, O]) edit() *Snapshot[I, O] {
	if d.draft == nil {
		next := *d.current.Load()
		next.epoch++
		d.draft = &next
	}
	return d.draft
}

// Publish makes the changes since the last one visible to readers, all at once,
// and returns the epoch of the newest snapshot.
func (d *DB[I, O]) Publish() uint64 {
	if d.draft != nil {
		d.draft.index = d.index.index
		d.current.Store(d.draft)
		d.draft = nil
	}
	d.reclaim()
	return d.current.Load().epoch
}

// AddInbound installs what belongs to an inbound SPI. It takes the slot over
// from whatever SA held it.
func (d *DB[I, O]) AddInbound(spi SPI, in *I) {
	s := d.edit()
	row := s.inbound.edit(uint32(spi.Slot()), s.epoch)
	delete(d.inbound, row.spi)
	*row = inboundRow[I]{spi, in}
	d.inbound[spi] = in
}

// DeleteInbound removes an inbound SPI and returns what belonged to it, nil if
// it is not there. Readers may use it until they have passed the next Publish.
func (d *DB[I, O]) DeleteInbound(spi SPI) *I {
	in := d.inbound[spi]
	if in == nil {
		return nil
	}
	s := d.edit()
	*s.inbound.edit(uint32(spi.Slot()), s.epoch) = inboundRow[I]{}
	delete(d.inbound, spi)
	return in
}

// BindOutbound makes the pair's outbound SA the one that the policy uses. The
// SAs it used before stay bound behind it until they are deleted, and come back
// into use if this one goes first. The policy may be added later.
func (d *DB[I, O]) BindOutbound(pair SPI, policy PolicyID, out *O) {
	d.DeleteOutbound(pair) // it may serve another policy until now
	d.outbound[pair] = policy
	d.bindings[policy] = append(d.bindings[policy], binding[O]{pair, out})
	d.rebind(policy)
}

// DeleteOutbound removes the pair's outbound SA and returns it, nil if there is
// none. Readers may use it until they have passed the next Publish.
func (d *DB[I, O]) DeleteOutbound(pair SPI) *O {
	policy := d.outbound[pair]
	out := d.unbind(pair)
	if out != nil {
		d.rebind(policy)
	}
	return out
}

// unbind takes the pair off its policy's bindings.
func (d *DB[I, O]) unbind(pair SPI) *O {
	policy, ok := d.outbound[pair]
	if !ok {
		return nil
	}
	delete(d.outbound, pair)
	list := d.bindings[policy]
	at := slices.IndexFunc(list, func(b binding[O]) bool { return b.pair == pair })
	out := list[at].out
	if d.bindings[policy] = slices.Delete(list, at, at+1); len(list) == 1 {
		delete(d.bindings, policy)
	}
	return out
}

// rebind writes the policy's SA in use into its entry.
func (d *DB[I, O]) rebind(policy PolicyID) {
	r, ok := d.policies[policy]
	if !ok {
		return
	}
	s := d.edit()
	s.entries.edit(uint32(r.row), s.epoch).Outbound = d.inUse(policy)
}

func (d *DB[I, O]) inUse(policy PolicyID) *O {
	list := d.bindings[policy]
	if len(list) == 0 {
		return nil
	}
	return list[len(list)-1].out
}

// AddPolicy adds an SPD entry, or replaces the one with the same ID, which
// keeps its outbound SA.
func (d *DB[I, O]) AddPolicy(p Policy) {
	p.Local, p.Remote = slices.Clone(p.Local), slices.Clone(p.Remote)
	s := d.edit()
	old, replaces := d.policies[p.ID]
	r := rule{priority: p.Priority, row: old.row, policy: &p}
	if !replaces {
		r.row = d.takeRow()
	}
	d.policies[p.ID] = r
	s.spd = s.epoch
	d.index.add(r, s.epoch)
	if replaces { // after the add, which leaves the trie alone if the prefixes stay
		d.index.remove(old, s.epoch)
	}
	s.rows = d.rowCount
	*s.entries.edit(uint32(r.row), s.epoch) = Entry[O]{Policy: &p, Outbound: d.inUse(p.ID), Action: p.Action, Filtered: len(p.Access) > 0}
}

// takeRow finds an unused row of Snapshot.entries.
func (d *DB[I, O]) takeRow() Row {
	if last := len(d.rows) - 1; last >= 0 {
		row := d.rows[last]
		d.rows = d.rows[:last]
		return row
	}
	d.rowCount++
	return d.rowCount
}

// DeletePolicy removes an SPD entry. Its outbound SAs stay bound to the ID.
func (d *DB[I, O]) DeletePolicy(id PolicyID) {
	r, ok := d.policies[id]
	if !ok {
		return
	}
	s := d.edit()
	s.spd = s.epoch
	d.index.remove(r, s.epoch)
	*s.entries.edit(uint32(r.row), s.epoch) = Entry[O]{}
	delete(d.policies, id)
	d.rows = append(d.rows, r.row)
}

// Inbounds are all inbound SAs, in no order, including unpublished changes.
// The loop may delete them. Writer only, as are Outbounds and Policies.
func (d *DB[I, O]) Inbounds() iter.Seq2[SPI, *I] { return maps.All(d.inbound) }

// Outbounds are all outbound SAs by pair, also those a policy no longer uses.
func (d *DB[I, O]) Outbounds() iter.Seq2[SPI, *O] {
	return func(yield func(SPI, *O) bool) {
		for pair, policy := range d.outbound {
			for _, b := range d.bindings[policy] {
				if b.pair == pair && !yield(pair, b.out) {
					return
				}
			}
		}
	}
}

// Policies are all SPD entries.
func (d *DB[I, O]) Policies() iter.Seq[*Policy] {
	return func(yield func(*Policy) bool) {
		for _, r := range d.policies {
			if !yield(r.policy) {
				return
			}
		}
	}
}
