package suite_test

import (
	"bytes"
	"crypto/mlkem"
	"math/rand/v2"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

var kems = map[wire.Group]struct {
	name             string
	public, response int // octets
}{
	wire.GroupMLKEM768:  {"768", 1184, 1088},
	wire.GroupMLKEM1024: {"1024", 1568, 1568},
}

// RespondKE is the other side of GenerateKE in every group, and repeats itself.
func TestRespondAgrees(t *testing.T) {
	groups := append(allGroups[:len(allGroups):len(allGroups)], wire.GroupMLKEM768, wire.GroupMLKEM1024)
	for _, g := range groups {
		i := generate(t, g, rand.NewChaCha8([32]byte{1, byte(g)}))
		public, shared, err := suite.RespondKE(g, i.Public(), rand.NewChaCha8([32]byte{2}))
		if err != nil {
			t.Fatal(err)
		}
		same, err := i.Shared(public)
		if err != nil || !bytes.Equal(same, shared) || len(shared) == 0 {
			t.Errorf("%v: no agreement, %v", g, err)
		}
		again, _, err := suite.RespondKE(g, i.Public(), rand.NewChaCha8([32]byte{2}))
		if err != nil || !bytes.Equal(again, public) {
			t.Errorf("%v: not reproducible, %v", g, err)
		}
		if _, _, err := suite.RespondKE(g, i.Public()[1:], rand.NewChaCha8([32]byte{2})); err == nil {
			t.Errorf("%v: a short public value is taken", g)
		}
		if _, _, err := suite.RespondKE(g, i.Public(), bytes.NewReader(nil)); err == nil {
			t.Errorf("%v: no randomness and no error", g)
		}
	}
}

// draft-ietf-ipsecme-ikev2-mlkem: the sizes of what each side sends. FIPS 203
// §6.3: a ciphertext that was tampered with gives another value and no error.
func TestKEMSizesAndImplicitRejection(t *testing.T) {
	for g, c := range kems {
		i := generate(t, g, rand.NewChaCha8([32]byte{1}))
		response, shared, err := suite.RespondKE(g, i.Public(), rand.NewChaCha8([32]byte{2}))
		if err != nil || i.Group() != g || len(i.Public()) != c.public || len(response) != c.response || len(shared) != 32 {
			t.Errorf("%v: %v sends %d and %d octets for %d, %v", g, i.Group(), len(i.Public()), len(response), len(shared), err)
		}
		response[7] ^= 1
		other, err := i.Shared(response)
		if err != nil || bytes.Equal(other, shared) {
			t.Errorf("%v: ciphertext changed, same value: %v", g, err)
		}
		if _, err := i.Shared(response[1:]); err == nil {
			t.Errorf("%v: a short ciphertext is taken", g)
		}
	}
}

func TestWycheproofMLKEM(t *testing.T) {
	for g, c := range kems {
		valid, invalid := 0, 0
		for _, group := range readWycheproof(t, "mlkem_"+c.name+"_test.json").TestGroups {
			for _, tc := range group.Tests {
				if len(tc.Seed) != 2*mlkem.SeedSize {
					continue // a reader of randomness gives what it is asked for
				}
				ke, err := suite.GenerateKE(g, bytes.NewReader(unhex(t, tc.Seed)))
				var shared suite.Secret
				if err == nil {
					shared, err = ke.Shared(unhex(t, tc.C))
				}
				if tc.Result == "invalid" {
					invalid++
					if err == nil {
						t.Errorf("%v case %d accepted: %s", g, tc.ID, tc.Comment)
					}
					continue
				}
				valid++
				if err != nil || !bytes.Equal(ke.Public(), unhex(t, tc.EK)) || !bytes.Equal(shared, unhex(t, tc.K)) {
					t.Errorf("%v case %d: %v: %s", g, tc.ID, err, tc.Comment)
				}
			}
		}
		for _, group := range readWycheproof(t, "mlkem_"+c.name+"_encaps_test.json").TestGroups {
			for _, tc := range group.Tests {
				ciphertext, shared, err := suite.RespondKE(g, unhex(t, tc.EK), bytes.NewReader(unhex(t, tc.M)))
				if tc.Result == "invalid" {
					invalid++
					if err == nil {
						t.Errorf("%v encapsulation %d accepted: %s", g, tc.ID, tc.Comment)
					}
					continue
				}
				valid++
				if err != nil || !bytes.Equal(ciphertext, unhex(t, tc.C)) || !bytes.Equal(shared, unhex(t, tc.K)) {
					t.Errorf("%v encapsulation %d: %v: %s", g, tc.ID, err, tc.Comment)
				}
			}
		}
		if valid < 50 || invalid < 20 {
			t.Errorf("%v: only %d valid and %d invalid cases", g, valid, invalid)
		}
	}
}
