package sadb

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// crowd finds the entries of one prefix of the index when they are many: first by the
// local side's address, then by what they say of protocol and ports. A lookup meets
// those of the addresses and ports of its packet, however many others there are.
//
// A crowd never changes: add and remove make another one that shares most of it.
type crowd struct {
	size   int // entries
	locals *bart.Table[services]
}

// crowded is how many entries of one prefix are too many for a list.
const crowded = 16

// services are the entries with one local prefix. They stand in either of two tries,
// whose keys begin with the protocol: by the remote port and then the local one, or
// the other way round. An entry is in the one that its ports narrow more.
type services struct {
	byRemote, byLocal *bart.Table[[]rule]
}

func newCrowd(rules []rule) *crowd {
	c := &crowd{locals: new(bart.Table[services])}
	for _, r := range rules {
		c = c.add(r)
	}
	return c
}

// match is index.match among them: what is in SPD order before best, or best.
func (c *crowd) match(p *sides, best *rule) *rule {
	at := netip.PrefixFrom(p.local, p.local.BitLen())
	for {
		prefix, s, ok := c.locals.LookupPrefixLPM(at)
		if !ok {
			return best
		}
		best = firstOf(s.byRemote, serviceKey(p.protocol, p.remotePort, p.localPort, serviceBits), p, best)
		best = firstOf(s.byLocal, serviceKey(p.protocol, p.localPort, p.remotePort, serviceBits), p, best)
		if at, ok = above(prefix); !ok {
			return best
		}
	}
}

// firstOf walks a trie from its longest key up.
func firstOf(t *bart.Table[[]rule], at netip.Prefix, p *sides, best *rule) *rule {
	for {
		prefix, rules, ok := t.LookupPrefixLPM(at)
		if !ok {
			return best
		}
		best = p.first(rules, best)
		if at, ok = above(prefix); !ok {
			return best
		}
	}
}

// above is the prefix from which to look for the next shorter one.
func above(p netip.Prefix) (netip.Prefix, bool) {
	return netip.PrefixFrom(p.Addr(), max(p.Bits()-1, 0)), p.Bits() > 0
}

// add returns the crowd with a rule.
func (c *crowd) add(r rule) *crowd {
	next := *c
	next.size++
	for _, prefix := range sidePrefixes(r.policy.Local) {
		s, ok := next.locals.Get(prefix)
		if !ok {
			s = services{new(bart.Table[[]rule]), new(bart.Table[[]rule])}
		}
		s.each(r.policy, func(t **bart.Table[[]rule], key netip.Prefix) {
			list, _ := (*t).Get(key)
			*t = (*t).InsertPersist(key, inserted(list, r))
		})
		next.locals = next.locals.InsertPersist(prefix, s)
	}
	return &next
}

// remove returns the crowd without it.
func (c *crowd) remove(r rule) *crowd {
	next := *c
	next.size--
	for _, prefix := range sidePrefixes(r.policy.Local) {
		s, ok := next.locals.Get(prefix)
		if !ok {
			continue
		}
		s.each(r.policy, func(t **bart.Table[[]rule], key netip.Prefix) {
			list, _ := (*t).Get(key)
			if list = without(list, r); len(list) == 0 {
				*t = (*t).DeletePersist(key)
			} else {
				*t = (*t).InsertPersist(key, list)
			}
		})
		if s.byRemote.Size()+s.byLocal.Size() == 0 {
			next.locals = next.locals.DeletePersist(prefix)
		} else {
			next.locals = next.locals.InsertPersist(prefix, s)
		}
	}
	return &next
}

// each names the places of a policy, each of them once.
func (s *services) each(p *Policy, place func(t **bart.Table[[]rule], key netip.Prefix)) {
	type at struct {
		byLocal bool
		key     netip.Prefix
	}
	seen := map[at]bool{}
	for i := range p.Local {
		for k := range p.Remote {
			byLocal, keys := serviceKeys(&p.Local[i], &p.Remote[k])
			for _, key := range keys {
				if seen[at{byLocal, key}] {
					continue
				}
				seen[at{byLocal, key}] = true
				if byLocal {
					place(&s.byLocal, key)
				} else {
					place(&s.byRemote, key)
				}
			}
		}
	}
}

// A key is protocol, port and the other side's port, written as the first bytes of an
// IPv6 address so that the trie of prefixes takes it.
const (
	protocolBits = 8
	portBits     = 16
	serviceBits  = protocolBits + 2*portBits
)

func serviceKey(protocol uint8, first, second uint16, bits int) netip.Prefix {
	b := [16]byte{protocol, byte(first >> 8), byte(first), byte(second >> 8), byte(second)}
	return netip.PrefixFrom(netip.AddrFrom16(b), bits).Masked()
}

// serviceKeys covers what two selectors say together. What they do not narrow, and
// the second of two ranges, is left to be compared.
func serviceKeys(local, remote *Selector) (byLocal bool, keys []netip.Prefix) {
	protocol := local.Protocol | remote.Protocol // equal, or one is any; else nothing can match
	if protocol == 0 {
		return false, []netip.Prefix{serviceKey(0, 0, 0, 0)}
	}
	first, second := portPrefixes(remote), portPrefixes(local)
	if byLocal = local.ports() < remote.ports(); byLocal {
		first, second = second, first
	}
	for _, f := range first {
		if f.bits < portBits { // a longer key would say more than is meant
			keys = append(keys, serviceKey(protocol, f.port, 0, protocolBits+f.bits))
			continue
		}
		for _, s := range second {
			keys = append(keys, serviceKey(protocol, f.port, s.port, protocolBits+portBits+s.bits))
		}
	}
	return byLocal, keys
}

// ports is how many there are. Opaque ones are any, to be compared.
func (s *Selector) ports() int {
	if s.isOpaque() {
		return maxPort + 1
	}
	return int(s.LastPort) - int(s.FirstPort) + 1
}

// portPrefix is a block of ports: a power of two of them, from a multiple of it on.
type portPrefix struct {
	port uint16
	bits int // that are given
}

// portPrefixes covers the ports of a selector.
func portPrefixes(s *Selector) (list []portPrefix) {
	if s.ports() > maxPort {
		return []portPrefix{{0, 0}}
	}
	for at, last := int(s.FirstPort), int(s.LastPort); at <= last; {
		size, bits := 1, portBits
		for at%(2*size) == 0 && at+2*size-1 <= last {
			size, bits = 2*size, bits-1
		}
		list = append(list, portPrefix{uint16(at), bits})
		at += size
	}
	return list
}
