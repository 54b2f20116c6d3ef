package v2

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// fetchPatience bounds how long IKE_AUTH waits for CRLs and OCSP responses. The
// wiring gives up sooner; this is for one that forgets.
const fetchPatience = 20 * time.Second

// fetchRounds bounds how often the answers may ask for more.
const fetchRounds = 3

// waiting is an authentication that is good but for the question of revocation.
type waiting struct {
	urls   []string
	until  time.Time
	rounds int
	resume func(now time.Time)
}

// certificates are the CERT payloads of our chain: RFC 7296 §3.6, "the first
// certificate MUST contain the public key used to verify the AUTH payload".
func certificates(c *session.Credential) []wire.Payload {
	var payloads []wire.Payload
	for _, cert := range c.Chain {
		payloads = append(payloads, wire.CERT{Encoding: wire.CertX509Signature, Data: cert.Raw})
	}
	return payloads
}

// certificateRequest names the authorities of all connections whose peers are
// to show a certificate.
func certificateRequest(conns []*session.Connection) []wire.Payload {
	var hashes []byte
	for _, c := range conns {
		if c.Remote.Auth != session.AuthCert {
			continue
		}
		for h := range slices.Chunk(c.Trust.Hashes(), 20) {
			if !slices.ContainsFunc(slices.Collect(slices.Chunk(hashes, 20)), func(o []byte) bool { return slices.Equal(o, h) }) {
				hashes = append(hashes, h...)
			}
		}
	}
	if hashes == nil {
		return nil
	}
	return []wire.Payload{wire.CERTREQ{Encoding: wire.CertX509Signature, Authorities: hashes}}
}

// parseCertificates reads the CERT payloads of a message; the text says what is
// wrong with them. A CRL that a peer sends along is not used.
func parseCertificates(payloads []wire.Payload) ([]*x509.Certificate, string) {
	var list []*x509.Certificate
	for _, p := range payloads {
		cert, ok := p.(wire.CERT)
		if !ok {
			continue
		}
		switch cert.Encoding {
		case wire.CertX509Signature:
		case wire.CertHashURLX509, wire.CertHashURLBundle:
			return nil, "peer sends its certificate as hash and URL, which we never asked for and do not fetch: have it send the certificate itself"
		case wire.CertCRL, wire.CertOCSPContent:
			continue
		default:
			return nil, fmt.Sprintf("peer sends a certificate of encoding %d, we take X.509 (%d)", cert.Encoding, wire.CertX509Signature)
		}
		c, err := x509.ParseCertificate(cert.Data)
		if err != nil {
			return nil, fmt.Sprintf("peer sends a malformed certificate: %v", err)
		}
		list = append(list, c)
	}
	return list, ""
}

// names lists what a certificate proves, for the operator.
func names(c *x509.Certificate) string {
	var list []string
	for _, id := range session.Names(c) {
		list = append(list, id.String())
	}
	return strings.Join(list, "; ")
}

// unrevoked goes on when it is known whether a certificate of the chain was
// revoked: at once, or when what it takes to know was fetched. Without a
// certificate there is nothing to ask.
func (s *SA) unrevoked(now time.Time, conn *session.Connection, chain []*x509.Certificate, then func(now time.Time, reason string)) {
	if chain == nil {
		then(now, "")
		return
	}
	s.inquire(now, &waiting{until: now.Add(fetchPatience)}, conn, chain, then)
}

func (s *SA) inquire(now time.Time, w *waiting, conn *session.Connection, chain []*x509.Certificate, then func(now time.Time, reason string)) {
	s.waiting = nil
	fetch, reason, doubt := s.env.Revocations.Check(now, &conn.Trust.Revocation, chain)
	if len(fetch) > 0 && w.rounds < fetchRounds {
		w.rounds++
		w.urls = fetch
		w.resume = func(now time.Time) { s.inquire(now, w, conn, chain, then) }
		s.waiting = w
		s.env.Revocations.Ask(s.env.Out, fetch)
		return
	}
	if len(fetch) > 0 {
		reason = "whether the certificate of " + session.Subject(chain[0]) + " was revoked cannot be learned (configuration key: revocation)"
	}
	if doubt != "" {
		s.audit(slog.LevelWarn, "revocation unknown", slog.String("reason", doubt))
	}
	then(now, reason)
}

// Fetched says that something was fetched: it may be what this IKE SA waits for.
func (s *SA) Fetched(now time.Time, url string) {
	w := s.waiting
	if w == nil {
		return
	}
	if w.urls = slices.DeleteFunc(w.urls, func(u string) bool { return u == url }); len(w.urls) > 0 {
		return
	}
	w.resume(now)
	s.pump(now)
}

// tickFetch gives up on what was not fetched in time.
func (s *SA) tickFetch(now time.Time) {
	if s.waiting == nil || !session.Passed(now, s.waiting.until) {
		return
	}
	w := s.waiting
	for _, u := range w.urls {
		s.env.Revocations.Take(now, session.Fetched{URL: u, Err: "no answer"})
	}
	w.until = now.Add(fetchPatience)
	w.resume(now)
}
