package suite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"slices"

	"spindle/ike/wire"
)

// SignatureRules say which signatures are made or accepted.
type SignatureRules struct {
	// Hashes are those of SIGNATURE_HASH_ALGORITHMS: the peer's for signing, in
	// any order; our own for verifying. Without any, only the methods that are
	// older than RFC 7427 are left.
	Hashes wire.SignatureHashAlgorithms
	PSS    bool      // sign by RSASSA-PSS where RSA is asked for
	Weak   AllowWeak // "sha1" permits signatures over SHA-1, made and accepted
}

func (r SignatureRules) sha1() bool { return slices.Contains(r.Weak, "sha1") }

// SignatureHashes are what is announced to a peer: every hash under which
// VerifyAuth accepts a signature (RFC 7427 §4, RFC 8420 §2).
func SignatureHashes(weak AllowWeak) wire.SignatureHashAlgorithms {
	list := wire.SignatureHashAlgorithms{wire.HashSHA2256, wire.HashSHA2384, wire.HashSHA2512, wire.HashIdentity}
	if (SignatureRules{Weak: weak}).sha1() {
		list = append(list, wire.HashSHA1)
	}
	return list
}

// SignAuth makes the AUTH payload of a private key over octets (RFC 7296 §2.15).
// It uses RFC 7427 when the peer announced a hash that suits the key, and else
// the method of the key's own.
func SignAuth(key crypto.Signer, octets []byte, rules SignatureRules, rand io.Reader) (wire.AUTH, error) {
	scheme, err := chooseScheme(key.Public(), rules)
	if err == nil {
		var signature []byte
		if signature, err = scheme.sign(key, octets, rand); err == nil {
			return scheme.wrap(signature)
		}
	}
	return wire.AUTH{}, fmt.Errorf("sign AUTH: %w", err)
}

// VerifyAuth checks an AUTH payload against the peer's public key. rules.Hashes
// are those that we announced: a signature under another hash is refused even
// if it is good.
func VerifyAuth(key crypto.PublicKey, octets []byte, auth wire.AUTH, rules SignatureRules) error {
	schemes, signature, err := unwrap(key, auth, rules)
	if err != nil {
		return fmt.Errorf("verify AUTH: %w", err)
	}
	for _, s := range schemes {
		if err = s.verify(key, octets, signature); err == nil {
			return nil
		}
	}
	return fmt.Errorf("verify AUTH by %v: %w", auth.Method, err)
}

var (
	errSignature = errors.New("signature does not verify")
	errKeyKind   = errors.New("key is of another kind than the signature")
	errNoHash    = errors.New("no common hash algorithm")
)

// minRSA is the shortest RSA modulus in bits (NIST SP 800-131A §3).
const minRSA = 2048

// checkKey refuses keys with which no signature is worth anything.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return fmt.Errorf("RSA key of %d bits is shorter than %d", k.N.BitLen(), minRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if _, ok := curveHash(k.Curve); !ok {
			return fmt.Errorf("ECDSA key on %s is not supported", k.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("key of type %T is not supported", key)
}

// curveHash is the hash of a curve's strength, which RFC 4754 §3 binds to it.
func curveHash(curve elliptic.Curve) (crypto.Hash, bool) {
	switch curve {
	case elliptic.P256():
		return crypto.SHA256, true
	case elliptic.P384():
		return crypto.SHA384, true
	case elliptic.P521():
		return crypto.SHA512, true
	}
	return 0, false
}

// chooseScheme takes the hash that suits the key if the peer has it, then any
// stronger or weaker one that it has.
func chooseScheme(key crypto.PublicKey, rules SignatureRules) (scheme, error) {
	if err := checkKey(key); err != nil {
		return scheme{}, err
	}
	kind := kindOf(key, rules.PSS)
	if kind == kindEd25519 {
		if !slices.Contains(rules.Hashes, wire.HashIdentity) {
			// RFC 8420 §2: Ed25519 has no method but digital signature.
			return scheme{}, fmt.Errorf("Ed25519: %w: peer announced %v", errNoHash, rules.Hashes)
		}
		return scheme{kind: kindEd25519}, nil
	}
	if len(rules.Hashes) == 0 {
		return classicScheme(key, rules)
	}
	preference := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	if k, ok := key.(*ecdsa.PublicKey); ok {
		suited, _ := curveHash(k.Curve)
		preference = slices.Insert(preference, 0, suited)
	}
	if rules.sha1() {
		preference = append(preference, crypto.SHA1)
	}
	for _, h := range preference {
		if slices.Contains(rules.Hashes, hashNumber(h)) {
			return scheme{kind: kind, hash: h}, nil
		}
	}
	return scheme{}, fmt.Errorf("%w: peer announced %v", errNoHash, rules.Hashes)
}

// classicScheme is what a peer without RFC 7427 understands: ECDSA of RFC 4754,
// and RSA, for which RFC 7296 §3.8 wants SHA-1.
func classicScheme(key crypto.PublicKey, rules SignatureRules) (scheme, error) {
	k, ok := key.(*ecdsa.PublicKey)
	if ok {
		h, _ := curveHash(k.Curve)
		return scheme{kind: kindECDSA, hash: h, classic: true}, nil
	}
	s := scheme{kind: kindRSA, hash: crypto.SHA256, classic: true}
	if rules.sha1() {
		s.hash = crypto.SHA1
	}
	return s, nil
}

func hashNumber(h crypto.Hash) wire.HashAlgorithm {
	switch h {
	case crypto.SHA1:
		return wire.HashSHA1
	case crypto.SHA256:
		return wire.HashSHA2256
	case crypto.SHA384:
		return wire.HashSHA2384
	case crypto.SHA512:
		return wire.HashSHA2512
	}
	return wire.HashIdentity
}
