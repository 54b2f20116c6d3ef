package suite_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

// AlgorithmIdentifiers as RFC 7427 Appendix A and RFC 8420 Appendix A print them.
const (
	idRSASHA256   = "300d06092a864886f70d01010b0500"
	idRSASHA384   = "300d06092a864886f70d01010c0500"
	idRSASHA512   = "300d06092a864886f70d01010d0500"
	idRSASHA1     = "300d06092a864886f70d0101050500"
	idECDSASHA256 = "300a06082a8648ce3d040302"
	idECDSASHA384 = "300a06082a8648ce3d040303"
	idECDSASHA512 = "300a06082a8648ce3d040304"
	idEd25519     = "300506032b6570"
	idPSSSHA256   = "304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d010108" +
		"300d06096086480165030402010500a203020120a303020101"
	idPSSDefault = "300d06092a864886f70d01010a3000" // SHA-1
)

func digitalSignature(t *testing.T, identifier string, signature []byte) wire.AUTH {
	t.Helper()
	id := unhex(t, identifier)
	return wire.AUTH{Method: wire.AuthDigitalSignature, Data: append(append([]byte{byte(len(id))}, id...), signature...)}
}

var strong = suite.SignatureRules{Hashes: suite.SignatureHashes(nil)}

// The published vectors, in the AUTH payload that would carry them.
func TestWycheproofSignatures(t *testing.T) {
	for file, wrap := range map[string]func(signature []byte) wire.AUTH{
		"rsa_signature_2048_sha256_test.json":    func(s []byte) wire.AUTH { return digitalSignature(t, idRSASHA256, s) },
		"rsa_signature_2048_sha512_test.json":    func(s []byte) wire.AUTH { return digitalSignature(t, idRSASHA512, s) },
		"rsa_signature_2048_sha384_test.json":    func(s []byte) wire.AUTH { return digitalSignature(t, idRSASHA384, s) },
		"rsa_pss_2048_sha256_mgf1_32_test.json":  func(s []byte) wire.AUTH { return digitalSignature(t, idPSSSHA256, s) },
		"ecdsa_secp256r1_sha256_test.json":       func(s []byte) wire.AUTH { return digitalSignature(t, idECDSASHA256, s) },
		"ecdsa_secp384r1_sha384_test.json":       func(s []byte) wire.AUTH { return digitalSignature(t, idECDSASHA384, s) },
		"ecdsa_secp256r1_sha256_p1363_test.json": func(s []byte) wire.AUTH { return wire.AUTH{Method: wire.AuthECDSASHA256P256, Data: s} },
		"ecdsa_secp384r1_sha384_p1363_test.json": func(s []byte) wire.AUTH { return wire.AUTH{Method: wire.AuthECDSASHA384P384, Data: s} },
		"ecdsa_secp521r1_sha512_p1363_test.json": func(s []byte) wire.AUTH { return wire.AUTH{Method: wire.AuthECDSASHA512P521, Data: s} },
		"ed25519_test.json":                      func(s []byte) wire.AUTH { return digitalSignature(t, idEd25519, s) },
	} {
		t.Run(file, func(t *testing.T) { checkSignatures(t, file, wrap) })
	}
}

