package suite_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/c2sp/wycheproof"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

// wycheproofCase holds the fields of the files that are used here.
type wycheproofCase struct {
	ID                int `json:"tcId"`
	Result            string
	Public, Private   string
	Shared            string
	Key, IV, AAD      string
	Msg, CT, Tag      string
	Comment           string
	Seed, EK, C, K, M string // ML-KEM
}

type wycheproofFile struct {
	TestGroups []struct {
		IVSize, TagSize int
		Tests           []wycheproofCase
	}
}

func readWycheproof(t *testing.T, name string) wycheproofFile {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var f wycheproofFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWycheproofKE(t *testing.T) {
	for _, c := range []struct {
		file  string
		group wire.Group
		size  int // of the private value
		point bool
	}{
		{"x25519_test.json", wire.GroupX25519, 32, false},
		{"x448_test.json", wire.GroupX448, 56, false},
		{"ecdh_secp256r1_ecpoint_test.json", wire.GroupECP256, 32, true},
		{"ecdh_secp384r1_ecpoint_test.json", wire.GroupECP384, 48, true},
		{"ecdh_secp521r1_ecpoint_test.json", wire.GroupECP521, 66, true},
	} {
		t.Run(c.group.String(), func(t *testing.T) {
			tried := 0
			for _, g := range readWycheproof(t, c.file).TestGroups {
				for _, tc := range g.Tests {
					public := unhex(t, tc.Public)
					if c.point {
						// IKE has no marker of the form, and no other form than this.
						if len(public) != 1+2*c.size || public[0] != 4 {
							continue
						}
						public = public[1:]
					}
					checkWycheproofKE(t, c.group, c.size, tc, public)
					tried++
				}
			}
			t.Logf("%d cases", tried)
			if tried < 100 {
				t.Errorf("only %d cases", tried)
			}
		})
	}
}

func checkWycheproofKE(t *testing.T, group wire.Group, size int, tc wycheproofCase, public []byte) {
	t.Helper()
	private := bytes.TrimLeft(unhex(t, tc.Private), "\x00")
	montgomery := group == wire.GroupX25519 || group == wire.GroupX448
	if montgomery {
		private = unhex(t, tc.Private)
	}
	private = append(make([]byte, size-len(private)), private...)
	shared, err := generate(t, group, bytes.NewReader(private)).Shared(public)
	want := unhex(t, tc.Shared)
	zero := bytes.Equal(want, make([]byte, len(want)))
	switch {
	case tc.Result == "invalid" || montgomery && zero:
		if err == nil {
			t.Errorf("case %d accepted: %s", tc.ID, tc.Comment)
		}
	case err != nil || !bytes.Equal(shared, want):
		t.Errorf("case %d: %v: %s", tc.ID, err, tc.Comment)
	}
}

// RFC 7634 §2: the nonce is the salt and the explicit IV, as in GCM.
func TestWycheproofChaCha20Poly1305(t *testing.T) {
	tried := 0
	for _, g := range readWycheproof(t, "chacha20_poly1305_test.json").TestGroups {
		if g.IVSize != 96 || g.TagSize != 128 {
			continue
		}
		for _, tc := range g.Tests {
			checkWycheproofAEAD(t, "chacha20poly1305-prfsha256-x25519", tc, 16)
			tried++
		}
	}
	if tried < 100 {
		t.Errorf("only %d cases", tried)
	}
}

// The vectors are AES-GCM's own; in IKE the nonce is salt and explicit IV, and
// the tag may be cut (RFC 5282 §3, §4). A cut tag has no vectors of its own: it
// is the first part of the whole one.
func TestWycheproofGCM(t *testing.T) {
	tried := 0
	for _, g := range readWycheproof(t, "aes_gcm_test.json").TestGroups {
		if g.IVSize != 96 || g.TagSize != 128 {
			continue
		}
		for _, tc := range g.Tests {
			tried++
			for _, icv := range []int{16, 12, 8} {
				if tc.Result == "invalid" && icv != 16 {
					continue
				}
				checkWycheproofAEAD(t, fmt.Sprintf("aes%dgcm%d-prfsha256-x25519", 4*len(tc.Key), icv), tc, icv)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d cases", tried)
	}
}

func checkWycheproofAEAD(t *testing.T, keyword string, tc wycheproofCase, icv int) {
	t.Helper()
	key, iv, aad, msg := unhex(t, tc.Key), unhex(t, tc.IV), unhex(t, tc.AAD), unhex(t, tc.Msg)
	p := mustIKE(t, keyword)
	opener, err := suite.NewProtector(p, &suite.IKEKeys{
		EI: append(key[:len(key):len(key)], iv[:4]...), ER: make([]byte, len(key)+4)}, false, rand.NewChaCha8([32]byte{}))
	if err != nil {
		t.Fatal(err)
	}
	body := append(iv[4:len(iv):len(iv)], unhex(t, tc.CT)...)
	body = append(body, unhex(t, tc.Tag)[:icv]...)
	plaintext, err := opener.Open(aad, body)
	if tc.Result == "invalid" {
		if err == nil {
			t.Errorf("case %d accepted: %s", tc.ID, tc.Comment)
		}
		return
	}
	if err != nil || !bytes.Equal(plaintext, msg) {
		t.Errorf("case %d with a tag of %d: %v", tc.ID, icv, err)
	}
	body[len(body)-1] ^= 1
	if _, err := opener.Open(aad, body); err == nil {
		t.Errorf("case %d with a tag of %d, last bit changed: accepted", tc.ID, icv)
	}
}
