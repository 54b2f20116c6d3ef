package v2_test

import (
	"crypto/x509"
	"net/url"
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
	last := midnight.Add(-24 * time.Hour)
	for name, c := range map[string]struct {
		ca   string
		leaf pki.Leaf
	}{
		"r6":      {"root", pki.Leaf{Name: "r6", Names: []string{"r6.example.net"}}},
		"r8":      {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, Kind: pki.Ed25519}},
		"r8sub":   {"sub", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}}},
		"r8other": {"other", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}}},
		"r8old":   {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, NotAfter: last}},
		"r8early": {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, NotBefore: midnight.Add(time.Hour)}},
		"r8crl":   {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, CRL: []string{"http://crl.example/root.crl"}}},
		"r8ocsp":  {"root", pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, OCSP: []string{"http://ocsp.example"}}},
	} {
		ca := all.authorities[c.ca]
		if c.leaf.NotBefore.IsZero() && !c.leaf.NotAfter.IsZero() {
			c.leaf.NotBefore = midnight.AddDate(0, -1, 0)
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
func authenticate(t testing.TB, c *session.Connection, words map[string]string) {
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

// fetch answers at once, with what there is.
func (w *world) fetch(g *gateway, o session.Fetch) {
	u, err := url.Parse(o.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	answer := session.Fetched{URL: o.URL, Err: "unreachable"}
	if data, ok := w.web[u.Host]; ok {
		answer = session.Fetched{URL: o.URL, Data: data}
	}
	w.say(g, "fetch from %s", u.Host)
	w.flight = append(w.flight, datagram{at: w.now.Add(latency), to: g.name, answer: &answer})
}

// publish puts a CRL or an OCSP answer on the web: what=crl or ocsp, revoked=NAME or none.
func (w *world) publish(words map[string]string) {
	all, err := vouched()
	if err != nil {
		w.t.Fatal(err)
	}
	if w.web == nil {
		w.web = map[string][]byte{}
	}
	root := all.authorities["root"]
	at := w.now.Add(-time.Hour)
	switch words["what"] {
	case "crl":
		var gone []*x509.Certificate
		if name := words["revoked"]; name != "" {
			gone = append(gone, all.pairs[name].Chain[0])
		}
		w.web["crl.example"], err = root.CRL(at, gone...)
	case "ocsp":
		w.web["ocsp.example"], err = root.OCSP(at, all.pairs[words["cert"]].Chain[0], words["revoked"] == "yes")
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
