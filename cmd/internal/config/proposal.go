package config

import (
	"slices"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/suite"
)

// What a connection offers and accepts when its file does not say: first with an
// additional key exchange that a quantum computer does not break (RFC 9370), then
// without, for peers that know no such thing.
var (
	ikeDefaults = [...]string{
		"aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024",
		"aes256gcm16-prfsha384-ecp384", "aes128gcm16-prfsha256-x25519",
	}
	espDefaults = [...]string{"aes256gcm16", "aes128gcm16"}
)

func defaultIKE() []suite.Proposal { return all(ikeDefaults[:], suite.ParseIKE) }
func defaultESP() []suite.Proposal { return all(espDefaults[:], suite.ParseESP) }

// all parses names that are known to be right; a test holds them to it.
func all(names []string, parse func(string) (suite.Proposal, error)) []suite.Proposal {
	var list []suite.Proposal
	for _, s := range names {
		if p, err := parse(s); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// proposals reads a list of strongSwan's proposal keywords, in order of preference.
func proposals(d *decoder, into *[]suite.Proposal, what string, parse func(string) (suite.Proposal, error)) func(ast.Node) {
	return func(n ast.Node) {
		*into = nil
		d.list(n, what, func(n ast.Node) {
			s, ok := d.text(n, "a proposal in "+what)
			if !ok {
				return
			}
			p, err := parse(s)
			switch {
			case err != nil:
				d.refuse(n, "%v", err)
			case slices.Contains(*into, p):
				d.refuse(n, "%s names %s twice", what, p)
			default:
				*into = append(*into, p)
			}
		})
	}
}