func checkSignatures(t *testing.T, file string, wrap func([]byte) wire.AUTH) {
	b, err := fs.ReadFile(wycheproof.TestVectors, file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		TestGroups []struct {
			PublicKeyDER string `json:"publicKeyDer"`
			Tests        []struct {
				ID       int `json:"tcId"`
				Msg, Sig string
				Result   string
				Comment  string
			}
		}
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, g := range vectors.TestGroups {
		key, err := x509.ParsePKIXPublicKey(unhex(t, g.PublicKeyDER))
		if err != nil {
			continue // a key that no certificate could carry either
		}
		for _, tc := range g.Tests {
			tried++
			err := suite.VerifyAuth(key, unhex(t, tc.Msg), wrap(unhex(t, tc.Sig)), strong)
			if tc.Result != "acceptable" && (err == nil) != (tc.Result == "valid") {
				t.Errorf("case %d is %s: %v: %s", tc.ID, tc.Result, err, tc.Comment)
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d cases", tried)
	}
}

// signers are one key of each kind, made once.
func signers(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521(), "p224": elliptic.P224()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["ed25519"] = ed
	for name, bits := range map[string]int{"rsa": 2048, "short rsa": 1024} {
		if keys[name], err = rsa.GenerateKey(rand.Reader, bits); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// What is signed follows from the key and from what the peer announced
// (RFC 7427 §4), and verifies; with anything changed it does not.
func TestSignAuth(t *testing.T) {
	keys := signers(t)
	all := strong.Hashes
	for _, c := range []struct {
		key    string
		rules  suite.SignatureRules
		method wire.AuthMethod
		id     string
	}{
		{"rsa", suite.SignatureRules{Hashes: all}, wire.AuthDigitalSignature, idRSASHA256},
		{"rsa", suite.SignatureRules{Hashes: all[1:2]}, wire.AuthDigitalSignature, idRSASHA384},
		{"rsa", suite.SignatureRules{Hashes: all[2:]}, wire.AuthDigitalSignature, idRSASHA512},
		{"rsa", suite.SignatureRules{Hashes: all, PSS: true}, wire.AuthDigitalSignature, strings.NewReplacer("3046", "3041", "3039", "3034", "a303020101", "").Replace(idPSSSHA256)},
		{"rsa", suite.SignatureRules{}, wire.AuthRSASignature, ""},
		{"rsa", suite.SignatureRules{Weak: suite.AllowWeak{"sha1"}}, wire.AuthRSASignature, ""},
		{"rsa", suite.SignatureRules{Hashes: wire.SignatureHashAlgorithms{wire.HashSHA1}, Weak: suite.AllowWeak{"sha1"}}, wire.AuthDigitalSignature, idRSASHA1},
		{"rsa", suite.SignatureRules{Hashes: wire.SignatureHashAlgorithms{wire.HashSHA1}, Weak: suite.AllowWeak{"sha1"}, PSS: true}, wire.AuthDigitalSignature, idPSSDefault},
		{"p256", suite.SignatureRules{Hashes: all}, wire.AuthDigitalSignature, idECDSASHA256},
		{"p384", suite.SignatureRules{Hashes: all}, wire.AuthDigitalSignature, idECDSASHA384},
		{"p521", suite.SignatureRules{Hashes: all}, wire.AuthDigitalSignature, idECDSASHA512},
		{"p521", suite.SignatureRules{Hashes: all[:1]}, wire.AuthDigitalSignature, idECDSASHA256},
		{"p256", suite.SignatureRules{}, wire.AuthECDSASHA256P256, ""},
		{"p384", suite.SignatureRules{}, wire.AuthECDSASHA384P384, ""},
		{"p521", suite.SignatureRules{}, wire.AuthECDSASHA512P521, ""},
		{"ed25519", suite.SignatureRules{Hashes: all}, wire.AuthDigitalSignature, idEd25519},
	} {
		key := keys[c.key]
		auth, err := suite.SignAuth(key, []byte("octets"), c.rules, rand.Reader)
		if err != nil || auth.Method != c.method {
			t.Errorf("%s: %v, %v", c.key, auth.Method, err)
			continue
		}
		if c.id != "" && !bytes.HasPrefix(auth.Data[1:], unhex(t, c.id)) {
			t.Errorf("%s: %x does not start with %s", c.key, auth.Data, c.id)
		}
		accept := suite.SignatureRules{Hashes: suite.SignatureHashes(c.rules.Weak), Weak: c.rules.Weak}
		if err := suite.VerifyAuth(key.Public(), []byte("octets"), auth, accept); err != nil {
			t.Errorf("%s %v %s: %v", c.key, auth.Method, c.id, err)
		}
		checkRefused(t, keys, c.key, auth, accept)
	}
}

// checkRefused changes one thing at a time about a good AUTH payload.
func checkRefused(t *testing.T, keys map[string]crypto.Signer, name string, auth wire.AUTH, rules suite.SignatureRules) {
	t.Helper()
	public := keys[name].Public()
	if suite.VerifyAuth(public, []byte("other octets"), auth, rules) == nil {
		t.Errorf("%s: other octets", name)
	}
	for other, key := range keys {
		if other != name && suite.VerifyAuth(key.Public(), []byte("octets"), auth, rules) == nil {
			t.Errorf("%s: verifies with %s", name, other)
		}
	}
	for i := 0; i < len(auth.Data); i += 3 {
		changed := wire.AUTH{Method: auth.Method, Data: bytes.Clone(auth.Data)}
		changed.Data[i] ^= 0x10
		if suite.VerifyAuth(public, []byte("octets"), changed, rules) == nil {
			t.Errorf("%s: octet %d changed", name, i)
		}
		if suite.VerifyAuth(public, []byte("octets"), wire.AUTH{Method: auth.Method, Data: auth.Data[:i]}, rules) == nil {
			t.Errorf("%s: cut at %d", name, i)
		}
	}
	for m := range wire.AuthMethod(20) {
		if m != auth.Method && suite.VerifyAuth(public, []byte("octets"), wire.AUTH{Method: m, Data: auth.Data}, rules) == nil {
			t.Errorf("%s: as method %v", name, m)
		}
	}
}

func TestSignAuthRefuses(t *testing.T) {
	keys := signers(t)
	for name, c := range map[string]struct {
		key   string
		rules suite.SignatureRules
		want  string
	}{
		"a short key":         {"short rsa", strong, "RSA key of 1024 bits is shorter than 2048"},
		"P-224":               {"p224", strong, "ECDSA key on P-224 is not supported"},
		"Ed25519 without":     {"ed25519", suite.SignatureRules{Hashes: strong.Hashes[:3]}, "Ed25519: no common hash algorithm: peer announced [sha256 sha384 sha512]"},
		"Ed25519, no hashes":  {"ed25519", suite.SignatureRules{}, "Ed25519: no common hash algorithm"},
		"RSA, identity alone": {"rsa", suite.SignatureRules{Hashes: strong.Hashes[3:]}, "no common hash algorithm: peer announced [identity]"},
		"SHA-1 unpermitted":   {"p256", suite.SignatureRules{Hashes: wire.SignatureHashAlgorithms{wire.HashSHA1}}, "no common hash algorithm: peer announced [sha1]"},
	} {
		_, err := suite.SignAuth(keys[c.key], []byte("octets"), c.rules, rand.Reader)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A signature may be good and yet not what was announced, or weak.
func TestVerifyAuthKeepsToTheRules(t *testing.T) {
	keys := signers(t)
	sha1 := suite.SignatureRules{Hashes: wire.SignatureHashAlgorithms{wire.HashSHA1}, Weak: suite.AllowWeak{"sha1"}}
	auth, err := suite.SignAuth(keys["rsa"], []byte("octets"), sha1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	err = suite.VerifyAuth(keys["rsa"].Public(), []byte("octets"), auth, strong)
	if err == nil || !strings.Contains(err.Error(), "only if the connection says allow_weak: [sha1]") {
		t.Errorf("SHA-1: %v", err)
	}
	auth, err = suite.SignAuth(keys["rsa"], []byte("octets"), suite.SignatureRules{Weak: sha1.Weak}, rand.Reader)
	if err != nil || suite.VerifyAuth(keys["rsa"].Public(), []byte("octets"), auth, strong) == nil {
		t.Errorf("SHA-1 by the classic method: %v", err)
	}
	auth, err = suite.SignAuth(keys["p256"], []byte("octets"), strong, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	err = suite.VerifyAuth(keys["p256"].Public(), []byte("octets"), auth, suite.SignatureRules{Hashes: strong.Hashes[1:]})
	if err == nil || !strings.Contains(err.Error(), "signature over sha256, which was not announced") {
		t.Errorf("not announced: %v", err)
	}
	if err := suite.VerifyAuth("no key", []byte("octets"), auth, strong); err == nil {
		t.Error("a key of no kind verifies")
	}
}

// FuzzVerifyAuth must refuse whatever it is given: nobody knows the key.
func FuzzVerifyAuth(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	for _, id := range []string{idRSASHA256, idPSSSHA256, idPSSDefault, idEd25519, idECDSASHA256} {
		f.Add(uint8(wire.AuthDigitalSignature), append([]byte{byte(len(id) / 2)}, mustHex(id)...))
	}
	rules := suite.SignatureRules{Hashes: suite.SignatureHashes(suite.AllowWeak{"sha1"}), Weak: suite.AllowWeak{"sha1"}}
	f.Fuzz(func(t *testing.T, method uint8, data []byte) {
		if suite.VerifyAuth(key.Public(), []byte("octets"), wire.AUTH{Method: wire.AuthMethod(method), Data: data}, rules) == nil {
			t.Fatalf("%x verifies", data)
		}
	})
}
