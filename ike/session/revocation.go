package session

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Revocation says where it is looked up whether a certificate was revoked, and
// what holds when that cannot be learned. Without any source nothing is checked.
type Revocation struct {
	CRLs          []*x509.RevocationList // from files
	CRLURLs       []string               // fetched by HTTP
	CRLFromCert   bool                   // also from the distribution points that a certificate names
	OCSPURL       string
	OCSPFromCert  bool // also from the responder that a certificate names
	AcceptUnknown bool // when no source can be reached; else the peer is refused
}

func (r *Revocation) enabled() bool {
	return len(r.CRLs)+len(r.CRLURLs) > 0 || r.CRLFromCert || r.OCSPURL != "" || r.OCSPFromCert
}

const (
	fetchedLife  = 24 * time.Hour   // an answer is used at most that long, whatever it says
	failedLife   = 30 * time.Second // a failure is not asked about again before
	fetchedLimit = 256              // answers that are kept
	maxSources   = 4                // that one certificate may name
)

// Revocations keeps what was fetched, for all connections of an engine.
type Revocations struct {
	fetched map[string]fetched
	asked   map[string]bool // what is being fetched
}

type fetched struct {
	at   time.Time
	data []byte
	err  string
}

// NewRevocations returns an empty cache.
func NewRevocations() *Revocations {
	return &Revocations{fetched: make(map[string]fetched), asked: make(map[string]bool)}
}

// Ask fetches what is not being fetched already.
func (r *Revocations) Ask(out *Outbox, urls []string) {
	for _, u := range urls {
		if !r.asked[u] {
			r.asked[u] = true
			out.Put(Fetch{URL: u})
		}
	}
}

// Take keeps what a Fetch brought. The oldest goes when there is too much.
func (r *Revocations) Take(now time.Time, in Fetched) {
	delete(r.asked, in.URL)
	if len(r.fetched) >= fetchedLimit {
		oldest := in.URL
		for url, f := range r.fetched {
			if o, ok := r.fetched[oldest]; !ok || f.at.Before(o.at) {
				oldest = url
			}
		}
		delete(r.fetched, oldest)
	}
	r.fetched[in.URL] = fetched{at: now, data: in.Data, err: in.Err}
}

// fresh returns what is known from a URL; not ok asks to fetch it.
func (r *Revocations) fresh(now time.Time, url string) (f fetched, ok bool) {
	f, ok = r.fetched[url]
	life := fetchedLife
	if f.err != "" {
		life = failedLife
	}
	return f, ok && now.Before(f.at.Add(life))
}

// finding is what the sources say of one certificate.
type finding struct {
	good    bool
	revoked string   // why, in the operator's words
	missing []string // URLs that were not asked yet
	doubts  []string // what was wrong with the others
}

// Check says of a chain that Trust.Verify made what is to be fetched first; or,
// when nothing is, why the peer is to be refused; or with neither that it is
// good. The doubt is worth a line in the log: the peer is let in without an answer.
func (r *Revocations) Check(now time.Time, policy *Revocation, chain []*x509.Certificate) (fetch []string, reason, doubt string) {
	if !policy.enabled() {
		return nil, "", ""
	}
	for i := range len(chain) - 1 {
		f := r.look(now, policy, chain[i], chain[i+1])
		switch {
		case f.revoked != "":
			return nil, f.revoked, ""
		case f.good:
		case len(f.missing) > 0:
			fetch = append(fetch, f.missing...)
		default:
			text := fmt.Sprintf("whether the certificate of %s was revoked is unknown: %s", Subject(chain[i]), strings.Join(f.doubts, "; "))
			if !policy.AcceptUnknown {
				return nil, text + " (configuration keys: revocation, revocation.when_unreachable)", ""
			}
			doubt = text
		}
	}
	return fetch, "", doubt
}

