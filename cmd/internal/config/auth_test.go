package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"spindle/cmd/internal/config"
	"spindle/ike/session"
	"spindle/tools/pki"
)

const certified = `outside: [eth1]
connections:
  - name: r8
    local: {address: 192.0.2.1, auth: cert}
    remote: {addresses: [192.0.2.2], id: "C=CH, O=Spindle, CN=r8", auth: cert}
    cert: {file: r6.pem}
    key: {file: r6.key}
    ca: [{file: ca.pem}]
    revocation: {crl: [ca.crl, certificate], when_unreachable: accept}
    reauth: 3h
    ppk: {id: quantum, secret: {value: many bits}}
    children:
      - {name: lan, local: [10.6.6.0/24], remote: [10.8.8.0/24]}
`

// papers are the files that certified names, as arguments of write.
func papers(t *testing.T) []string {
	t.Helper()
	must := func(data []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	ca, err := pki.NewCA("Root", pki.P256)
	if err != nil {
		t.Fatal(err)
	}
	r6, err := ca.Issue(pki.Leaf{Name: "r6", Names: []string{"r6.example.net"}, Kind: pki.RSA})
	if err != nil {
		t.Fatal(err)
	}
	return []string{"r6.pem", string(pki.PEM(r6.Cert)), "ca.pem", string(pki.PEM(ca.Cert)), "r6.key", must(r6.KeyPEM()), "ca.crl", must(ca.CRL(r6.Cert.NotBefore))}
}

// TestCertificates: who we are is taken from the certificate; the same file read
// again is the same connection, or a reload would take its tunnels down; and no
// verb prints the key.
func TestCertificates(t *testing.T) {
	path := write(t, append([]string{"f.yaml", certified}, papers(t)...)...)
	first, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	c := first.Connections[0]
	if got := c.Local.ID.String(); got != "C=CH, O=Spindle, CN=r6" {
		t.Errorf("local id %s", got)
	}
	if r := c.Trust.Revocation; len(r.CRLs) != 1 || !r.CRLFromCert || !r.AcceptUnknown || c.Remote.Auth != session.AuthCert {
		t.Errorf("trust: %+v", r)
	}
	data, err := first.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []func() (*config.Config, error){func() (*config.Config, error) { return config.Load(path) },
		func() (*config.Config, error) { return config.Decode(data) }} {
		second, err := again()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(first.Connections, second.Connections) {
			t.Error("the same file gives another connection")
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, *c.Credential); !strings.Contains(text, "secret") || strings.Contains(text, "Primes") {
			t.Errorf("%s prints the key", verb)
		}
	}
}

func TestCertificateRefusals(t *testing.T) {
	files := papers(t)
	for _, c := range []struct{ name, old, new, want string }{
		{"identity of somebody else", "192.0.2.1, auth", "192.0.2.1, id: r7.example.net, auth",
			`cert: local id r7.example.net is not in the certificate, which names C=CH, O=Spindle, CN=r6; r6.example.net`},
		{"key of another certificate", "cert: {file: r6.pem}", "cert: {file: ca.pem}",
			"key: the private key is not that of the certificate of C=CH, O=Spindle, CN=Root"},
		{"certificate for a key", "key: {file: r6.key}", "key: {file: r6.pem}",
			"key: parse private key: neither PEM nor DER of an RSA, ECDSA or Ed25519 key"},
		{"no such file", "ca.pem", "cb.pem", "cb.pem does not exist"},
		{"not a CRL", "crl: [ca.crl", "crl: [ca.pem", "revocation crl file ca.pem: neither PEM nor DER of a CRL"},
		{"unknown attribute", "C=CH, O=", "X=CH, O=", "is no identity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Load(write(t, append([]string{"f.yaml", strings.Replace(certified, c.old, c.new, 1)}, files...)...))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
