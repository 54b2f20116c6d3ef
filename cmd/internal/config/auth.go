package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
)

// credentials are the keys of a connection that say who is who, as they stand in
// the file.
type credentials struct {
	psk, cert, key, ca, users, revocation ast.Node

	chain    []*x509.Certificate
	private  session.PrivateKey
	trust    session.Trust
	userList *session.Users
	pss      bool
}

// authFields are the keys of a connection about authentication.
func (d *decoder) authFields(c *session.Connection, a *credentials) []field {
	return []field{
		may("psk", func(n ast.Node) { a.psk = n; c.PSK = d.psk(n) }),
		may("cert", func(n ast.Node) { a.cert = n; a.chain = d.certificates(n, "cert") }),
		may("key", func(n ast.Node) { a.key = n; a.private = d.privateKey(n) }),
		may("rsa_pss", d.boolean(&a.pss, "rsa_pss")),
		may("ca", func(n ast.Node) { a.ca = n; a.trust.Authorities = d.authorities(n) }),
		may("revocation", func(n ast.Node) { a.revocation = n; d.revocation(n, &a.trust.Revocation) }),
		may("users", func(n ast.Node) { a.users = n; a.userList = d.users(n) }),
		may("ppk", func(n ast.Node) { d.ppk(n, &c.PPK) }),
		may("reauth", d.duration(&c.Reauth, "reauth", 10*time.Second, forever)),
	}
}

func (d *decoder) auth(into *session.Auth, words ...choice[session.Auth]) func(ast.Node) {
	words = append([]choice[session.Auth]{{"psk", session.AuthPSK, false}, {"cert", session.AuthCert, false}}, words...)
	return chooseInto(d, into, "auth", append(words, choice[session.Auth]{"xauth", session.AuthXAuth, false})...)
}

// authenticate joins what both sides of a connection need, once each key alone
// is right, and says what is missing or of no use.
func (d *decoder) authenticate(n ast.Node, c *session.Connection, a *credentials, local, remote *peer) {
	certs := remote.Auth == session.AuthCert
	eap := remote.Auth == session.AuthEAP
	mine := local.Auth == session.AuthCert
	client, server := local.Auth == session.AuthXAuth, remote.Auth == session.AuthXAuth
	shows := mine || client && certs // a certificate, which a client may also do without
	need := func(missing bool, key, why string) {
		if missing {
			d.refuse(n, "the connection lacks the key %q: %s", key, why)
		}
	}
	useless := func(at ast.Node, useful bool, key, why string) {
		if at != nil && !useful {
			d.refuse(at, "%s is of no use: %s", key, why)
		}
	}
	psk := local.Auth == session.AuthPSK || remote.Auth == session.AuthPSK
	need(psk && a.psk == nil, "psk", "one side has auth: psk")
	useless(a.psk, psk, "psk", "neither side has auth: psk")
	need(mine && a.cert == nil, "cert", "local has auth: cert")
	need(mine && a.key == nil, "key", "local has auth: cert")
	need(a.key != nil && a.cert == nil && !mine, "cert", "there is a key")
	need(a.cert != nil && a.key == nil && !mine, "key", "there is a cert")
	useless(a.cert, shows, "cert", "local does not have auth: cert")
	useless(a.key, shows, "key", "local does not have auth: cert")
	need(certs && a.ca == nil, "ca", "remote has auth: cert; a certificate without a CA to vouch for it proves nothing")
	useless(a.ca, certs || eap || server && mine, "ca", "remote has neither auth: cert nor auth: eap")
	useless(a.revocation, a.ca != nil, "revocation", "there is no ca")
	useless(a.users, eap || server, "users", "remote has neither auth: eap nor auth: xauth")
	need(server && a.users == nil, "users", "remote has auth: xauth")
	need(eap && a.users == nil && a.ca == nil, "users", "remote has auth: eap, which needs users (for EAP-MSCHAPv2) or ca (for EAP-TLS)")
	if eap && !mine {
		d.refuse(n, "remote auth: eap needs local auth: cert: a client must be able to tell the gateway from an impostor before it shows a password")
	}
	if a.ca != nil {
		c.Trust = &a.trust
	}
	c.Users = a.userList
	if len(a.chain) > 0 && a.private.Signer != nil {
		d.credential(c, a, local)
	}
}

