package config

import (
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

func (d *decoder) mode(n ast.Node, aggressive *bool) {
	chooseInto(d, aggressive, "mode", choice[bool]{"main", false, false}, choice[bool]{"aggressive", true, false})(n)
}

// version1 settles what a connection may say only in IKEv1, and what not there.
func (d *decoder) version1(n, modes ast.Node, c *session.Connection, local, remote session.Auth) {
	if c.Version != 1 {
		if modes != nil {
			d.refuse(modes, "mode is of IKEv1: add version: 1, or leave it out")
		}
		return
	}
	if slices.Equal(c.IKE, defaultIKE()) {
		c.IKE = all(v1Defaults[:], suite.ParseIKE)
	}
	for _, p := range c.IKE {
		if !p.V1Usable() {
			d.refuse(n, "ike: %v cannot be had in IKEv1: it takes an encryption without integrity of its own, a hash for all, and a group, like %s", p, v1Defaults[0])
		}
	}
	c.V1.Certs = local == session.AuthCert
	if local != remote {
		d.refuse(n, "version 1 authenticates both sides in one way: give local and remote the same auth")
	}
	if c.V1.Aggressive && !c.V1.Certs && !slices.Contains(d.weak, aggressivePSK) {
		d.refuse(modes, "mode: aggressive with a pre-shared key lets whoever asks try keys offline: write main, or add allow_weak: [%s]", aggressivePSK)
	}
}
