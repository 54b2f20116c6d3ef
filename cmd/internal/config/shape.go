package config

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// shape are the keys of a child about the packets that it carries.
func (d *decoder) shape(c *session.Child) []field {
	return []field{
		may("df", chooseInto(d, &c.DF, "df",
			choice[sadb.DFPolicy]{"copy", sadb.DFCopy, false},
			choice[sadb.DFPolicy]{"set", sadb.DFSet, false},
			choice[sadb.DFPolicy]{"clear", sadb.DFClear, false})),
		may("prefragment", d.boolean(&c.Prefragment, "prefragment")),
		may("mss", chooseInto(d, &c.KeepMSS, "mss", choice[bool]{"clamp", false, false}, choice[bool]{"keep", true, false})),
		may("path_mtu", bytesInto(d, &c.PathMTU, "path_mtu", leastPath, mostBytes)),
		may("tfc", bytesInto(d, &c.TFC, "tfc", 0, mostBytes)),
		may("dscp", func(n ast.Node) { d.outerDSCP(n, c) }),
		may("access", func(n ast.Node) { d.access(n, c) }),
	}
}

// Bounds of packet lengths. No IPv4 path is narrower (RFC 791 §3.1: hosts take 576).
const (
	leastPath = 576
	mostBytes = 1<<16 - 1
)

func bytesInto(d *decoder, into *uint16, what string, low, high uint32) func(ast.Node) {
	return func(n ast.Node) {
		v := uint32(*into)
		number(d, &v, what, low, high)(n)
		*into = uint16(v)
	}
}

func (d *decoder) outerDSCP(n ast.Node, c *session.Child) {
	s, ok := d.scalar(n, "dscp")
	if !ok || s == "copy" {
		return
	}
	if v, ok := d.codepoint(n, "dscp", s, "copy"); ok {
		c.FixDSCP, c.DSCP = true, v
	}
}

// codepoint reads a DSCP by name or number; words are what else the key takes.
func (d *decoder) codepoint(n ast.Node, what, s string, words ...string) (uint8, bool) {
	if v, ok := codepoints[s]; ok {
		return v, true
	}
	if digits(s) {
		v := uint32(64)
		number(d, &v, what, 0, 63)(n)
		return uint8(v), v < 64
	}
	d.refuse(n, "%s: %q is no codepoint: write %s", what, s, alternatives(append(words, "a name such as ef, cs5 or af41", "a number from 0 to 63")))
	return 0, false
}

// codepoints are the registered names (RFC 2474 §4.2.2, RFC 2597, RFC 3246, RFC
// 5865, RFC 8622).
var codepoints = registered()

func registered() map[string]uint8 {
	names := map[string]uint8{"ef": 46, "va": 44, "le": 1}
	for class := range uint8(8) {
		names[fmt.Sprintf("cs%d", class)] = class << 3
	}
	for class := uint8(1); class <= 4; class++ {
		for drop := uint8(1); drop <= 3; drop++ {
			names[fmt.Sprintf("af%d%d", class, drop)] = class<<3 | drop<<1
		}
	}
	return names
}

// priority reads which packets go first when a worker is overloaded (N7).
func (d *decoder) priority(n ast.Node, into *[]uint8) {
	d.object(n, "priority", must("dscp", func(n ast.Node) {
		d.list(n, "priority dscp", func(n ast.Node) {
			s, ok := d.scalar(n, "a DSCP of priority")
			if !ok {
				return
			}
			v, ok := d.codepoint(n, "priority dscp", s)
			if ok && slices.Contains(*into, v) {
				d.refuse(n, "priority dscp names %s twice", s)
			} else if ok {
				*into = append(*into, v)
			}
		})
	}))
}

// Where the entries of `policies` stand: all before those of the connections, or
// all behind; between each other, in the order of the file.
const (
	priorityFirst = 1
	priorityLast  = 1 << 31
	// firstConfigured is the number of the first of them: the engine counts its own
	// from 1.
	firstConfigured sadb.PolicyID = 1 << 31
)

// IsConfigured tells the SPD entries of `policies` from those of connections.
func IsConfigured(id sadb.PolicyID) bool { return id >= firstConfigured }

// policies reads the SPD entries that no connection has: what passes in the clear,
// and what does not pass (RFC 4301 §4.4.1).
func (d *decoder) policies(n ast.Node, into *[]sadb.Policy) {
	d.list(n, "policies", func(n ast.Node) {
		p := sadb.Policy{ID: firstConfigured + sadb.PolicyID(len(*into)), Priority: priorityFirst}
		before := len(d.problems)
		d.object(n, "a policy",
			must("action", chooseInto(d, &p.Action, "action", choice[sadb.Action]{"bypass", sadb.Bypass, false}, choice[sadb.Action]{"discard", sadb.Discard, false})),
			must("local", func(n ast.Node) { p.Local = d.selectors(n, "policy local") }),
			must("remote", func(n ast.Node) { p.Remote = d.selectors(n, "policy remote") }),
			may("order", chooseInto(d, &p.Priority, "order", choice[uint32]{"first", priorityFirst, false}, choice[uint32]{"last", priorityLast, false})),
		)
		if len(d.problems) == before && !common(p.Local, p.Remote) {
			d.refuse(n, "policy: local and remote have no address family in common")
		}
		*into = append(*into, p)
	})
}
