package sadb

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// index finds SPD entries by the longest prefix of their remote side, which is
// the destination of what leaves and the source of what arrives. Each prefix
// has a node with the entries that name exactly it, and a way up to the next
// shorter prefix, so a lookup meets only entries whose remote addresses match. Where
// many name the same prefix, a crowd tells them apart by the rest.
//
// Published versions never change: the trie is persistent, the nodes are paged.
type index struct {
	trie  *bart.Table[uint32] // prefix to node
	nodes paged[node]
}

// node is one prefix of the index. Node 0 is nobody: the parent of the shortest.
type node struct {
	parent uint32
	rules  []rule // in SPD order, never changed in place
	crowd  *crowd // in their place, when there are many
}

// rule is one SPD entry as a node lists it.
type rule struct {
	priority uint32
	row      Row // of Snapshot.entries
	policy   *Policy
}

// before is the SPD order: lower priority first, then lower ID.
func (r *rule) before(o *rule) bool {
	if r.priority != o.priority {
		return r.priority < o.priority
	}
	return r.policy.ID < o.policy.ID
}

// sides is a flow as policies see it.
type sides struct {
	local, remote         netip.Addr
	localPort, remotePort uint16
	protocol              uint8
}

func sidesOf(dir Direction, f *Flow) sides {
	if dir == Inbound {
		return sides{f.Dst, f.Src, f.DstPort, f.SrcPort, f.Protocol}
	}
	return sides{f.Src, f.Dst, f.SrcPort, f.DstPort, f.Protocol}
}

// first is the first of some rules that matches, or best if that comes before.
func (p *sides) first(rules []rule, best *rule) *rule {
	for k := range rules {
		r := &rules[k]
		if best != nil && best.before(r) {
			break
		}
		if matchesAny(r.policy.Local, p.local, p.protocol, p.localPort) &&
			matchesAny(r.policy.Remote, p.remote, p.protocol, p.remotePort) {
			return r
		}
	}
	return best
}

// match walks from the longest prefix up and keeps the first entry in SPD
// order: a shorter prefix wins when its priority says so.
func (x *index) match(dir Direction, f *Flow) *rule {
	p := sidesOf(dir, f)
	var best *rule
	i, _ := x.trie.Lookup(p.remote)
	for i != 0 {
		n := x.nodes.at(i)
		if n.crowd == nil {
			best = p.first(n.rules, best)
		} else {
			best = n.crowd.match(&p, best)
		}
		i = n.parent
	}
	return best
}

func matchesAny(list []Selector, addr netip.Addr, proto uint8, port uint16) bool {
	for i := range list {
		if list[i].Matches(addr, proto, port) {
			return true
		}
	}
	return false
}

// indexer is the writer's side of an index.
type indexer struct {
	index
	free  []uint32 // node numbers to reuse
	count uint32   // node numbers ever used, including node 0
}

func newIndexer() indexer {
	return indexer{index: index{trie: new(bart.Table[uint32])}, count: 1}
}

// add lists a rule under every prefix of its remote side.
func (x *indexer) add(r rule, epoch uint64) {
	for _, prefix := range sidePrefixes(r.policy.Remote) {
		i, ok := x.trie.Get(prefix)
		if !ok {
			i = x.insert(prefix, epoch)
		}
		n := x.nodes.edit(i, epoch)
		switch {
		case n.crowd != nil:
			n.crowd = n.crowd.add(r)
		case len(n.rules) == crowded:
			n.crowd, n.rules = newCrowd(n.rules).add(r), nil
		default:
			n.rules = inserted(n.rules, r)
		}
	}
}

// inserted is a list with one more rule, in its place. Readers keep the old one.
func inserted(list []rule, r rule) []rule {
	at, _ := slices.BinarySearchFunc(list, &r, func(have rule, want *rule) int {
		if have.before(want) {
			return -1
		}
		return 1
	})
	return slices.Insert(slices.Clip(list), at, r)
}

func without(list []rule, r rule) []rule {
	return slices.DeleteFunc(slices.Clone(list), func(have rule) bool { return have.policy == r.policy })
}

// remove takes a rule off again.
func (x *indexer) remove(r rule, epoch uint64) {
	for _, prefix := range sidePrefixes(r.policy.Remote) {
		i, ok := x.trie.Get(prefix)
		if !ok {
			continue
		}
		n := x.nodes.edit(i, epoch)
		if n.crowd != nil {
			if n.crowd = n.crowd.remove(r); n.crowd.size == 0 {
				n.crowd = nil
			}
		} else {
			n.rules = without(n.rules, r)
		}
		if n.crowd == nil && len(n.rules) == 0 {
			x.drop(prefix, i, epoch)
		}
	}
}

// insert makes a node for a prefix and puts it between those it covers and the
// one that covers it.
func (x *indexer) insert(prefix netip.Prefix, epoch uint64) uint32 {
	i := x.count
	if last := len(x.free) - 1; last >= 0 {
		i, x.free = x.free[last], x.free[:last]
	} else {
		x.count++
	}
	parent, _ := x.trie.LookupPrefix(prefix)
	*x.nodes.edit(i, epoch) = node{parent: parent}
	x.reparent(prefix, parent, i, epoch)
	x.trie = x.trie.InsertPersist(prefix, i)
	return i
}

// drop takes an empty node out from between the others.
func (x *indexer) drop(prefix netip.Prefix, i uint32, epoch uint64) {
	n := x.nodes.edit(i, epoch)
	parent := n.parent
	*n = node{}
	x.trie = x.trie.DeletePersist(prefix)
	x.reparent(prefix, i, parent, epoch)
	x.free = append(x.free, i)
}

// reparent moves the children of one node within prefix to another.
func (x *indexer) reparent(prefix netip.Prefix, from, to uint32, epoch uint64) {
	for _, child := range x.trie.Subnets(prefix) {
		if x.nodes.at(child).parent == from {
			x.nodes.edit(child, epoch).parent = to
		}
	}
}

// sidePrefixes covers one side of a policy, each prefix once.
func sidePrefixes(side []Selector) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range side {
		list = append(list, s.Prefixes()...)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
