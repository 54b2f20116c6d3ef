package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
)

// xauth reads with what name and password a client of XAUTH answers.
func (d *decoder) xauth(n ast.Node, into *session.V1) {
	d.object(n, "xauth",
		must("user", func(n ast.Node) { into.User = d.word(n, "xauth user") }),
		must("password", func(n ast.Node) { into.Password = d.secret(n, "password", "password") }),
	)
}

// word reads a text that may not be empty, as long as an identity may be.
func (d *decoder) word(n ast.Node, what string) string {
	s, ok := d.text(n, what)
	if ok && (s == "" || len(s) > 255) {
		d.refuse(n, "%s: write 1 to 255 bytes", what)
	}
	return s
}

// users1 settles who authenticates whom in phase 1: XAUTH asks for a user's
// password behind what the other side's auth proves. Without a certificate of the
// client that is hybrid authentication, where only the server signs.
func (d *decoder) users1(n, starts ast.Node, c *session.Connection, v *ikev1, local, remote peer) {
	client, server := local.Auth == session.AuthXAuth, remote.Auth == session.AuthXAuth
	certs := local.Auth == session.AuthCert || remote.Auth == session.AuthCert
	switch {
	case client && server:
		d.refuse(n, "auth: xauth on both sides: the side that asks for the password has psk or cert")
	case client:
		c.V1.Certs, c.V1.Hybrid = certs && c.Credential != nil, certs && c.Credential == nil
	case server:
		c.V1.XAuth = true
		c.V1.Certs, c.V1.Hybrid = certs && c.Trust != nil, certs && c.Trust == nil
	case remote.Auth == session.AuthEAP: // refused already
	case local.Auth != remote.Auth:
		d.refuse(n, "version 1 authenticates both sides in one way: give local and remote the same auth")
	default:
		c.V1.Certs = certs
	}
	d.xauthRoles(n, starts, c, v, client, server, remote.any)
}

// xauthRoles checks who may begin: XAUTH asks the side that does.
func (d *decoder) xauthRoles(n, starts ast.Node, c *session.Connection, v *ikev1, client, server, anywhere bool) {
	if client && c.V1.User == "" {
		d.refuse(n, "the connection lacks the key \"xauth\": local has auth: xauth")
	}
	if v.xauth != nil && !client {
		d.refuse(v.xauth, "xauth is of no use: local does not have auth: xauth")
	}
	if client && anywhere {
		d.refuse(n, "local auth: xauth with remote addresses: any: only the client of XAUTH begins, and it needs to know where")
	}
	if !server {
		return
	}
	if starts != nil && c.Start != session.StartNever {
		d.refuse(starts, "start: remote auth: xauth asks whoever begins for a password, so only the peer can: write never")
	}
	c.Start = session.StartNever
	if c.Users != nil {
		if names := c.Users.Hashed(); len(names) > 0 {
			d.refuse(n, "users: XAUTH needs the password itself, and that of %s is stored as nthash", strings.Join(names, ", "))
		}
	}
}
