package session

import (
	"crypto/x509"
	"time"
)

// TLS begins the server's half of a TLS handshake, for EAP-TLS. It is given by
// the wiring: crypto/tls wants a net.Conn, and IKE has none.
type TLS func(TLSConfig) TLSServer

// TLSConfig is what a handshake needs of us.
type TLSConfig struct {
	Now         time.Time
	Credential  *Credential
	Authorities []*x509.Certificate                  // named to the peer
	Verify      func(sent []*x509.Certificate) error // decides about the peer's certificates
}

// TLSServer is one handshake. Step never waits for the network: it takes what
// the peer sent and returns what to send. The handshake is over with done or an
// error, which may come with a last alert to send.
type TLSServer interface {
	Step(in []byte) (out []byte, done bool, err error)
	// Export is keying material of a handshake that is done (RFC 5705); version
	// is that of the protocol, 0x0303 or 0x0304.
	Export(label string, context []byte, n int) ([]byte, error)
	Version() uint16
	Close()
}
