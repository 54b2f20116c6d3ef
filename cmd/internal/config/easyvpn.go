package config

import (
	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
)

// easyVPN are the keys of an Easy VPN client, which settle most of its connection.
type easyVPN struct {
	manual bool
	group  string
	key    session.Secret
}

func (d *decoder) easyFields(n ast.Node, c *session.Connection) (e easyVPN) {
	into := &c.V1
	c.Translate, into.EasyVPN = true, true
	d.object(n, "easyvpn",
		may("connect", chooseInto(d, &e.manual, "easyvpn connect", choice[bool]{"auto", false, false}, choice[bool]{"manual", true, false})),
		must("group", func(n ast.Node) { e.group = d.word(n, "easyvpn group") }),
		must("key", func(n ast.Node) { e.key = d.secret(n, "key", "key") }),
		must("user", func(n ast.Node) { into.User = d.word(n, "easyvpn user") }),
		must("password", func(n ast.Node) { into.Password = d.secret(n, "password", "password") }),
		may("mode", chooseInto(d, &c.Translate, "easyvpn mode", choice[bool]{"client", true, false}, choice[bool]{"network-extension", false, false})),
	)
	into.Extend = !c.Translate
	return e
}

// easyVPN makes of the few keys of an Easy VPN client the connection that they
// mean: the group's key in aggressive mode with the group for identity, a user's
// password, and everything else from the server (E).
func (d *decoder) easyVPN(c *session.Connection, v *ikev1, a *credentials, starts ast.Node, local, remote *peer) {
	if v.vpn == nil {
		return
	}
	if v.version != nil && c.Version != 1 {
		d.refuse(v.version, "version: easyvpn is of IKEv1: write 1, or leave it out")
	}
	if v.mode != nil && !c.V1.Aggressive {
		d.refuse(v.mode, "mode: easyvpn is aggressive mode: leave it out")
	}
	for _, k := range []struct {
		at  ast.Node
		key string
	}{{a.psk, "psk"}, {a.users, "users"}, {v.xauth, "xauth"}, {starts, "start"}, {a.cert, "cert"}, {a.key, "key"}, {a.ca, "ca"}} {
		if k.at != nil {
			d.refuse(k.at, "%s is settled by easyvpn: leave it out", k.key)
		}
	}
	if local.named || local.Auth != session.AuthPSK || remote.Auth != session.AuthPSK {
		d.refuse(v.vpn, "easyvpn settles local.id and auth: leave them out")
	}
	if remote.any {
		d.refuse(v.vpn, "easyvpn needs the servers: write their addresses or names into remote.addresses")
		remote.any = false
	}
	c.Version, c.V1.Aggressive, c.VirtualIP, c.PSK, c.Pool = 1, true, true, v.easy.key, nil
	c.Start = session.StartNow
	if v.easy.manual {
		c.Start = session.StartNever
	}
	a.psk, v.xauth = v.vpn, v.vpn
	local.Auth, local.ID = session.AuthXAuth, session.Identity{Type: session.IDKeyID, Data: []byte(v.easy.group)}
	if !remote.named {
		remote.ID, remote.anyID = session.Identity{}, true // whoever knows the group's key
	}
}
