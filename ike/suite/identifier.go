package suite

import (
	"crypto"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"

	"spindle/ike/wire"
)

// Object identifiers of signatures and hashes (RFC 7427 Appendix A, RFC 8420
// Appendix A, RFC 4055 §2, §3).
var (
	oidPSS     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
)

// signatureOIDs are the algorithms whose object identifier also names the hash.
var signatureOIDs = []struct {
	oid  asn1.ObjectIdentifier
	kind signatureKind
	hash crypto.Hash
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, kindRSA, crypto.SHA1},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, kindRSA, crypto.SHA256},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, kindRSA, crypto.SHA384},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, kindRSA, crypto.SHA512},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, kindECDSA, crypto.SHA1},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, kindECDSA, crypto.SHA256},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, kindECDSA, crypto.SHA384},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, kindECDSA, crypto.SHA512},
	{oidEd25519, kindEd25519, 0},
}

// hashOIDs are the hashes as parameters of PSS name them.
var hashOIDs = []struct {
	oid  asn1.ObjectIdentifier
	hash crypto.Hash
}{
	{asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, crypto.SHA1},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
}

var errIdentifier = errors.New("algorithm identifier is malformed")

// identifier is the AlgorithmIdentifier of s in DER.
func (s scheme) identifier() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		if s.kind == kindPSS {
			b.AddASN1ObjectIdentifier(oidPSS)
			s.addPSS(b)
			return
		}
		for _, row := range signatureOIDs {
			if row.kind == s.kind && row.hash == s.hash {
				b.AddASN1ObjectIdentifier(row.oid)
			}
		}
		// RFC 4055 §5: NULL for RSA. ECDSA and Ed25519 have no parameters
		// (RFC 5758 §3.2, RFC 8410 §3).
		if s.kind == kindRSA {
			b.AddASN1NULL()
		}
	})
	return b.Bytes()
}

// addPSS writes RSASSA-PSS-params (RFC 4055 §3.1): the hash, MGF1 over the same
// hash, and a salt as long. The trailer is the default and so left out.
func (s scheme) addPSS(b *cryptobyte.Builder) {
	hash := func(b *cryptobyte.Builder) {
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, row := range hashOIDs {
				if row.hash == s.hash {
					b.AddASN1ObjectIdentifier(row.oid)
				}
			}
			b.AddASN1NULL()
		})
	}
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		if s.hash == crypto.SHA1 {
			return // all is default: SHA-1, MGF1 over it, 20 octets
		}
		b.AddASN1(explicit(0), hash)
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidMGF1)
				hash(b)
			})
		})
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(s.hash.Size())) })
	})
}

func explicit(n uint8) tags.Tag { return tags.Tag(n).ContextSpecific().Constructed() }

// parseSignature splits the data of a digital signature (RFC 7427 §3).
func parseSignature(data []byte) (scheme, []byte, error) {
	s := cryptobyte.String(data)
	var der, id cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !s.ReadUint8LengthPrefixed(&der) || !der.ReadASN1(&id, tags.SEQUENCE) || !der.Empty() ||
		!id.ReadASN1ObjectIdentifier(&oid) {
		return scheme{}, nil, errIdentifier
	}
	if oid.Equal(oidPSS) {
		found, ok := parsePSS(id)
		if !ok {
			return scheme{}, nil, fmt.Errorf("parameters of RSASSA-PSS: %w", errIdentifier)
		}
		return found, s, nil
	}
	// Parameters are NULL or absent; peers differ about which.
	var null cryptobyte.String
	if !id.Empty() && (!id.ReadASN1(&null, tags.NULL) || !null.Empty() || !id.Empty()) {
		return scheme{}, nil, errIdentifier
	}
	for _, row := range signatureOIDs {
		if row.oid.Equal(oid) {
			return scheme{kind: row.kind, hash: row.hash}, s, nil
		}
	}
	return scheme{}, nil, fmt.Errorf("signature algorithm %v is not supported", oid)
}

// parsePSS reads RSASSA-PSS-params. The mask must be made with the same hash,
// as everybody does, and the trailer be 1.
func parsePSS(id cryptobyte.String) (scheme, bool) {
	s := scheme{kind: kindPSS, hash: crypto.SHA1, salt: 20}
	mask := crypto.SHA1
	var params, field cryptobyte.String
	var present bool
	ok := id.ReadASN1(&params, tags.SEQUENCE) && id.Empty()
	if ok = ok && params.ReadOptionalASN1(&field, &present, explicit(0)); ok && present {
		ok = readHash(&field, &s.hash) && field.Empty()
	}
	if ok = ok && params.ReadOptionalASN1(&field, &present, explicit(1)); ok && present {
		var mgf cryptobyte.String
		var oid asn1.ObjectIdentifier
		ok = field.ReadASN1(&mgf, tags.SEQUENCE) && field.Empty() && mgf.ReadASN1ObjectIdentifier(&oid) &&
			oid.Equal(oidMGF1) && readHash(&mgf, &mask) && mgf.Empty()
	}
	trailer := 1
	ok = ok && params.ReadOptionalASN1Integer(&s.salt, explicit(2), 20) &&
		params.ReadOptionalASN1Integer(&trailer, explicit(3), 1) && params.Empty()
	// A salt of zero would let the verifier guess its length (crypto/rsa).
	return s, ok && mask == s.hash && trailer == 1 && s.salt > 0
}

// readHash reads the AlgorithmIdentifier of a hash.
func readHash(s *cryptobyte.String, hash *crypto.Hash) bool {
	var id, null cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !s.ReadASN1(&id, tags.SEQUENCE) || !id.ReadASN1ObjectIdentifier(&oid) {
		return false
	}
	if !id.Empty() && (!id.ReadASN1(&null, tags.NULL) || !null.Empty() || !id.Empty()) {
		return false
	}
	for _, row := range hashOIDs {
		if row.oid.Equal(oid) {
			*hash = row.hash
			return true
		}
	}
	return false
}

// permitted holds a peer's signature to what was announced to it.
func (s scheme) permitted(rules SignatureRules) error {
	h := hashNumber(s.hash)
	if h == wire.HashSHA1 && !rules.sha1() {
		return errors.New("signature over SHA-1 is weak: only if the connection says allow_weak: [sha1]")
	}
	if !slices.Contains(rules.Hashes, h) {
		return fmt.Errorf("signature over %v, which was not announced", h)
	}
	return nil
}
