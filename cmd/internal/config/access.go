package config

import (
	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// mostAccess selectors and lines make an access list that one message to the data
// path has room for.
const mostAccess = 500

// access reads what may enter and leave besides what the selectors say (N4).
func (d *decoder) access(n ast.Node, c *session.Child) {
	d.object(n, "access",
		may("in", func(n ast.Node) { c.AccessIn = d.accessList(n, "access in") }),
		may("out", func(n ast.Node) { c.AccessOut = d.accessList(n, "access out") }),
	)
}

func (d *decoder) accessList(n ast.Node, what string) (list sadb.AccessList) {
	size := 0
	d.list(n, what, func(n ast.Node) {
		var r sadb.AccessRule
		before := len(d.problems)
		d.object(n, "a line of "+what,
			must("action", chooseInto(d, &r.Permit, "action", choice[bool]{"permit", true, false}, choice[bool]{"deny", false, false})),
			may("local", func(n ast.Node) { r.Local = d.selectors(n, what+" local") }),
			may("remote", func(n ast.Node) { r.Remote = d.selectors(n, what+" remote") }),
		)
		if len(d.problems) == before && len(r.Local) > 0 && len(r.Remote) > 0 && !common(r.Local, r.Remote) {
			d.refuse(n, "%s: local and remote of this line have no address family in common", what)
		}
		size += 1 + len(r.Local) + len(r.Remote)
		list = append(list, r)
	})
	if size > mostAccess {
		d.refuse(n, "%s has %d lines and selectors: more than %d are not possible", what, size, mostAccess)
	}
	return list
}
