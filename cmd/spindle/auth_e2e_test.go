package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// refusal waits for the one line that R6 logs, which may come after the answer.
func (b *bed) refusal(mark int, words ...string) {
	b.t.Helper()
	check(b.t, b.r6.Await(b.t.Context(), patience, "log the refusal", func() bool {
		return strings.Contains(b.r6.Log()[mark:], "level=WARN")
	}))
	oneLine(b.t, b.r6, "r8", mark, words...)
}

// TestRefusedCertificates: what is wrong with a certificate is said in one line,
// and its peer learns no more than that it was refused.
func TestRefusedCertificates(t *testing.T) {
	yesterday := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
	stranger, err := pki.NewCA("Stranger", pki.P256)
	check(t, err)
	for _, c := range []struct {
		name string
		leaf func(*pki.Leaf)
		id   string // that strongSwan claims
		want string // identity that we expect
		more func(p *paper) []string
		ca   *pki.CA // whom we trust, if not who signed it
		say  string
	}{
		{name: "expired", leaf: func(l *pki.Leaf) { l.NotBefore, l.NotAfter = yesterday.Add(-time.Hour), yesterday },
			say: "certificate of C=CH, O=Spindle, CN=r8 expired since " + yesterday.Format(time.RFC3339)},
		{name: "unknown CA", ca: stranger,
			say: "unknown CA: the certificate of C=CH, O=Spindle, CN=r8 is issued by C=CH, O=Spindle, CN=Root, we trust C=CH, O=Spindle, CN=Stranger (configuration key: ca)"},
		{name: "identity not in the certificate", leaf: func(l *pki.Leaf) { l.Names = []string{"r9.example.net"} }, want: "any",
			say: "identity not in the certificate: peer says it is r8.example.net, its certificate names C=CH, O=Spindle, CN=r8; r9.example.net"},
		{name: "another identity", want: "r7.example.net",
			say: "peer says it is r8.example.net, we expect r7.example.net (configuration key: remote.id)"},
		{name: "revoked by a file", more: func(p *paper) []string {
			list, err := p.ca.CRL(yesterday, p.r8.Cert)
			check(t, err)
			return []string{fmt.Sprintf("revocation: {crl: [%q]}", p.file("ca.crl", list))}
		}, say: "certificate of C=CH, O=Spindle, CN=r8 was revoked on " + yesterday.Format(time.RFC3339) + " (CRL)"},
		{name: "CRL unreachable", more: func(*paper) []string {
			return []string{`revocation: {crl: ["http://127.0.0.1:1/ca.crl"]}`}
		}, say: "whether the certificate of C=CH, O=Spindle, CN=r8 was revoked is unknown: http://127.0.0.1:1/ca.crl: unreachable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPaper(t, pki.P256, c.leaf)
			b := newBed(t, "badcert", netlab.Options{})
			b.strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				p.theirs(r8, "r8.example.net")
				if c.ca != nil {
					p.file("ca.pem", pki.PEM(c.ca.Cert))
				}
				want := c.want
				if want == "" {
					want = "r8.example.net"
				}
				r6.Auth = p.ours(want)
				if c.more != nil {
					r6.Auth = append(r6.Auth, c.more(p)...)
				}
			})
			mark := len(b.r6.Log())
			if out, err := b.swan.Initiate(t.Context()); err == nil {
				t.Errorf("strongSwan was let in:\n%s", out)
			}
			b.refusal(mark, c.say)
			if log := b.swan.Log(); !strings.Contains(log, "AUTHENTICATION_FAILED") && !strings.Contains(log, "N(AUTH_FAILED)") {
				t.Error("strongSwan was not told AUTHENTICATION_FAILED")
			}
		})
	}
}

// dialIn is R6 as a server for road warriors, and strongSwan as one of them.
func (p *paper) dialIn(method string, more ...string) func(*testbed.Tunnel, *netlab.StrongSwanConfig) {
	return func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		r6.Auth = append([]string{
			`local: {address: 192.0.2.6, id: r6.example.net, auth: cert}`,
			`remote: {addresses: any, id: any, auth: eap}`,
			fmt.Sprintf(`cert: {file: %q}`, filepath.Join(p.dir, "r6.pem")),
			fmt.Sprintf(`key: {file: %q}`, filepath.Join(p.dir, "r6.key")),
		}, more...)
		p.theirs(r8, "r8@example.net")
		r8.LocalAuth = []string{"auth = " + method, "eap_id = carol"}
		if method == "eap-tls" {
			r8.LocalAuth = []string{"auth = eap-tls", "certs = r8.pem", "id = r8@example.net"}
		}
		r8.Secrets = []string{"eap-carol {\nid = carol\nsecret = Ar3etTnp\n}"}
	}
}

// TestEAPWithStrongSwan: a client dials in by name and password, or by a
// certificate inside TLS.
func TestEAPWithStrongSwan(t *testing.T) {
	p := newPaper(t, pki.RSA, nil)
	users := fmt.Sprintf("users: {file: %q}", p.file("users", []byte("# who may dial in\ncarol Ar3etTnp\nbob other\n")))
	authorities := fmt.Sprintf("ca: [{file: %q}]", filepath.Join(p.dir, "ca.pem"))
	for _, c := range []struct {
		name, method string
		more         []string
		user         string
		debug        string
		refused      string
	}{
		{name: "MSCHAPv2", method: "eap-mschapv2", more: []string{users}, user: "carol"},
		{name: "MSCHAPv2 with PPK", method: "eap-mschapv2", user: "carol",
			more: []string{users, `ppk: {id: quantum, secret: {value: "a key of many bits, as many as 256 in all"}, required: true}`}},
		{name: "wrong password", method: "eap-mschapv2", refused: "EAP: wrong password of user carol (configuration key: users)",
			more: []string{fmt.Sprintf("users: {file: %q}", p.file("wrong", []byte("carol no\n")))}},
		{name: "unknown user", method: "eap-mschapv2", refused: "EAP: user carol is not known (configuration key: users)",
			more: []string{fmt.Sprintf("users: {file: %q}", p.file("other", []byte("dave no\n")))}},
		// This strongSwan knows no extended master secret, and with TLS 1.3 it dies of
		// the last octet that RFC 9190 asks for: so the gateway is made to export the
		// keys of TLS 1.2 all the same, which proves the rest.
		{name: "TLS 1.2", method: "eap-tls", more: []string{users, authorities}, user: "r8@example.net", debug: "tlsunsafeekm=1"},
		{name: "TLS 1.2 of the old kind", method: "eap-tls", more: []string{authorities}, refused: "TLS 1.2 without an extended master secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("GODEBUG", c.debug)
			b := newBed(t, "eap", netlab.Options{})
			b.strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				p.dialIn(c.method, c.more...)(r6, r8)
				if strings.Contains(strings.Join(c.more, ""), "ppk") {
					r8.ConnLines = []string{"ppk_id = quantum", "ppk_required = yes"}
					r8.Secrets = append(r8.Secrets, "ppk-q {\nid = quantum\nsecret = \"a key of many bits, as many as 256 in all\"\n}")
				}
			})
			mark := len(b.r6.Log())
			out, err := b.swan.Initiate(t.Context())
			if c.refused != "" {
				if err == nil {
					t.Errorf("strongSwan was let in:\n%s", out)
				}
				b.refusal(mark, c.refused)
				return
			}
			check(t, err)
			b.ping(b.A, b.A4, b.B4, 5)
			if log := b.r6.Log(); !strings.Contains(log, "peer_id="+c.user) {
				t.Errorf("no word of %s in the log:\n%s", c.user, log)
			}
		})
	}
}
