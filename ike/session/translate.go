package session

import (
	"hash/fnv"
	"slices"

	"spindle/sadb"
)

// Translating behind an assigned address (E, client mode): the peer gives one
// address, and the data path hides the hosts of the children's local sides behind
// it. Child SAs are of that address; the SPD stays that of the hosts.

// Hides reports whether a child's hosts are hidden.
func (c *Connection) Hides(child *Child) bool { return c.Translate && len(child.Local) > 0 }

// Inside are the local selectors of the SPD entry for a child SA with these.
func (c *Connection) Inside(child *Child, local []sadb.Selector) []sadb.Selector {
	if c.Hides(child) {
		return child.Local
	}
	return local
}

// Conceal tells both SAs of a child to translate to the address that they are of.
func (c *Connection) Conceal(child *Child, sa *sadb.SA) {
	if c.Hides(child) {
		sa.Translate = sa.LocalTS[0].First
	}
}

// OwnsAssigned reports whether an assigned address is put on this host: one behind
// which all children hide their hosts is theirs alone.
func (c *Connection) OwnsAssigned() bool {
	return slices.ContainsFunc(c.Children, func(child Child) bool { return !c.Hides(&child) })
}

// Owner is with what the connection's SPIs are allocated: -1 for any worker in
// turn. Where hosts are hidden all child SAs share mappings, and so a worker.
func (c *Connection) Owner() int {
	if !c.Translate {
		return -1
	}
	name := fnv.New32a()
	name.Write([]byte(c.Name))
	return int(name.Sum32() >> 1)
}
