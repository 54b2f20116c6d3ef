package ladder

import (
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/tools/pki"
)

// certs are the authorities and certificates that ladders speak of.
type certs struct {
	authorities map[string]*pki.CA
	pairs       map[string]*session.Credential
}

// vouched makes them once. Their octets differ from run to run, their words do not.
var vouched = sync.OnceValues(func() (*certs, error) {
	all := &certs{authorities: map[string]*pki.CA{}, pairs: map[string]*session.Credential{}}
	for _, name := range []string{"root", "other"} {
		ca, err := pki.NewCA(name, pki.P256)
		if err != nil {
			return nil, err
		}
		all.authorities[name] = ca
	}
	sub, err := all.authorities["root"].Intermediate("sub", pki.P256)
	if err != nil {
		return nil, err
	}
	all.authorities["sub"] = sub
	last := Midnight.Add(-24 * time.Hour)
	for name, c := range map[string]struct {
		ca   string
		leaf pki.Leaf
	}{
		"r6":      {"root", pki.Leaf{Name: "r6", Names: []string{"r6.example.net"}}},
		"r8":      {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, Kind: pki.Ed25519}},
		"r8sub":   {"sub", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}}},
		"r8other": {"other", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}}},
		"r8old":   {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, NotAfter: last}},
		"r8early": {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, NotBefore: Midnight.Add(time.Hour)}},
		"r8crl":   {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, CRL: []string{"http://crl.example/root.crl"}}},
		"r8ocsp":  {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, OCSP: []string{"http://ocsp.example"}}},
	} {
		ca := all.authorities[c.ca]
		if c.leaf.NotBefore.IsZero() && !c.leaf.NotAfter.IsZero() {
			c.leaf.NotBefore = Midnight.AddDate(0, -1, 0)
		}
		pair, err := ca.Issue(c.leaf)
		if err != nil {
			return nil, err
		}
		chain := append([]*x509.Certificate{pair.Cert}, intermediates(c.ca, ca)...)
		if all.pairs[name], err = session.NewCredential(chain, session.PrivateKey{Signer: pair.Key}); err != nil {
			return nil, err
		}
	}
	return all, nil
})

func intermediates(name string, ca *pki.CA) []*x509.Certificate {
	if name != "sub" {
		return nil
	}
	return []*x509.Certificate{ca.Cert}
}

// authenticate reads the words of a connection about authentication: cert=NAME is
// ours, ca=NAME whom we believe, and both together make it auth: cert.
func authenticate(t testing.TB, c *session.Connection, words Words) {
	all, err := vouched()
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := words["cert"]; ok {
		c.Local.Auth, c.Credential = session.AuthCert, all.pairs[name]
		if c.Credential == nil {
			t.Fatalf("no certificate %s", name)
		}
		if c.Local.ID.Type == session.IDDN {
			c.Local.ID.Data = c.Credential.Chain[0].RawSubject
		}
	}
	if name, ok := words["ca"]; ok {
		c.Remote.Auth = session.AuthCert
		c.Trust = &session.Trust{Authorities: []*x509.Certificate{all.authorities[name].Cert}}
		switch words["revocation"] {
		case "crl":
			c.Trust.Revocation.CRLFromCert = true
		case "ocsp":
			c.Trust.Revocation.OCSPFromCert = true
		}
		c.Trust.Revocation.AcceptUnknown = words["unreachable"] == "accept"
	}
	if ppk, ok := words["ppk"]; ok {
		id, key, _ := strings.Cut(ppk, ":")
		c.PPK = session.PPK{ID: id, Key: session.Secret(key), Required: words["ppkrequired"] == "yes"}
	}
	c.Reauth, _ = time.ParseDuration(words["reauth"])
}
