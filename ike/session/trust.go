package session

import (
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Trust says which certificates of a peer are believed: those that one of the
// authorities vouches for and that none of them has revoked.
type Trust struct {
	Authorities []*x509.Certificate
	Revocation  Revocation
}

// maxChain bounds the certificates of a peer that are looked at.
const maxChain = 10

// Hashes are what a CERTREQ payload carries: "a concatenated list of SHA-1
// hashes of the public keys of trusted Certification Authorities", over the
// SubjectPublicKeyInfo element (RFC 7296 §3.7).
func (t *Trust) Hashes() []byte {
	var all []byte
	for _, c := range t.Authorities {
		h := sha1.Sum(c.RawSubjectPublicKeyInfo)
		all = append(all, h[:]...)
	}
	return all
}

// Verify finds the way from a peer's certificate, the first of what it sent, to
// an authority. The chain starts with the peer's and ends with the authority's
// certificate. The reason is empty, or what the operator should know.
func (t *Trust) Verify(now time.Time, sent []*x509.Certificate) (chain []*x509.Certificate, reason string) {
	switch {
	case len(sent) == 0:
		return nil, "peer sends no certificate (configuration key: remote.auth)"
	case len(sent) > maxChain:
		return nil, fmt.Sprintf("peer sends %d certificates, more than %d", len(sent), maxChain)
	}
	leaf := sent[0]
	if usage := x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment; leaf.KeyUsage != 0 && leaf.KeyUsage&usage == 0 {
		// RFC 4945 §5.1.3.2: one of these must be set if there is a key usage at all.
		return nil, fmt.Sprintf("certificate of %s is not for signatures (key usage)", Subject(leaf))
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range t.Authorities {
		options.Roots.AddCert(c)
	}
	for _, c := range sent[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return nil, t.distrust(now, leaf, sent, err)
	}
	return chains[0], ""
}

// distrust puts what crypto/x509 found into the operator's words.
func (t *Trust) distrust(now time.Time, leaf *x509.Certificate, sent []*x509.Certificate, err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return validity(now, invalid.Cert)
	case errors.As(err, &unknown):
		// A CA that has expired is not found among the authorities either.
		for _, c := range append(sent[1:len(sent):len(sent)], t.Authorities...) {
			if now.After(c.NotAfter) || now.Before(c.NotBefore) {
				return validity(now, c)
			}
		}
		return fmt.Sprintf("unknown CA: the certificate of %s is issued by %s, we trust %s (configuration key: ca)",
			Subject(leaf), unknownIssuer(leaf, sent), t.names())
	}
	return fmt.Sprintf("certificate of %s: %s", Subject(leaf), strings.TrimPrefix(err.Error(), "x509: "))
}

// unknownIssuer is the end of the way up through what the peer sent.
func unknownIssuer(leaf *x509.Certificate, sent []*x509.Certificate) string {
	at := leaf
	for range sent {
		for _, c := range sent[1:] {
			if c != at && at.CheckSignatureFrom(c) == nil {
				at = c
				break
			}
		}
	}
	return issuer(at)
}

func (t *Trust) names() string {
	var names []string
	for _, c := range t.Authorities {
		names = append(names, Subject(c))
	}
	return strings.Join(names, "; ")
}

// validity says when a certificate was or will be good.
func validity(now time.Time, c *x509.Certificate) string {
	if now.Before(c.NotBefore) {
		return fmt.Sprintf("certificate of %s is not valid before %s", Subject(c), c.NotBefore.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("certificate of %s expired since %s", Subject(c), c.NotAfter.UTC().Format(time.RFC3339))
}
