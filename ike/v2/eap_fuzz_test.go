package v2

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/tools/pki"
)

// zeros is a source of random bytes without any.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// echo is a TLS handshake that answers everything with more of it, until it has
// had enough.
type echo struct{ steps int }

func (e *echo) Step(in []byte) ([]byte, bool, error) {
	e.steps++
	switch {
	case e.steps > 3:
		return nil, false, errors.New("enough")
	case len(in) == 0:
		return nil, false, nil
	}
	return append(in, make([]byte, 3*tlsFragment)...), e.steps == 3, nil
}

func (*echo) Export(string, []byte, int) ([]byte, error) { return make([]byte, 128), nil }
func (*echo) Version() uint16                            { return 0x0304 }
func (*echo) Close()                                     {}

// FuzzEAP gives both methods a row of responses, each with its length in front:
// no response may take a method down, make it hold more than its bound, or bring
// a user in who does not know the password.
func FuzzEAP(f *testing.F) {
	users, err := session.ParseUsers([]byte("carol password\n"))
	if err != nil {
		f.Fatal(err)
	}
	response := append([]byte{chapResponse, chapID, 0, 59, 49}, make([]byte, 49)...)
	f.Add(append([]byte{59}, append(response, "carol"...)...))
	f.Add([]byte{1, 0, 3, tlsMore | tlsLength, 0, 0, 1, 0})
	f.Add([]byte{6, tlsLength, 0xff, 0xff, 0xff, 0xff, 0, 1, 0})
	f.Add([]byte{3, 0, 22, 3, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		begin := func(session.TLSConfig) session.TLSServer { return &echo{} }
		conn := &session.Connection{Users: users, Trust: &session.Trust{}}
		tls := newEAPTLS(time.Time{}, begin, conn)
		for _, m := range []eapMethod{newMSCHAPv2(zeros{}, users, "gw"), tls} {
			if _, err := m.begin(); err != nil {
				t.Fatal(err)
			}
			converse(t, m, data)
		}
		if len(tls.in) > maxTLSMessage {
			t.Errorf("holds %d octets", len(tls.in))
		}
	})
}

func converse(t *testing.T, m eapMethod, data []byte) {
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		step := m.answer(data[1 : n+1])
		data = data[n+1:]
		if step.success != nil {
			t.Fatalf("%v lets in %q", m.kind(), step.success.user)
		}
		if len(step.request) > tlsFragment+5 && m.kind() == wire.EAPTLS {
			t.Fatalf("a request of %d octets", len(step.request))
		}
		if step.failure != "" {
			return
		}
	}
}

// FuzzCertificates goes the way of CERT payloads from their octets up to the
// verdict: whatever a peer sends, nobody is believed whom nobody vouches for.
func FuzzCertificates(f *testing.F) {
	f.Add(byte(wire.CertX509Signature), []byte{0x30, 0x82, 0x01, 0x00})
	f.Add(byte(wire.CertHashURLX509), []byte("http://example.net/cert"))
	f.Add(byte(wire.CertCRL), []byte{0x30, 0})
	f.Add(byte(wire.CertX509Signature), selfSigned(f))
	trust := &session.Trust{}
	f.Fuzz(func(t *testing.T, encoding byte, data []byte) {
		list, wrong := parseCertificates([]wire.Payload{wire.CERT{Encoding: wire.CertEncoding(encoding), Data: data}})
		if wrong != "" {
			return
		}
		if chain, reason := trust.Verify(time.Unix(1780000000, 0), list); reason == "" || chain != nil {
			t.Fatalf("believes %x", data)
		}
		for _, c := range list {
			_ = names(c) + session.KeyKind(c.PublicKey)
		}
		session.NewRevocations().Check(time.Unix(1780000000, 0), &session.Revocation{CRLFromCert: true, OCSPFromCert: true},
			append(list[:len(list):len(list)], &x509.Certificate{}))
	})
}

// selfSigned is a certificate to begin with.
func selfSigned(f *testing.F) []byte {
	ca, err := pki.NewCA("Root", pki.P256)
	if err != nil {
		f.Fatal(err)
	}
	leaf, err := ca.Issue(pki.Leaf{Name: "r8", Names: []string{"r8.example.net", "192.0.2.8"}, CRL: []string{"http://crl.example"}, OCSP: []string{"http://ocsp.example"}})
	if err != nil {
		f.Fatal(err)
	}
	return leaf.Cert.Raw
}

// TestOtherCertificates: RFC 7296 §3.6, hash and URL is used only by those that
// announce HTTP_CERT_LOOKUP_SUPPORTED, which we do not.
func TestOtherCertificates(t *testing.T) {
	for encoding, want := range map[wire.CertEncoding]string{
		wire.CertHashURLX509:   "peer sends its certificate as hash and URL",
		wire.CertHashURLBundle: "peer sends its certificate as hash and URL",
		wire.CertPKCS7X509:     "peer sends a certificate of encoding 1, we take X.509 (4)",
		wire.CertX509Signature: "peer sends a malformed certificate",
		wire.CertCRL:           "",
	} {
		_, wrong := parseCertificates([]wire.Payload{wire.CERT{Encoding: encoding, Data: []byte{1, 2, 3}}})
		if !strings.HasPrefix(wrong, want) || want == "" && wrong != "" {
			t.Errorf("%d: %q", encoding, wrong)
		}
	}
}