// credential joins certificate and key, and finds out as whom we may speak.
func (d *decoder) credential(c *session.Connection, a *credentials, local *peer) {
	var err error
	if c.Credential, err = session.NewCredential(a.chain, a.private); err != nil {
		d.refuse(a.key, "key: %v", err)
		return
	}
	c.Credential.PSS = a.pss
	leaf := a.chain[0]
	if time.Now().After(leaf.NotAfter) {
		d.warn(a.cert, "cert: the certificate of %s expired since %s", session.Subject(leaf), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	names := session.Names(leaf)
	if len(names) == 0 {
		d.refuse(a.cert, "cert: the certificate names nobody: it needs a subject or an alternative name")
		return
	}
	for _, name := range names {
		if name.Equal(local.ID) {
			local.ID = name // a distinguished name with the octets of the certificate
			return
		}
	}
	switch {
	case local.ID.IsZero() || !local.named:
		local.ID = names[0]
	case !session.Proves(leaf, local.ID):
		d.refuse(a.cert, "cert: local id %v is not in the certificate, which names %s", local.ID, listNames(names))
	}
}

func listNames(names []session.Identity) string {
	var words []string
	for _, n := range names {
		words = append(words, n.String())
	}
	return strings.Join(words, "; ")
}

// content reads {file: PATH}, which what names in messages. It gives nil after
// saying what is wrong.
func (d *decoder) content(n ast.Node, what string) (data []byte, at ast.Node) {
	d.object(n, what, must("file", func(n ast.Node) {
		at = n
		if path, ok := d.text(n, what+" file"); ok {
			data = d.named(n, what, path, false)
		}
	}))
	return data, at
}

// named reads a file that the configuration names.
func (d *decoder) named(n ast.Node, what, path string, private bool) []byte {
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.dir, path)
	}
	s, err := d.read(path)
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.refuse(n, "%s file %s does not exist", what, path)
	case err != nil:
		d.refuse(n, "%s file %s: %v", what, path, err)
	case len(s.data) > maxNamed:
		d.refuse(n, "%s file %s is longer than %d bytes: is it the right file?", what, path, maxNamed)
	case len(bytes.TrimSpace(s.data)) == 0:
		d.refuse(n, "%s file %s is empty", what, path)
	default:
		if private && s.open {
			d.warn(n, "%s file %s is readable by everybody: chmod 600 it", what, path)
		}
		return s.data
	}
	return nil
}

func (d *decoder) certificates(n ast.Node, what string) []*x509.Certificate {
	data, at := d.content(n, what)
	if data == nil {
		return nil
	}
	list, err := session.ParseCertificates(data)
	if err != nil {
		d.refuse(at, "%s: %v", what, err)
	}
	return list
}

func (d *decoder) authorities(n ast.Node) (all []*x509.Certificate) {
	d.list(n, "ca", func(n ast.Node) { all = append(all, d.certificates(n, "ca")...) })
	return all
}

func (d *decoder) privateKey(n ast.Node) (key session.PrivateKey) {
	d.object(n, "key", must("file", func(n ast.Node) {
		path, ok := d.text(n, "key file")
		if !ok {
			return
		}
		data := d.named(n, "key", path, true)
		if data == nil {
			return
		}
		var err error
		if key, err = session.ParsePrivateKey(data); err != nil {
			d.refuse(n, "key: %v", err)
		}
	}))
	return key
}

func (d *decoder) users(n ast.Node) (users *session.Users) {
	d.object(n, "users", must("file", func(n ast.Node) {
		path, ok := d.text(n, "users file")
		if !ok {
			return
		}
		data := d.named(n, "users", path, true)
		if data == nil {
			return
		}
		var err error
		if users, err = session.ParseUsers(data); err != nil {
			d.refuse(n, "users file %s: %v", path, err)
		}
	}))
	return users
}

// revocation reads where certificates are looked up, and what holds when that
// cannot be done: without a word about it, the peer is refused.
func (d *decoder) revocation(n ast.Node, into *session.Revocation) {
	before := len(d.problems)
	d.object(n, "revocation",
		may("crl", func(n ast.Node) { d.list(n, "revocation crl", func(n ast.Node) { d.crl(n, into) }) }),
		may("ocsp", func(n ast.Node) { d.ocsp(n, into) }),
		may("when_unreachable", chooseInto(d, &into.AcceptUnknown, "revocation when_unreachable",
			choice[bool]{"refuse", false, false}, choice[bool]{"accept", true, false})),
	)
	if r := into; len(d.problems) == before && len(r.CRLs)+len(r.CRLURLs) == 0 && !r.CRLFromCert && r.OCSPURL == "" && !r.OCSPFromCert {
		d.refuse(n, "revocation needs crl or ocsp")
	}
}

// crl reads one place to look: a file, a URL, or the word for those that a
// certificate names.
func (d *decoder) crl(n ast.Node, into *session.Revocation) {
	s, ok := d.text(n, "an entry in revocation crl")
	switch {
	case !ok:
	case s == "certificate":
		into.CRLFromCert = true
	case strings.Contains(s, "://"):
		if d.plainURL(n, "revocation crl", s) {
			into.CRLURLs = append(into.CRLURLs, s)
		}
	default:
		data := d.named(n, "revocation crl", s, false)
		if data == nil {
			return
		}
		list, err := session.ParseCRL(data)
		if err != nil {
			d.refuse(n, "revocation crl file %s: %v", s, err)
			return
		}
		into.CRLs = append(into.CRLs, list)
	}
}

func (d *decoder) ocsp(n ast.Node, into *session.Revocation) {
	s, ok := d.text(n, "revocation ocsp")
	switch {
	case !ok:
	case s == "certificate":
		into.OCSPFromCert = true
	case d.plainURL(n, "revocation ocsp", s):
		into.OCSPURL = s
	}
}

// plainURL wants HTTP: the answers are signed, and a TLS certificate would have
// to be checked for revocation in its turn (RFC 5280 §8).
func (d *decoder) plainURL(n ast.Node, what, s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		d.refuse(n, "%s: %q: write an http:// URL, or certificate for those that the certificate names", what, s)
		return false
	}
	return true
}

// ppk reads a postquantum preshared key (RFC 8784): its identity and the key in
// the same forms as a psk.
func (d *decoder) ppk(n ast.Node, into *session.PPK) {
	d.object(n, "ppk",
		must("id", func(n ast.Node) { into.ID, _ = d.text(n, "ppk id") }),
		must("secret", func(n ast.Node) { into.Key = d.psk(n) }),
		may("required", d.boolean(&into.Required, "ppk required")),
	)
}
