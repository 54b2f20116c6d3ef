package sadb

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// index finds SPD entries by the longest prefix of their remote side, which is
// the destination of what leaves and the source of what arrives. Each prefix
// has a node with the entries that name exactly it, and a way up to the next
// shorter prefix, so a lookup meets only entries whose remote addresses match.
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

// match walks from the longest prefix up and keeps the first entry in SPD
// order: a shorter prefix wins when its priority says so.
func (x *index) match(dir Direction, f *Flow) *rule {
	remote, local := f.Dst, f.Src
	remotePort, localPort := f.DstPort, f.SrcPort
	if dir == Inbound {
		remote, local = local, remote
		remotePort, localPort = localPort, remotePort
	}
	var best *rule
	i, _ := x.trie.Lookup(remote)
	for i != 0 {
		n := x.nodes.at(i)
		for k := range n.rules {
			r := &n.rules[k]
			if best != nil && best.before(r) {
				break
			}
			if matchesAny(r.policy.Local, local, f.Protocol, localPort) &&
				matchesAny(r.policy.Remote, remote, f.Protocol, remotePort) {
				best = r
				break
			}
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
	for _, prefix := range remotePrefixes(r.policy) {
		i, ok := x.trie.Get(prefix)
		if !ok {
			i = x.insert(prefix, epoch)
		}
		n := x.nodes.edit(i, epoch)
		at, _ := slices.BinarySearchFunc(n.rules, &r, func(have rule, want *rule) int {
			if have.before(want) {
				return -1
			}
			return 1
		})
		// Clipped, so that the list which readers hold is copied and not shifted.
		n.rules = slices.Insert(slices.Clip(n.rules), at, r)
	}
}

// remove takes a rule off again.
func (x *indexer) remove(r rule, epoch uint64) {
	for _, prefix := range remotePrefixes(r.policy) {
		i, ok := x.trie.Get(prefix)
		if !ok {
			continue
		}
		n := x.nodes.edit(i, epoch)
		n.rules = slices.DeleteFunc(slices.Clone(n.rules), func(have rule) bool { return have.policy == r.policy })
		if len(n.rules) == 0 {
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

// remotePrefixes covers the remote side of a policy, each prefix once.
func remotePrefixes(p *Policy) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range p.Remote {
		list = append(list, s.Prefixes()...)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}
