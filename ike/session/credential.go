package session

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

// Credential is a certificate with its private key: what we show to a peer.
type Credential struct {
	Chain []*x509.Certificate // our own first, then intermediate CAs
	Key   PrivateKey
	PSS   bool // sign by RSASSA-PSS where the key is of RSA
}

// PrivateKey signs, and prints as "secret" in every form.
type PrivateKey struct{ crypto.Signer }

func (PrivateKey) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, "secret") }
func (PrivateKey) MarshalText() ([]byte, error) { return []byte("secret"), nil }

// ParseCertificates reads all certificates of a file, in PEM or one in DER.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	rest := data
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		list = append(list, c)
	}
	if len(list) > 0 {
		return list, nil
	}
	c, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, errors.New("parse certificate: neither PEM nor DER of a certificate")
	}
	return []*x509.Certificate{c}, nil
}

// ParsePrivateKey reads a private key in PEM or DER: PKCS#8, or the older forms
// of RSA and EC keys.
func ParsePrivateKey(data []byte) (PrivateKey, error) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return PrivateKey{}, errors.New("parse private key: it is encrypted: nobody is there to type its password; store it in the clear, mode 0600")
		}
		if bytes.HasSuffix([]byte(block.Type), []byte("PRIVATE KEY")) {
			data = block.Bytes
			break
		}
	}
	if key, err := x509.ParsePKCS8PrivateKey(data); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return PrivateKey{signer}, nil
		}
		return PrivateKey{}, fmt.Errorf("parse private key: a key of type %T cannot sign", key)
	}
	if key, err := x509.ParseECPrivateKey(data); err == nil {
		return PrivateKey{key}, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(data); err == nil {
		return PrivateKey{key}, nil
	}
	return PrivateKey{}, errors.New("parse private key: neither PEM nor DER of an RSA, ECDSA or Ed25519 key")
}

// NewCredential joins a certificate, with the intermediate CAs behind it, and its key.
func NewCredential(chain []*x509.Certificate, key PrivateKey) (*Credential, error) {
	if len(chain) == 0 || key.Signer == nil {
		return nil, errors.New("credential without certificate or key")
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return nil, fmt.Errorf("the private key is not that of the certificate of %s", Subject(chain[0]))
	}
	return &Credential{Chain: chain, Key: key}, nil
}

// Subject names a certificate for the operator.
func Subject(c *x509.Certificate) string { return Identity{Type: IDDN, Data: c.RawSubject}.String() }

func issuer(c *x509.Certificate) string { return Identity{Type: IDDN, Data: c.RawIssuer}.String() }

// Names are the identities that a certificate proves (RFC 4945 §3.1): its
// subject and its alternative names.
func Names(c *x509.Certificate) []Identity {
	var list []Identity
	if len(c.Subject.ToRDNSequence()) > 0 {
		list = append(list, Identity{Type: IDDN, Data: c.RawSubject})
	}
	for _, name := range c.DNSNames {
		list = append(list, Identity{Type: IDFQDN, Data: []byte(name)})
	}
	for _, name := range c.EmailAddresses {
		list = append(list, Identity{Type: IDRFC822, Data: []byte(name)})
	}
	for _, ip := range c.IPAddresses {
		if four := ip.To4(); four != nil {
			list = append(list, Identity{Type: IDIPv4, Data: four})
		} else {
			list = append(list, Identity{Type: IDIPv6, Data: ip})
		}
	}
	return list
}

// Proves reports whether a certificate is one of the given identity. Names of
// hosts and mailboxes are compared without regard to case (RFC 4945 §3.1).
func Proves(c *x509.Certificate, id Identity) bool {
	for _, name := range Names(c) {
		if name.Equal(id) || name.Type == id.Type && (id.Type == IDFQDN || id.Type == IDRFC822) && bytes.EqualFold(name.Data, id.Data) {
			return true
		}
	}
	return false
}

// KeyKind names the kind of a public key for the operator.
func KeyKind(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
