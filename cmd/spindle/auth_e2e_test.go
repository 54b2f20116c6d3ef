package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
	"spindle/tools/pki"
)

// paper is a CA and what it certified for both gateways, as files of R6.
type paper struct {
	t      *testing.T
	ca     *pki.CA
	r6, r8 pki.Pair
	dir    string
}

func newPaper(t *testing.T, kind pki.Kind, leaf func(r8 *pki.Leaf)) *paper {
	t.Helper()
	p := &paper{t: t, dir: t.TempDir()}
	var err error
	p.ca, err = pki.NewCA("Root", kind)
	check(t, err)
	p.r6, err = p.ca.Issue(pki.Leaf{Name: "r6", Names: []string{"r6.example.net"}, Kind: kind})
	check(t, err)
	r8 := pki.Leaf{Name: "r8", Names: []string{"r8.example.net", "r8@example.net", "192.0.2.8"}, Kind: kind}
	if leaf != nil {
		leaf(&r8)
	}
	p.r8, err = p.ca.Issue(r8)
	check(t, err)
	p.file("r6.pem", pki.PEM(p.r6.Cert))
	p.file("ca.pem", pki.PEM(p.ca.Cert))
	p.file("r6.key", p.key(p.r6))
	return p
}

func (p *paper) key(pair pki.Pair) []byte {
	data, err := pair.KeyPEM()
	check(p.t, err)
	return data
}

// file writes a file and returns its path.
func (p *paper) file(name string, data []byte) string {
	path := filepath.Join(p.dir, name)
	check(p.t, os.WriteFile(path, data, 0o600))
	return path
}

// ours is how R6 authenticates, and whom it believes.
func (p *paper) ours(remoteID string, more ...string) []string {
	return append([]string{
		`local: {address: 192.0.2.6, id: r6.example.net, auth: cert}`,
		fmt.Sprintf(`remote: {addresses: [192.0.2.8], id: %q, auth: cert}`, remoteID),
		fmt.Sprintf(`cert: {file: %q}`, filepath.Join(p.dir, "r6.pem")),
		fmt.Sprintf(`key: {file: %q}`, filepath.Join(p.dir, "r6.key")),
		fmt.Sprintf(`ca: [{file: %q}]`, filepath.Join(p.dir, "ca.pem")),
	}, more...)
}

// theirs is the same for strongSwan as R8.
func (p *paper) theirs(r8 *netlab.StrongSwanConfig, id string) {
	r8.LocalAuth = []string{"auth = pubkey", "certs = r8.pem", "id = " + id}
	r8.RemoteAuth = []string{"auth = pubkey", "id = r6.example.net"}
	r8.Files = map[string][]byte{
		"x509/r8.pem": pki.PEM(p.r8.Cert), "private/r8.pem": p.key(p.r8), "x509ca/ca.pem": pki.PEM(p.ca.Cert),
	}
}

// TestCertificatesWithStrongSwan: each kind of key in each role, and each form of
// an identity.
func TestCertificatesWithStrongSwan(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   pki.Kind
		id     string
		ours   []string // more keys of our connection
		daemon []string
	}{
		{name: "RSA", kind: pki.RSA, id: "r8.example.net"},
		{name: "RSA-PSS", kind: pki.RSA, id: "r8@example.net", ours: []string{"rsa_pss: true"}, daemon: []string{"rsa_pss = yes"}},
		{name: "ECDSA", kind: pki.P256, id: "C=CH, O=Spindle, CN=r8"},
		{name: "ECDSA classic", kind: pki.P384, id: "r8.example.net", daemon: []string{"signature_authentication = no"}},
		{name: "Ed25519", kind: pki.Ed25519, id: "192.0.2.8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPaper(t, c.kind, nil)
			b := newBed(t, "cert", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				r6.Auth = p.ours(c.id, c.ours...)
				p.theirs(r8, c.id)
				r8.ExtraLines = c.daemon
			})
			b.up()
			check(t, b.swan.Terminate(t.Context()))
			_, err := b.swan.Initiate(t.Context())
			check(t, err)
			b.ping(b.A, b.A4, b.B4, 5)
			sas, err := b.swan.ListSAs(t.Context())
			check(t, err)
			if len(sas) != 1 || !sas[0].Initiator || sas[0].State != "ESTABLISHED" {
				t.Errorf("strongSwan holds %+v", sas)
			}
			if log := b.r6.Log(); !strings.Contains(log, c.id) {
				t.Errorf("no word of %s in the log:\n%s", c.id, log)
			}
		})
	}
}
