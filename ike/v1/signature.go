package v1

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// sign proves by certificate and signature (RFC 2409 §5.1).
func (s *SA) sign(conn *session.Connection, hash []byte) ([]wire.Payload, error) {
	if conn.Credential == nil {
		return nil, errors.New("no certificate to sign with (configuration key: local.cert)")
	}
	sig, err := suite.V1Sign(s.env.Rand, conn.Credential.Key, hash)
	if err != nil {
		return nil, err
	}
	var payloads []wire.Payload
	for _, cert := range conn.Credential.Chain {
		payloads = append(payloads, wire.V1Cert{Encoding: wire.CertX509Signature, Data: cert.Raw})
	}
	return append(payloads, wire.V1Signature{Data: sig}), nil
}

// verifySignature checks the signature over a hash, and that the certificate is
// that of the identity whose body is given.
func (s *SA) verifySignature(now time.Time, m wire.V1Message, id, hash []byte) error {
	sig, ok := wire.Find[wire.V1Signature](m.Payloads)
	if !ok || len(id) < 4 {
		return errors.New("peer sends no signature (configuration key: remote.auth)")
	}
	claimed := session.Identity{Type: id[0], Data: id[4:]}
	for _, conn := range s.possible() {
		if !conn.Remote.ID.IsZero() && !conn.Remote.ID.Equal(claimed) {
			continue
		}
		leaf, err := s.believe(now, conn, claimed, certificates(m))
		if err != nil {
			return err
		}
		return suite.V1Verify(leaf.PublicKey, hash, sig.Data)
	}
	return fmt.Errorf("peer says it is %v, which no connection expects (configuration key: remote.id)", claimed)
}

// certificates are those of a message that can be read.
func certificates(m wire.V1Message) (list []*x509.Certificate) {
	for _, p := range m.Payloads {
		cert, ok := p.(wire.V1Cert)
		if !ok || cert.Encoding != wire.CertX509Signature {
			continue
		}
		if parsed, err := x509.ParseCertificate(cert.Data); err == nil {
			list = append(list, parsed)
		}
	}
	return list
}

// believe finds the way from the peer's certificate to an authority of ours.
// While a revocation list is fetched the message is not taken: the peer sends
// it again.
func (s *SA) believe(now time.Time, conn *session.Connection, id session.Identity, sent []*x509.Certificate) (*x509.Certificate, error) {
	if conn.Trust == nil {
		return nil, errors.New("no authority to trust (configuration key: ca)")
	}
	chain, reason := conn.Trust.Verify(now, sent)
	if reason != "" {
		return nil, errors.New(reason)
	}
	if !session.Proves(chain[0], id) {
		return nil, fmt.Errorf("certificate of %s does not prove %v (configuration key: remote.id)", session.Subject(chain[0]), id)
	}
	fetch, reason, _ := s.env.Revocations.Check(now, &conn.Trust.Revocation, chain)
	if reason != "" {
		return nil, errors.New(reason)
	}
	if len(fetch) > 0 {
		s.env.Revocations.Ask(s.env.Out, fetch)
		return nil, errors.New("revocation is looked up: the peer's next transmission decides")
	}
	return chain[0], nil
}
