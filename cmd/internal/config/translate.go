package config

import (
	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// virtualIP is what a client asks of its peer, and what it does with that.
func (d *decoder) virtualIP(n ast.Node, c *session.Connection) {
	const (
		none = iota
		request
		translate
	)
	want := none
	chooseInto(d, &want, "virtual_ip", choice[int]{"none", none, false}, choice[int]{"request", request, false}, choice[int]{"translate", translate, false})(n)
	c.VirtualIP, c.Translate = want >= request, want == translate
}

// translated refuses what cannot hide behind an assigned address.
func (d *decoder) translated(c *session.Connection, children []placed[session.Child]) {
	for _, child := range children {
		if !c.Hides(&child.value) {
			continue
		}
		if child.value.Mode == sadb.Transport {
			d.problem(child.at, "child %q: hosts hide behind the assigned address in tunnel mode only: write mode: tunnel", child.value.Name)
		}
		for _, s := range append(child.value.Local, child.value.Remote...) {
			if !s.First.Is4() {
				d.problem(child.at, "child %q: only IPv4 hides behind the assigned address: leave %v out", child.value.Name, s)
			}
		}
	}
}
