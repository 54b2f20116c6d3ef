// Package eaptls runs the server's half of a TLS handshake for EAP-TLS (RFC 5216,
// RFC 9190), without a network: octets come from IKE and go back to it.
//
// crypto/tls knows no handshake but one that blocks on a net.Conn. So each
// handshake has a goroutine of its own, confined to this package: Step hands it
// what the peer sent and waits until it wants more or is over. It never waits
// for the peer, so for its caller Step is a function like any other; what it
// costs is the cryptography of one flight. Close ends the goroutine.
//
// It keeps no session tickets: every user proves anew who it is.
package eaptls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"spindle/ike/session"
)

// New begins a handshake. It is a session.TLS.
func New(c session.TLSConfig) session.TLSServer {
	s := &server{conn: &pipe{in: make(chan []byte), idle: make(chan struct{}), closed: make(chan struct{})}, ended: make(chan struct{})}
	s.tls = tls.Server(s.conn, configuration(c))
	return s
}

func configuration(c session.TLSConfig) *tls.Config {
	certificate := tls.Certificate{PrivateKey: c.Credential.Key.Signer, Leaf: c.Credential.Chain[0]}
	for _, cert := range c.Credential.Chain {
		certificate.Certificate = append(certificate.Certificate, cert.Raw)
	}
	authorities := x509.NewCertPool()
	for _, cert := range c.Authorities {
		authorities.AddCert(cert)
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{certificate},
		ClientCAs:              authorities,
		ClientAuth:             tls.RequireAnyClientCert,
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		Time:                   func() time.Time { return c.Now },
		VerifyConnection:       func(s tls.ConnectionState) error { return c.Verify(s.PeerCertificates) },
	}
}

type server struct {
	tls   *tls.Conn
	conn  *pipe
	begun bool
	ended chan struct{} // closed when the handshake is over
	err   error         // of it, once ended is closed
}

// Step lets the handshake have what the peer sent and returns what it says to
// that, once it wants more or is over.
func (s *server) Step(in []byte) (out []byte, done bool, err error) {
	if !s.begun {
		s.begun = true
		go s.handshake()
		select {
		case <-s.conn.idle: // the server waits for a ClientHello
		case <-s.ended:
		}
	}
	if len(in) > 0 {
		select {
		case s.conn.in <- in:
		case <-s.ended:
			return s.conn.taken(), s.err == nil, s.err
		}
		select {
		case <-s.conn.idle:
		case <-s.ended:
		}
	}
	select {
	case <-s.ended:
		return s.conn.taken(), s.err == nil, s.err
	default:
		return s.conn.taken(), false, nil
	}
}

// handshake ends, in TLS 1.3, with an octet of application data: RFC 9190 §2.1.1,
// by which the server says that it sends no more handshake messages.
func (s *server) handshake() {
	defer close(s.ended)
	if s.err = s.tls.Handshake(); s.err != nil {
		return
	}
	if s.Version() >= tls.VersionTLS13 {
		_, s.err = s.tls.Write([]byte{0})
	}
}

// Export gives no keys for TLS 1.2 without an extended master secret (RFC 7627):
// another server could have brought about the same ones.
func (s *server) Export(label string, context []byte, n int) ([]byte, error) {
	state := s.tls.ConnectionState()
	keys, err := state.ExportKeyingMaterial(label, context, n)
	if err != nil && state.Version < tls.VersionTLS13 {
		return nil, errors.New("TLS 1.2 without an extended master secret is not safe: the peer needs TLS 1.3, or RFC 7627")
	}
	return keys, err
}

func (s *server) Version() uint16 { return s.tls.ConnectionState().Version }

func (s *server) Close() { s.conn.Close() }

// pipe is the net.Conn of a handshake: reading waits for Step, writing collects.
type pipe struct {
	in   chan []byte
	idle chan struct{} // the handshake has read all there was
	rest []byte

	mu  sync.Mutex
	out []byte

	once   sync.Once
	closed chan struct{}
}

func (p *pipe) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		select {
		case p.idle <- struct{}{}:
		case <-p.closed:
			return 0, io.EOF
		}
		select {
		case p.rest = <-p.in:
		case <-p.closed:
			return 0, io.EOF
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const most = 1 << 20
	if len(p.out)+len(b) > most {
		return 0, errors.New("handshake without end")
	}
	p.out = append(p.out, b...)
	return len(b), nil
}

func (p *pipe) taken() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.out
	p.out = nil
	return out
}

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// nowhere is the address of both ends.
type nowhere struct{}

func (nowhere) Network() string { return "eap" }
func (nowhere) String() string  { return "eap" }

func (*pipe) LocalAddr() net.Addr              { return nowhere{} }
func (*pipe) RemoteAddr() net.Addr             { return nowhere{} }
func (*pipe) SetDeadline(time.Time) error      { return nil }
func (*pipe) SetReadDeadline(time.Time) error  { return nil }
func (*pipe) SetWriteDeadline(time.Time) error { return nil }
