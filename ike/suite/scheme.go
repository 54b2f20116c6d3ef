package suite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"io"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"spindle/ike/wire"
)

// signatureKind is an algorithm of signatures without its hash.
type signatureKind uint8

const (
	kindRSA signatureKind = iota + 1 // RSASSA-PKCS1-v1_5
	kindPSS
	kindECDSA
	kindEd25519
)

// scheme is one way to sign. The classic ones are methods of their own, whose
// ECDSA is r | s, each as long as the curve's order (RFC 4754 §7); in RFC 7427
// it is the DER of both, and an AlgorithmIdentifier stands in front.
type scheme struct {
	kind    signatureKind
	hash    crypto.Hash // 0 for Ed25519
	salt    int         // of PSS in octets; when signing always the length of the hash
	classic bool
}

func kindOf(key crypto.PublicKey, pss bool) signatureKind {
	switch key.(type) {
	case *rsa.PublicKey:
		if pss {
			return kindPSS
		}
		return kindRSA
	case *ecdsa.PublicKey:
		return kindECDSA
	case ed25519.PublicKey:
		return kindEd25519
	}
	return 0
}

// digest is what goes under the signature: Ed25519 signs the octets themselves
// (RFC 8420 §2).
func (s scheme) digest(octets []byte) []byte {
	if s.hash == 0 {
		return octets
	}
	h := s.hash.New()
	h.Write(octets)
	return h.Sum(nil)
}

func (s scheme) sign(key crypto.Signer, octets []byte, rand io.Reader) ([]byte, error) {
	var options crypto.SignerOpts = s.hash
	if s.kind == kindPSS {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash}
	}
	signature, err := key.Sign(rand, s.digest(octets), options)
	if err != nil || s.kind != kindECDSA || !s.classic {
		return signature, err
	}
	size := orderSize(key.Public().(*ecdsa.PublicKey))
	var pair, integers cryptobyte.String = signature, nil
	x, y := new(big.Int), new(big.Int)
	if !pair.ReadASN1(&integers, asn1.SEQUENCE) || !integers.ReadASN1Integer(x) || !integers.ReadASN1Integer(y) {
		return nil, errSignature
	}
	signature = make([]byte, 2*size)
	x.FillBytes(signature[:size])
	y.FillBytes(signature[size:])
	return signature, nil
}

func orderSize(key *ecdsa.PublicKey) int { return (key.Params().N.BitLen() + 7) / 8 }

// verify checks a signature by one scheme. The kind is of the key, unless a
// peer lies about it.
func (s scheme) verify(key crypto.PublicKey, octets, signature []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	good := false
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch s.kind {
		case kindRSA:
			good = rsa.VerifyPKCS1v15(k, s.hash, s.digest(octets), signature) == nil
		case kindPSS:
			options := &rsa.PSSOptions{SaltLength: s.salt, Hash: s.hash}
			good = rsa.VerifyPSS(k, s.hash, s.digest(octets), signature, options) == nil
		default:
			return errKeyKind
		}
	case *ecdsa.PublicKey:
		if s.kind != kindECDSA {
			return errKeyKind
		}
		if s.classic {
			signature = joinPair(signature, orderSize(k))
		}
		good = ecdsa.VerifyASN1(k, s.digest(octets), signature)
	case ed25519.PublicKey:
		if s.kind != kindEd25519 {
			return errKeyKind
		}
		good = ed25519.Verify(k, octets, signature)
	}
	if !good {
		return errSignature
	}
	return nil
}

// joinPair is the DER of r | s, nil when its length is wrong.
func joinPair(signature []byte, size int) []byte {
	if len(signature) != 2*size {
		return nil
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(signature[:size]))
		b.AddASN1BigInt(new(big.Int).SetBytes(signature[size:]))
	})
	der, err := b.Bytes()
	if err != nil {
		return nil
	}
	return der
}

// wrap makes the AUTH payload around a signature. Data of a digital signature
// starts with the length of the AlgorithmIdentifier (RFC 7427 §3):
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| ASN.1 Length  | AlgorithmIdentifier ASN.1 object              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~        AlgorithmIdentifier ASN.1 object continuing            ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                         Signature Value                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
func (s scheme) wrap(signature []byte) (wire.AUTH, error) {
	if !s.classic {
		id, err := s.identifier()
		if err != nil {
			return wire.AUTH{}, err
		}
		data := append([]byte{byte(len(id))}, id...)
		return wire.AUTH{Method: wire.AuthDigitalSignature, Data: append(data, signature...)}, nil
	}
	auth := wire.AUTH{Method: wire.AuthRSASignature, Data: signature}
	if s.kind == kindECDSA {
		auth.Method = map[crypto.Hash]wire.AuthMethod{crypto.SHA256: wire.AuthECDSASHA256P256,
			crypto.SHA384: wire.AuthECDSASHA384P384, crypto.SHA512: wire.AuthECDSASHA512P521}[s.hash]
	}
	return auth, nil
}

// unwrap reads which schemes an AUTH payload may be signed by. It is more than
// one only for the classic RSA method, which does not name its hash.
func unwrap(key crypto.PublicKey, auth wire.AUTH, rules SignatureRules) ([]scheme, []byte, error) {
	switch auth.Method {
	case wire.AuthDigitalSignature:
		s, signature, err := parseSignature(auth.Data)
		if err != nil {
			return nil, nil, err
		}
		if err := s.permitted(rules); err != nil {
			return nil, nil, err
		}
		return []scheme{s}, signature, nil
	case wire.AuthRSASignature:
		hashes := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
		if rules.sha1() {
			hashes = append(hashes, crypto.SHA1)
		}
		var list []scheme
		for _, h := range hashes {
			list = append(list, scheme{kind: kindRSA, hash: h, classic: true})
		}
		return list, auth.Data, nil
	case wire.AuthECDSASHA256P256, wire.AuthECDSASHA384P384, wire.AuthECDSASHA512P521:
		s := scheme{kind: kindECDSA, hash: classicHash(auth.Method), classic: true}
		k, ok := key.(*ecdsa.PublicKey)
		if !ok {
			return nil, nil, errKeyKind
		}
		// RFC 4754 §3: each method is one curve with one hash.
		if h, _ := curveHash(k.Curve); h != s.hash {
			return nil, nil, fmt.Errorf("%w: %v by a key on %s", errKeyKind, auth.Method, k.Params().Name)
		}
		return []scheme{s}, auth.Data, nil
	}
	return nil, nil, fmt.Errorf("auth method %v is no signature that is supported", auth.Method)
}

func classicHash(m wire.AuthMethod) crypto.Hash {
	switch m {
	case wire.AuthECDSASHA384P384:
		return crypto.SHA384
	case wire.AuthECDSASHA512P521:
		return crypto.SHA512
	}
	return crypto.SHA256
}
