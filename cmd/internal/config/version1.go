package config

import (
	"crypto/rsa"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/ike/suite"
)

// aggressivePSK permits what is weak about a mode and not about an algorithm:
// aggressive mode shows whoever asks a hash to try pre-shared keys on (O3).
const aggressivePSK = "aggressive-psk"

// v1Defaults are offered in IKEv1 when the file does not say: it knows no
// combined modes in phase 1.
var v1Defaults = [...]string{"aes256-sha384-ecp384", "aes128-sha256-modp2048"}

// v1AggressiveDefaults are of one group: the key exchange comes with the offer (RFC
// 2409 §5.4).
var v1AggressiveDefaults = [...]string{"aes256-sha256-modp2048", "aes128-sha256-modp2048"}

// permit notes what weak algorithms a connection allows, before its proposals
// are read, wherever in it that stands.
func (d *decoder) permit(n ast.Node) {
	d.weak = nil
	values, _ := mapping(n)
	for _, v := range values {
		list, ok := v.Value.(*ast.SequenceNode)
		if !ok || keyText(v.Key) != "allow_weak" {
			continue
		}
		for _, word := range list.Values {
			if s, ok := raw(word); ok {
				d.weak = append(d.weak, s)
			}
		}
	}
}

// allowWeak checks the words that permit noted.
func (d *decoder) allowWeak(n ast.Node) {
	d.list(n, "allow_weak", func(n ast.Node) {
		s, ok := d.text(n, "a word of allow_weak")
		if !ok || s == aggressivePSK {
			return
		}
		if err := (suite.AllowWeak{s}).Check(); err != nil {
			d.refuse(n, "%v, or %s", err, aggressivePSK)
		}
	})
}

// ikev1 are the keys of a connection that only IKEv1 has, as they stand in the file.
type ikev1 struct {
	version, mode, config, xauth, vpn ast.Node

	easy easyVPN
}

func (d *decoder) version1Fields(c *session.Connection, v *ikev1) []field {
	return []field{
		may("mode", func(n ast.Node) { v.mode = n; d.mode(n, &c.V1.Aggressive) }),
		may("mode_config", func(n ast.Node) {
			v.config = n
			chooseInto(d, &c.V1.Push, "mode_config", choice[bool]{"pull", false, false}, choice[bool]{"push", true, false})(n)
		}),
		may("xauth", func(n ast.Node) { v.xauth = n; d.xauth(n, &c.V1) }),
		may("easyvpn", func(n ast.Node) { v.vpn = n; v.easy = d.easyFields(n, c) }),
	}
}

func (d *decoder) mode(n ast.Node, aggressive *bool) {
	chooseInto(d, aggressive, "mode", choice[bool]{"main", false, false}, choice[bool]{"aggressive", true, false})(n)
}

// version1 settles what a connection may say only in IKEv1, and what not there.
func (d *decoder) version1(n, starts ast.Node, c *session.Connection, v *ikev1, local, remote peer) {
	if c.Version != 1 {
		d.onlyVersion1(n, v, local.Auth, remote.Auth)
		return
	}
	d.onlyVersion2(n, c, remote.Auth)
	if slices.Equal(c.IKE, defaultIKE()) {
		c.IKE = all(v1Defaults[:], suite.ParseIKE)
		if c.V1.Aggressive {
			c.IKE = all(v1AggressiveDefaults[:], suite.ParseIKE)
		}
	}
	for _, p := range c.IKE {
		if !p.V1Usable() {
			d.refuse(n, "ike: %v cannot be had in IKEv1: it takes an encryption without integrity of its own, a hash for all, and a group, like %s", p, v1Defaults[0])
		}
	}
	d.users1(n, starts, c, v, local, remote)
	if c.Credential != nil && !rsaKey(c.Credential) {
		d.refuse(n, "key: version 1 signs with RSA only, the key is %s", session.KeyKind(c.Credential.Key.Public()))
	}
	c.V1.Config = c.VirtualIP
	if v.config != nil && c.Pool == nil && !c.VirtualIP {
		d.refuse(v.config, "mode_config is of no use: there is neither pool nor virtual_ip: request")
	}
	if c.Pool != nil && !slices.ContainsFunc(c.Pool.Ranges, func(r session.AddressRange) bool { return r.First.Is4() }) {
		d.refuse(n, "pool: mode config gives IPv4 addresses only, and there is none in pool.addresses")
	}
	if c.V1.Aggressive && !c.V1.Certs && !c.V1.Hybrid && !slices.Contains(d.weak, aggressivePSK) {
		d.aggressive(n, v)
	}
}

func rsaKey(c *session.Credential) bool {
	_, ok := c.Key.Public().(*rsa.PublicKey)
	return ok
}

// aggressive refuses the mode with a pre-shared key that nothing allows.
func (d *decoder) aggressive(n ast.Node, v *ikev1) {
	switch {
	case v.vpn != nil:
		d.refuse(v.vpn, "easyvpn uses aggressive mode with the group's key: whoever asks can try keys offline, and whoever has the key can pose as the server and read the password: add allow_weak: [%s]", aggressivePSK)
	default:
		d.refuse(v.mode, "mode: aggressive with a pre-shared key lets whoever asks try keys offline: write main, or add allow_weak: [%s]", aggressivePSK)
	}
}

// onlyVersion1 refuses what IKEv2 does not have.
func (d *decoder) onlyVersion1(n ast.Node, v *ikev1, local, remote session.Auth) {
	for _, k := range []struct {
		at  ast.Node
		key string
	}{{v.mode, "mode"}, {v.config, "mode_config"}, {v.xauth, "xauth"}} {
		if k.at != nil {
			d.refuse(k.at, "%s is of IKEv1: add version: 1, or leave it out", k.key)
		}
	}
	if local == session.AuthXAuth || remote == session.AuthXAuth {
		d.refuse(n, "auth: xauth is of IKEv1: add version: 1, or write eap for the remote side")
	}
}

// onlyVersion2 refuses what IKEv1 does not have: it would be ignored.
func (d *decoder) onlyVersion2(n ast.Node, c *session.Connection, remote session.Auth) {
	for key, set := range map[string]bool{
		"auth: eap": remote == session.AuthEAP, "ppk": c.PPK.ID != "", "reauth": c.Reauth != 0, "childless": c.Childless,
		"redirect": c.Redirect.IsValid(), "mobike": c.MOBIKE, "rsa_pss": c.Credential != nil && c.Credential.PSS,
	} {
		if set {
			d.refuse(n, "%s is of IKEv2: version 1 has no such thing, leave it out", key)
		}
	}
}
