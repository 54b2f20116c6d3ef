package config

import (
	"math"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// Anti-replay windows that the data path builds (N1).
const (
	leastWindow   = 64
	mostWindow    = 65536
	defaultWindow = 4096
)

func (d *decoder) children(n ast.Node) []placed[session.Child] {
	var all []placed[session.Child]
	names := make(map[string]position)
	d.list(n, "children", func(n ast.Node) {
		c := d.child(n)
		if first, twice := names[c.Name]; twice && c.Name != "" {
			d.refuse(n, "child %q stands twice: first at %v", c.Name, first)
		}
		names[c.Name] = where(n)
		all = append(all, placed[session.Child]{where(n), c})
	})
	return all
}

func (d *decoder) child(n ast.Node) session.Child {
	c := session.Child{
		ESP:          defaultESP(),
		Lifetime:     sadb.Lifetime{Time: time.Hour},
		ReplayWindow: defaultWindow,
		Prefragment:  true,
	}
	var local, remote bool // the file says what it is
	before := len(d.problems)
	d.object(n, "a child", append([]field{
		must("name", func(n ast.Node) { c.Name = d.name(n, "child name") }),
		may("local", func(n ast.Node) { local = true; c.Local = d.selectors(n, "child local") }),
		may("remote", func(n ast.Node) { remote = true; c.Remote = d.selectors(n, "child remote") }),
		may("esp", proposals(d, &c.ESP, "esp", d.weak.ParseESP)),
		may("mode", chooseInto(d, &c.Mode, "mode",
			choice[sadb.Mode]{"tunnel", sadb.Tunnel, false}, choice[sadb.Mode]{"transport", sadb.Transport, false})),
		may("idle", d.duration(&c.Idle, "idle", 0, forever)),
		may("lifetime", func(n ast.Node) { d.lifetime(n, &c.Lifetime) }),
		may("replay_window", func(n ast.Node) { d.window(n, &c.ReplayWindow) }),
		may("single_pair", d.boolean(&c.SinglePair, "single_pair")),
	}, d.shape(&c)...)...)
	if !local {
		d.open = append(d.open, openSide{where(n), "local"})
	}
	if !remote {
		d.open = append(d.open, openSide{where(n), "remote"})
	}
	if len(d.problems) == before && local && remote {
		d.families(n, c)
	}
	return c
}

func (d *decoder) lifetime(n ast.Node, into *sadb.Lifetime) {
	d.object(n, "a child's lifetime",
		may("time", d.duration(&into.Time, "lifetime time", 0, forever)),
		may("bytes", d.size(&into.Bytes, "lifetime bytes")),
		may("packets", number(d, &into.Packets, "lifetime packets", uint64(0), uint64(math.MaxUint64))),
	)
}

// window reads the anti-replay window: 0 disables (RFC 4303 §3.4.3 asks for at
// least 32, and 64 by preference).
func (d *decoder) window(n ast.Node, into *uint32) {
	v := *into
	number(d, &v, "replay_window", 0, mostWindow)(n)
	if v != 0 && v < leastWindow {
		d.refuse(n, "replay_window: %d is too small: 0 disables it, else %d to %d packets", v, leastWindow, mostWindow)
		return
	}
	*into = v
}

// families refuses a child of which no packet can exist: IPv4 here, IPv6 there.
func (d *decoder) families(n ast.Node, c session.Child) {
	if !common(c.Local, c.Remote) {
		d.refuse(n, "child %q: local and remote have no address family in common", c.Name)
	}
}

func common(local, remote []sadb.Selector) bool {
	has := func(list []sadb.Selector, four bool) bool {
		return slices.ContainsFunc(list, func(s sadb.Selector) bool { return s.First.Is4() == four })
	}
	return has(local, true) && has(remote, true) || has(local, false) && has(remote, false)
}

func (d *decoder) selectors(n ast.Node, what string) []sadb.Selector {
	var all []sadb.Selector
	d.list(n, what, func(n ast.Node) {
		s, ok := d.selector(n, what)
		if !ok {
			return
		}
		if slices.Contains(all, s) {
			d.refuse(n, "%s names %s twice", what, s)
			return
		}
		all = append(all, s)
	})
	return all
}
