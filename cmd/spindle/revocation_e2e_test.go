package main_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
	"spindle/tools/pki"
)

// publish serves, from the namespace of R6, what the certificate of R8 names.
func (b *bed) publish(p *paper, crlRevoked, ocspRevoked bool) {
	b.t.Helper()
	at := time.Now().Add(-time.Hour)
	list, err := p.ca.CRL(at)
	if crlRevoked {
		list, err = p.ca.CRL(at, p.r8.Cert)
	}
	check(b.t, err)
	answer, err := p.ca.OCSP(at, p.r8.Cert, ocspRevoked)
	check(b.t, err)
	web := http.NewServeMux()
	web.HandleFunc("GET /ca.crl", func(w http.ResponseWriter, _ *http.Request) { w.Write(list) })
	web.HandleFunc("GET /ocsp/", func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) })
	var l net.Listener
	check(b.t, b.R6.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:8080")
		return err
	}))
	server := &http.Server{Handler: web}
	go server.Serve(l)
	b.t.Cleanup(func() { server.Close() })
}

// TestRevocationByHTTP: the control process fetches what the certificates name,
// while strongSwan waits for its answer.
func TestRevocationByHTTP(t *testing.T) {
	for _, c := range []struct {
		name      string
		policy    string
		crl, ocsp bool // revoked there
		say       string
	}{
		{name: "CRL good", policy: "{crl: [certificate]}", ocsp: true},
		{name: "CRL revoked", policy: "{crl: [certificate]}", crl: true, say: "(CRL)"},
		{name: "OCSP good", policy: "{ocsp: certificate}", crl: true},
		{name: "OCSP revoked", policy: "{ocsp: certificate, crl: [certificate], when_unreachable: accept}", ocsp: true, say: "(OCSP)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPaper(t, pki.P256, func(r8 *pki.Leaf) {
				r8.CRL, r8.OCSP = []string{"http://127.0.0.1:8080/ca.crl"}, []string{"http://127.0.0.1:8080/ocsp"}
			})
			b := newBed(t, "revoke", netlab.Options{})
			b.publish(p, c.crl, c.ocsp)
			b.strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				r6.Auth = p.ours("r8.example.net", "revocation: "+c.policy)
				p.theirs(r8, "r8.example.net")
			})
			mark := len(b.r6.Log())
			out, err := b.swan.Initiate(t.Context())
			if c.say == "" {
				check(t, err)
				b.ping(b.A, b.A4, b.B4, 5)
				return
			}
			if err == nil {
				t.Errorf("strongSwan was let in:\n%s", out)
			}
			b.refusal(mark, "certificate of C=CH, O=Spindle, CN=r8 was revoked on ", c.say)
		})
	}
}

// TestReauthenticationUnderTraffic: R8 asks for it by AUTH_LIFETIME, and not one
// packet is lost while an IKE SA from scratch takes over.
func TestReauthenticationUnderTraffic(t *testing.T) {
	b := newBed(t, "reauth", netlab.Options{}).spindles(func(_, r8 *testbed.Tunnel) {
		r8.Lines = append(r8.Lines, "reauth: 10s")
	})
	first := b.up()
	options := paced
	options.Duration = 9 * time.Second
	b.carry(4, options)
	b.replaced(first)
	b.clean()
}

// TestPPKWithStrongSwan: RFC 8784 in each role, required or not held by one side.
func TestPPKWithStrongSwan(t *testing.T) {
	const secret = "a key of many bits, as many as 256 in all"
	for _, c := range []struct {
		name   string
		ours   string
		theirs bool
	}{
		{"required", fmt.Sprintf("ppk: {id: quantum, secret: {value: %q}, required: true}", secret), true},
		{"fall-back", fmt.Sprintf("ppk: {id: quantum, secret: {value: %q}}", secret), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "ppk", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				r6.Lines = append(r6.Lines, c.ours)
				if c.theirs {
					r8.ConnLines = []string{"ppk_id = quantum", "ppk_required = yes"}
					r8.Secrets = []string{fmt.Sprintf("ppk-q {\nid = quantum\nsecret = %q\n}", secret)}
				}
			})
			b.up()
			check(t, b.swan.Terminate(t.Context()))
			_, err := b.swan.Initiate(t.Context())
			check(t, err)
			b.ping(b.A, b.A4, b.B4, 5)
		})
	}
}
