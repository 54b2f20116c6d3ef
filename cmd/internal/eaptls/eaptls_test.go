package eaptls_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"spindle/cmd/internal/eaptls"
	"spindle/ike/session"
	"spindle/tools/pki"
)

// stage is a server and a client of crypto/tls, which talk over a pipe.
type stage struct {
	t      *testing.T
	ca     *pki.CA
	server session.TLSServer
	client *tls.Conn
	peer   net.Conn
	shaken chan error
	seen   []*x509.Certificate
}

func newStage(t *testing.T, version uint16, refuse error) *stage {
	s := &stage{t: t, shaken: make(chan error, 1)}
	var err error
	s.ca, err = pki.NewCA("Root", pki.P256)
	check(t, err)
	gateway, err := s.ca.Issue(pki.Leaf{Name: "gw", Names: []string{"gw.example.net"}})
	check(t, err)
	user, err := s.ca.Issue(pki.Leaf{Name: "carol", Names: []string{"carol@example.net"}, Kind: pki.Ed25519})
	check(t, err)
	credential, err := session.NewCredential([]*x509.Certificate{gateway.Cert}, session.PrivateKey{Signer: gateway.Key})
	check(t, err)
	s.server = eaptls.New(session.TLSConfig{Now: time.Now(), Credential: credential, Authorities: []*x509.Certificate{s.ca.Cert},
		Verify: func(sent []*x509.Certificate) error { s.seen = sent; return refuse }})
	t.Cleanup(s.server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.Cert)
	ours, theirs := net.Pipe()
	s.peer = theirs
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	s.client = tls.Client(ours, &tls.Config{RootCAs: roots, ServerName: "gw.example.net", MinVersion: version, MaxVersion: version,
		Certificates: []tls.Certificate{{Certificate: [][]byte{user.Cert.Raw}, PrivateKey: user.Key}}})
	go func() { s.shaken <- s.client.Handshake() }()
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run carries flights to and fro until the server is through with it.
func (s *stage) run() error {
	flight := make([]byte, 65536)
	for range 20 {
		n, err := s.peer.Read(flight)
		if err != nil {
			return err
		}
		out, done, err := s.server.Step(flight[:n])
		if len(out) > 0 {
			if _, err := s.peer.Write(out); err != nil {
				return err
			}
		}
		if done || err != nil {
			return err
		}
	}
	return errors.New("no end")
}

// TestHandshake: both ends come to the same keys, in both versions; in TLS 1.3
// the server's last word is the octet of RFC 9190 §2.1.1.
func TestHandshake(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := newStage(t, version, nil)
			read := make(chan error, 1)
			go func() {
				err := <-s.shaken
				last := make([]byte, 1)
				if err == nil && version == tls.VersionTLS13 {
					if _, err = io.ReadFull(s.client, last); err == nil && last[0] != 0 {
						err = errors.New("another octet than 0")
					}
				}
				read <- err
			}()
			check(t, s.run())
			check(t, <-read)
			if s.server.Version() != version {
				t.Errorf("version %x", s.server.Version())
			}
			ours, err := s.server.Export("EXPORTER_EAP_TLS_Key_Material", []byte{13}, 128)
			check(t, err)
			state := s.client.ConnectionState()
			theirs, err := state.ExportKeyingMaterial("EXPORTER_EAP_TLS_Key_Material", []byte{13}, 128)
			check(t, err)
			if !bytes.Equal(ours, theirs) {
				t.Error("the keys differ")
			}
			if len(s.seen) != 1 || s.seen[0].Subject.CommonName != "carol" {
				t.Errorf("certificates of the peer: %v", s.seen)
			}
		})
	}
}

// TestRefusal: what Verify says is the error, and the peer gets an alert.
func TestRefusal(t *testing.T) {
	refused := errors.New("revoked")
	s := newStage(t, tls.VersionTLS13, refused)
	go func() {
		<-s.shaken
		io.Copy(io.Discard, s.client)
	}()
	if err := s.run(); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

// TestGarbage: a peer that speaks no TLS gets an alert, and Close ends a
// handshake that nobody goes on with.
func TestGarbage(t *testing.T) {
	s := newStage(t, tls.VersionTLS13, nil)
	out, done, err := s.server.Step([]byte("GET / HTTP/1.1\r\n\r\n"))
	if done || err == nil {
		t.Errorf("%x %v %v", out, done, err)
	}
	idle := newStage(t, tls.VersionTLS13, nil)
	if out, done, err := idle.server.Step([]byte{22, 3, 1, 0, 100}); len(out) > 0 || done || err != nil {
		t.Errorf("half a record: %x %v %v", out, done, err)
	}
	idle.server.Close()
	if _, done, err := idle.server.Step(make([]byte, 100)); done || err == nil {
		t.Errorf("after Close: %v %v", done, err)
	}
}
