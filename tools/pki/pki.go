// Package pki makes certificates, revocation lists and OCSP answers for tests:
// good ones, and bad ones as a peer might show them.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Kind is the kind of a key.
type Kind string

const (
	RSA     Kind = "rsa"
	P256    Kind = "p256"
	P384    Kind = "p384"
	Ed25519 Kind = "ed25519"
)

func generate(k Kind) (crypto.Signer, error) {
	switch k {
	case RSA:
		return rsa.GenerateKey(rand.Reader, 2048)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Pair is a certificate and its key.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// CA signs certificates.
type CA struct {
	Pair
	serial *atomic.Int64
}

// Leaf says what a certificate is to hold. Without times it is good from 2025 to
// 2045: for tests on the virtual clock as well.
type Leaf struct {
	Name                string   // common name, in O=Spindle
	Names               []string // alternative names: addresses, mailboxes, hosts
	Kind                Kind     // P256 if empty
	NotBefore, NotAfter time.Time
	CRL, OCSP           []string // URLs
}

// NewCA makes a self-signed authority.
func NewCA(name string, kind Kind) (*CA, error) {
	ca := &CA{serial: new(atomic.Int64)}
	ca.serial.Store(100)
	return ca, ca.make(Leaf{Name: name, Kind: kind}, nil)
}

// Intermediate makes an authority below ca.
func (ca *CA) Intermediate(name string, kind Kind) (*CA, error) {
	below := &CA{serial: ca.serial}
	return below, below.make(Leaf{Name: name, Kind: kind}, ca)
}

func (ca *CA) make(l Leaf, parent *CA) error {
	template := ca.template(l)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	pair, err := sign(template, l.Kind, parent)
	ca.Pair = pair
	return err
}

// Issue makes a certificate below ca.
func (ca *CA) Issue(l Leaf) (Pair, error) {
	template := ca.template(l)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.CRLDistributionPoints, template.OCSPServer = l.CRL, l.OCSP
	for _, name := range l.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if mailbox(name) {
			template.EmailAddresses = append(template.EmailAddresses, name)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, l.Kind, ca)
}

func mailbox(name string) bool {
	for _, r := range name {
		if r == '@' {
			return true
		}
	}
	return false
}

func (ca *CA) template(l Leaf) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(ca.serial.Add(1)),
		Subject:      pkix.Name{Country: []string{"CH"}, Organization: []string{"Spindle"}, CommonName: l.Name},
		NotBefore:    l.NotBefore, NotAfter: l.NotAfter,
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = t.NotBefore.AddDate(20, 0, 0)
	}
	return t
}

func sign(template *x509.Certificate, kind Kind, by *CA) (Pair, error) {
	key, err := generate(kind)
	if err != nil {
		return Pair{}, err
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.Cert, by.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate of %s: %w", template.Subject, err)
	}
	cert, err := x509.ParseCertificate(der)
	return Pair{Cert: cert, Key: key}, err
}

// PEM is a certificate as it stands in a file.
func PEM(certs ...*x509.Certificate) []byte {
	var all []byte
	for _, c := range certs {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return all
}

// KeyPEM is the private key in PKCS#8.
func (p Pair) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// CRL is the authority's list at a time, good for a day, in DER.
func (ca *CA) CRL(at time.Time, revoked ...*x509.Certificate) ([]byte, error) {
	list := &x509.RevocationList{Number: big.NewInt(at.Unix()), ThisUpdate: at, NextUpdate: at.Add(24 * time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: at})
	}
	return x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key)
}

// OCSP is the authority's answer about one certificate, good for a day.
func (ca *CA) OCSP(at time.Time, cert *x509.Certificate, revoked bool) ([]byte, error) {
	answer := ocsp.Response{Status: ocsp.Good, SerialNumber: cert.SerialNumber, ThisUpdate: at, NextUpdate: at.Add(24 * time.Hour)}
	if revoked {
		answer.Status, answer.RevokedAt = ocsp.Revoked, at
	}
	return ocsp.CreateResponse(ca.Cert, ca.Cert, answer, ca.Key)
}
