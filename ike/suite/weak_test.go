package suite_test

import (
	"slices"
	"strings"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

// O3: what is weak is refused unless the connection names it, and then only that.
func TestWeakNeedsPermission(t *testing.T) {
	for in, needs := range map[string]string{
		"3des-sha256-modp2048":         "3des",
		"des-sha256-modp2048":          "des",
		"aes128-sha1-modp2048":         "sha1",
		"aes128-sha256-prfsha1-ecp256": "sha1",
		"aes128-md5-modp2048":          "md5",
		"aes128-sha256-modp1536":       "modp1536",
		"3des-md5-modp1024":            "3des md5 modp1024",
		"des-sha-modp768":              "des sha1 modp768",
	} {
		permitted := suite.AllowWeak(strings.Fields(needs))
		if err := permitted.Check(); err != nil {
			t.Error(err)
		}
		p, err := permitted.ParseIKE(in)
		if err != nil || strings.Join(p.Weak(), " ") != needs {
			t.Errorf("%s needs %v, %v", in, p.Weak(), err)
		}
		if again, err := permitted.ParseIKE(p.String()); err != nil || again != p {
			t.Errorf("%s does not survive its own String: %v, %v", in, again, err)
		}
		for i := range permitted {
			fewer := slices.Delete(slices.Clone(permitted), i, i+1)
			if _, err := fewer.ParseIKE(in); err == nil || !strings.Contains(err.Error(), "allow_weak: ["+permitted[i]+"]") {
				t.Errorf("%s with %v: %v", in, fewer, err)
			}
		}
	}
	if p, err := (suite.AllowWeak{"null", "sha1"}).ParseESP("null-sha1"); err != nil || p.Suite() != "null-sha1" {
		t.Errorf("null-sha1: %v, %v", p, err)
	}
	if _, err := everyWeak.ParseIKE("null-sha256-modp2048"); err == nil {
		t.Error("NULL protects IKE messages")
	}
	if err := (suite.AllowWeak{"3des", "aes128"}).Check(); err == nil || !strings.Contains(err.Error(), `allow_weak "aes128": name one of 3des des null sha1 md5`) {
		t.Error(err)
	}
	if p := mustIKE(t, "aes128-sha256-ecp256"); len(p.Weak()) != 0 {
		t.Errorf("%v is weak: %v", p, p.Weak())
	}
}

// The KEYMAT of each suite, as the RFCs give it: RFC 4106 §8.1, RFC 7634 §2,
// RFC 3686 §5.1, RFC 4543 §5.4, RFC 4868 §2.1.1, RFC 2403, RFC 2404, RFC 2410.
func TestKeymatLengths(t *testing.T) {
	want := map[string]int{
		"aes128gcm16": 20, "aes192gcm12": 28, "aes256gcm8": 36, "chacha20poly1305": 36,
		"aes128gmac": 20, "aes192gmac": 28, "aes256gmac": 36,
		"aes128-sha256": 48, "aes192-sha384": 72, "aes256-sha512": 96,
		"aes128ctr-sha256": 52, "aes192ctr-sha384": 76, "aes256ctr-sha512": 100,
		"3des-md5": 40, "des-sha1": 28, "null-sha1": 20, "null-sha256": 32, "aes128-sha1": 36,
	}
	seen := map[string]bool{}
	for _, p := range suite.ESPSuites() {
		if seen[p.Suite()] {
			t.Errorf("%s twice", p.Suite())
		}
		seen[p.Suite()] = true
		if again, err := everyWeak.ParseESP(p.Suite()); err != nil || again != p {
			t.Errorf("%s reads as %v, %v", p.Suite(), again, err)
		}
		n, err := p.KeymatLen()
		if w, ok := want[p.Suite()]; err != nil || ok && w != n || n == 0 {
			t.Errorf("%s takes %d octets of KEYMAT, %v", p.Suite(), n, err)
		}
	}
	for s := range want {
		if !seen[s] {
			t.Errorf("%s is missing", s)
		}
	}
	// 9 GCM, 3 GMAC, ChaCha20; 3 CBC, 3 CTR, 3DES, DES and NULL with 5 hashes.
	if len(seen) != 13+9*5 {
		t.Errorf("%d suites", len(seen))
	}
	keys, err := suite.DeriveChild(wire.PRFHMACSHA2256, []byte("d"), mustESP(t, "chacha20poly1305"), nil, make([]byte, 32), make([]byte, 32))
	if err != nil || len(keys.Initiator) != 36 || len(keys.Responder) != 36 {
		t.Errorf("%d and %d octets, %v", len(keys.Initiator), len(keys.Responder), err)
	}
}