// look asks OCSP first, which is fresher, then the CRLs. One source that says
// good is enough; one that says revoked as well.
func (r *Revocations) look(now time.Time, policy *Revocation, cert, issuer *x509.Certificate) finding {
	var f finding
	for _, responder := range responders(policy, cert) {
		if address, err := ocspURL(responder, cert, issuer); err == nil {
			r.ask(now, &f, address, func(data []byte) error { return f.ocsp(now, data, cert, issuer) })
		}
	}
	for _, list := range policy.CRLs {
		if bytes.Equal(list.RawIssuer, cert.RawIssuer) {
			if err := f.crl(now, list, cert, issuer); err != nil {
				f.doubts = append(f.doubts, "CRL file: "+err.Error())
			}
		}
	}
	for _, address := range distributionPoints(policy, cert) {
		r.ask(now, &f, address, func(data []byte) error {
			list, err := ParseCRL(data)
			if err == nil {
				err = f.crl(now, list, cert, issuer)
			}
			return err
		})
	}
	if !f.good && f.revoked == "" && len(f.missing)+len(f.doubts) == 0 {
		f.doubts = append(f.doubts, "no CRL and no OCSP responder for it")
	}
	return f
}

// ask takes what is known from a URL unless the answer stands already.
func (r *Revocations) ask(now time.Time, f *finding, address string, read func([]byte) error) {
	if f.good || f.revoked != "" {
		return
	}
	known, ok := r.fresh(now, address)
	err := errors.New(known.err)
	switch {
	case !ok:
		f.missing = append(f.missing, address)
		return
	case known.err == "":
		err = read(known.data)
	}
	if err != nil {
		where, _, _ := strings.Cut(address, "?")
		f.doubts = append(f.doubts, where+": "+err.Error())
	}
}

// crl takes the word of a CRL, if it is the issuer's and in force.
func (f *finding) crl(now time.Time, list *x509.RevocationList, cert, issuer *x509.Certificate) error {
	if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
		return errors.New("CRL of another CA")
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return errors.New("CRL whose signature is not its CA's")
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
			f.revoked = revoked(cert, entry.RevocationTime, "CRL")
			return nil
		}
	}
	if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
		return fmt.Errorf("CRL out of date since %s", list.NextUpdate.UTC().Format(time.RFC3339))
	}
	f.good = true
	return nil
}

// ocsp takes the word of a responder (RFC 6960 §3.2).
func (f *finding) ocsp(now time.Time, data []byte, cert, issuer *x509.Certificate) error {
	answer, err := ocsp.ParseResponseForCert(data, cert, issuer)
	switch {
	case err != nil:
		return fmt.Errorf("OCSP response: %w", err)
	case answer.Status == ocsp.Revoked:
		f.revoked = revoked(cert, answer.RevokedAt, "OCSP")
	case answer.Status != ocsp.Good:
		return errors.New("OCSP responder does not know it")
	case now.Before(answer.ThisUpdate.Add(-5*time.Minute)) || !answer.NextUpdate.IsZero() && now.After(answer.NextUpdate):
		return errors.New("OCSP response out of date")
	default:
		f.good = true
	}
	return nil
}

func revoked(cert *x509.Certificate, at time.Time, source string) string {
	return fmt.Sprintf("certificate of %s was revoked on %s (%s)", Subject(cert), at.UTC().Format(time.RFC3339), source)
}

func responders(policy *Revocation, cert *x509.Certificate) []string {
	var list []string
	if policy.OCSPURL != "" {
		list = append(list, policy.OCSPURL)
	}
	if policy.OCSPFromCert {
		list = append(list, plain(cert.OCSPServer)...)
	}
	return list
}

func distributionPoints(policy *Revocation, cert *x509.Certificate) []string {
	list := slices.Clone(policy.CRLURLs)
	if policy.CRLFromCert {
		list = append(list, plain(cert.CRLDistributionPoints)...)
	}
	return list
}

// plain are the few sources that can be fetched without a certificate to check.
func plain(urls []string) []string {
	var list []string
	for _, u := range urls {
		if strings.HasPrefix(u, "http://") && len(list) < maxSources {
			list = append(list, u)
		}
	}
	return list
}

// ocspURL is a request by GET: the responder's URL, and behind it "url-encoding
// of base-64 encoding of the DER encoding of the OCSPRequest" (RFC 6960 A.1).
func ocspURL(responder string, cert, issuer *x509.Certificate) (string, error) {
	request, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(responder, "/") + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(request)), nil
}

// ParseCRL reads a certificate revocation list in PEM or DER.
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == "X509 CRL" {
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, errors.New("neither PEM nor DER of a CRL")
	}
	return list, nil
}
