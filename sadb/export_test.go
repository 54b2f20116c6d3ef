package sadb

// LongestList is how many entries a lookup may have to compare at one step.
func (d *DB[I, O]) LongestList() (longest int) {
	x := &d.index
	for _, i := range x.trie.All() {
		n := x.nodes.at(i)
		longest = max(longest, len(n.rules))
		if n.crowd == nil {
			continue
		}
		for _, s := range n.crowd.locals.All() {
			for _, list := range s.byRemote.All() {
				longest = max(longest, len(list))
			}
			for _, list := range s.byLocal.All() {
				longest = max(longest, len(list))
			}
		}
	}
	return longest
}
