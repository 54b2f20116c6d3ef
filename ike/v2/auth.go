package v2

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// shownProof is what we show to prove who we are.
type shownProof struct {
	certs []wire.Payload
	auth  wire.AUTH
	ppk   []wire.Payload // initiator: which PPK, and the proof without it
}

// proof is what a peer shows.
type proof struct {
	id      wire.Identity
	auth    wire.AUTH
	noPPK   []byte // the data of AUTH without a PPK, nil for none
	certs   []*x509.Certificate
	certErr string

	// Once it was verified:
	chain []*x509.Certificate // up to an authority, nil without certificate
	keys  *suite.IKEKeys      // those under which it verifies
	ppk   bool                // a PPK is in them
}

// announceAuth are the notifications and requests of IKE_SA_INIT about
// authentication: the hashes under which we accept signatures (RFC 7427 §4), that
// we can use a PPK (RFC 8784 §3) and, from the responder, whose certificates we
// believe (RFC 7296 §1.2).
func (s *SA) announceAuth() []wire.Payload {
	conns := s.candidates
	if s.initiator {
		conns = []*session.Connection{s.conn}
	}
	var payloads []wire.Payload
	if !s.initiator {
		payloads = certificateRequest(conns)
	}
	if slices.ContainsFunc(conns, signs) {
		payloads = append(payloads, suite.SignatureHashes(nil).Notify())
	}
	if slices.ContainsFunc(conns, hasPPK) && (s.initiator || s.handshake.ppk) {
		payloads = append(payloads, wire.Notify{Type: wire.NotifyUsePPK})
	}
	return payloads
}

func signs(c *session.Connection) bool {
	return c.Local.Auth == session.AuthCert || c.Remote.Auth == session.AuthCert
}

func hasPPK(c *session.Connection) bool { return len(c.PPK.Key) > 0 }

// hear takes the peer's part of that.
func (s *SA) hear(m wire.Message) {
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifySignatureHashAlgorithms); ok {
		if hashes, err := wire.ParseSignatureHashAlgorithms(n); err == nil {
			s.handshake.hashes = hashes
		}
	}
	_, s.handshake.ppk = wire.FindNotify(m.Payloads, wire.NotifyUsePPK)
}

// authKeys are the keys of the configuration that authentication depends on.
func authKeys(c *session.Connection) string {
	switch {
	case c == nil || c.Local.Auth == session.AuthPSK && c.Remote.Auth == session.AuthPSK:
		return "psk"
	case c.Local.Auth == session.AuthPSK:
		return "psk, ca"
	}
	return "cert, key, ca"
}

// prove makes our AUTH payload (RFC 7296 §2.15) and what goes with it.
func (s *SA) prove(conn *session.Connection, id wire.Identity) (shownProof, error) {
	var p shownProof
	keys := s.keys
	if s.handshake.mixed != nil {
		keys = s.handshake.mixed
		plain, err := s.sign(conn, s.keys, id)
		if err != nil {
			return p, err
		}
		p.ppk = ppkPayloads(conn, plain)
	}
	if conn.Local.Auth == session.AuthCert {
		p.certs = certificates(conn.Credential)
	}
	var err error
	p.auth, err = s.sign(conn, keys, id)
	return p, err
}

func (s *SA) sign(conn *session.Connection, keys *suite.IKEKeys, id wire.Identity) (wire.AUTH, error) {
	octets, err := s.octets(keys, s.initiator, id)
	if err != nil {
		return wire.AUTH{}, err
	}
	if conn.Local.Auth == session.AuthCert {
		return suite.SignAuth(conn.Credential.Key.Signer, octets, suite.SignatureRules{Hashes: s.handshake.hashes, PSS: conn.Credential.PSS}, s.env.Rand)
	}
	data, err := suite.PSKAuth(s.suite.PRF, conn.PSK, octets)
	return wire.AUTH{Method: wire.AuthSharedKey, Data: data}, err
}

// shown collects the peer's proof from its message.
func (s *SA) shown(m wire.Message, id wire.Identity, auth wire.AUTH) proof {
	p := proof{id: id, auth: auth, keys: s.keys}
	p.certs, p.certErr = parseCertificates(m.Payloads)
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifyNoPPKAuth); ok {
		p.noPPK = n.Data
	}
	return p
}

// distrust checks identity and AUTH of the peer and says what is wrong, if
// anything. An empty identity in the configuration accepts any.
func (s *SA) distrust(now time.Time, conn *session.Connection, p *proof) string {
	got := session.Identity{Type: uint8(p.id.Type), Data: p.id.Data}
	if want := conn.Remote.ID; !want.IsZero() && !want.Equal(got) {
		return fmt.Sprintf("peer says it is %v, we expect %v (configuration key: remote.id)", got, want)
	}
	octets, err := s.octets(p.keys, !s.initiator, p.id)
	if err != nil {
		return err.Error()
	}
	switch conn.Remote.Auth {
	case session.AuthCert:
		return s.distrustCertificate(now, conn, p, got, octets)
	case session.AuthEAP:
		return fmt.Sprintf("peer authenticates by %v, we expect EAP (configuration key: remote.auth)", p.auth.Method)
	}
	if p.auth.Method != wire.AuthSharedKey {
		return fmt.Sprintf("peer authenticates by %v, we expect shared key (configuration key: remote.auth)", p.auth.Method)
	}
	if !suite.VerifyPSK(s.suite.PRF, conn.PSK, octets, p.auth.Data) {
		return "peer's AUTH does not verify: the pre-shared keys differ (configuration key: psk)"
	}
	return ""
}

// distrustCertificate goes through a certificate in the order in which it is
// refused: who issued it, whether it is in force, whose it is, and whether the
// peer has its key.
func (s *SA) distrustCertificate(now time.Time, conn *session.Connection, p *proof, got session.Identity, octets []byte) string {
	if p.auth.Method == wire.AuthSharedKey {
		return fmt.Sprintf("peer authenticates by %v, we expect a certificate (configuration key: remote.auth)", p.auth.Method)
	}
	if p.certErr != "" {
		return p.certErr
	}
	chain, reason := conn.Trust.Verify(now, p.certs)
	if reason != "" {
		return reason
	}
	leaf := chain[0]
	if !session.Proves(leaf, got) {
		return fmt.Sprintf("identity not in the certificate: peer says it is %v, its certificate names %s", got, names(leaf))
	}
	rules := suite.SignatureRules{Hashes: suite.SignatureHashes(nil)}
	if err := suite.VerifyAuth(leaf.PublicKey, octets, p.auth, rules); err != nil {
		return fmt.Sprintf("peer's AUTH does not verify with its certificate of %s (%s): %v", session.Subject(leaf), session.KeyKind(leaf.PublicKey), err)
	}
	p.chain = chain
	return ""
}
