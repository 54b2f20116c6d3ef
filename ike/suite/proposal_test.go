package suite_test

import (
	"encoding/json"
	"strings"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

func TestParseIKE(t *testing.T) {
	for in, want := range map[string]string{
		"aes256gcm16-prfsha384-ecp384":                          "",
		"aes128gcm16-prfsha256-x25519":                          "",
		"aes128gcm16-prfsha256-curve25519":                      "aes128gcm16-prfsha256-x25519",
		"AES128GCM128-PRFSHA256-ECP256":                         "aes128gcm16-prfsha256-ecp256",
		"aes192gcm8-prfsha512-modp4096":                         "",
		"aes256gcm12-prfsha256-ecp521":                          "",
		"aes256gcm16-sha384-ecp384":                             "aes256gcm16-prfsha384-ecp384",
		"aes128-sha256-modp2048":                                "",
		"aes192-sha384-modp3072":                                "",
		"aes256-sha512-prfsha256-ecp256":                        "",
		"aes256-sha512-prfsha512-ecp256":                        "aes256-sha512-ecp256",
		"ecp256-prfsha256-sha2_256-aes":                         "aes128-sha256-ecp256",
		"chacha20poly1305-prfsha256-curve448":                   "chacha20poly1305-prfsha256-x448",
		"aes128ctr-sha256-modp6144":                             "",
		"aes256ctr-sha512-modp8192":                             "",
		"aes256gcm16-prfsha384-ecp384-ke1_mlkem1024":            "",
		"ke3_mlkem768-aes128-ke1_x25519-sha256-ecp256-ke7_x448": "aes128-sha256-ecp256-ke1_x25519-ke3_mlkem768-ke7_x448",
		"aes256gcm16-prfsha384-sha256-x25519":                   "aes256gcm16-prfsha384-x25519",
	} {
		if want == "" {
			want = in
		}
		p, err := suite.ParseIKE(in)
		if err != nil {
			t.Error(err)
			continue
		}
		if p.String() != want {
			t.Errorf("%s became %s, want %s", in, p, want)
		}
		if again, err := suite.ParseIKE(p.String()); err != nil || again != p {
			t.Errorf("%s does not survive its own String: %+v, %v", in, again, err)
		}
	}
}

func TestParseESP(t *testing.T) {
	for in, want := range map[string]struct{ keyword, suite string }{
		"aes256gcm16":                    {"aes256gcm16", "aes256gcm16"},
		"aes128gcm16-ecp256-esn":         {"aes128gcm16-ecp256-esn", "aes128gcm16"},
		"aes128-sha256-ecp256":           {"aes128-sha256-ecp256", "aes128-sha256"},
		"aes256-sha512-noesn":            {"aes256-sha512", "aes256-sha512"},
		"aes192gcm-x25519":               {"aes192gcm16-x25519", "aes192gcm16"},
		"aes256gcm96-esn":                {"aes256gcm12-esn", "aes256gcm12"},
		"chacha20poly1305":               {"chacha20poly1305", "chacha20poly1305"},
		"aes192ctr-sha384":               {"aes192ctr-sha384", "aes192ctr-sha384"},
		"aes128gmac-x25519-ke1_mlkem768": {"aes128gmac-x25519-ke1_mlkem768", "aes128gmac"},
	} {
		p, err := suite.ParseESP(in)
		if err != nil {
			t.Error(err)
			continue
		}
		if p.String() != want.keyword || p.Suite() != want.suite {
			t.Errorf("%s became %s with suite %s", in, p, p.Suite())
		}
		if text, err := json.Marshal(p); err != nil || string(text) != `"`+want.keyword+`"` {
			t.Errorf("%s in JSON: %s, %v", in, text, err)
		}
	}
}

// A refusal names the word and what would be right.
func TestProposalRefusals(t *testing.T) {
	for in, want := range map[string]string{
		"":                                                        `IKE proposal "": unknown word "": encryption is one of aes128gcm16 aes192gcm16`,
		"aes256gcm16-prfsha384-ecp383":                            `unknown word "ecp383": `,
		"aes256gcm16-prfsha384-ecp256-":                           `unknown word ""`,
		"3des-sha256-modp2048":                                    `weak algorithm "3des": only for old peers, and only if the connection says allow_weak: [3des]`,
		"aes128-sha1-modp2048":                                    `weak algorithm "sha1"`,
		"aes128-sha256-modp1024":                                  `weak algorithm "modp1024": `,
		"aes128-sha256-prfmd5-ecp256":                             `weak algorithm "prfmd5": only for old peers, and only if the connection says allow_weak: [md5]`,
		"aes128-sha256-ecp192":                                    `weak and unsupported algorithm "ecp192": encryption is one of`,
		"aes128gmac-prfsha256-x25519":                             `unknown word "aes128gmac"`,
		"aes128gcm16-prfsha256-mlkem768":                          `unknown word "mlkem768"`,
		"aes128gcm16-prfsha256-ke1_mlkem768":                      `no key exchange group: name one of x25519`,
		"aes128gcm16-prfsha256-x25519-ke1_mlkem512":               `unknown word "ke1_mlkem512": `,
		"aes128gcm16-prfsha256-x25519-ke0_mlkem768":               `unknown word "ke0_mlkem768"`,
		"aes128gcm16-prfsha256-x25519-ke8_mlkem768":               `additional key exchange is one of ke1_mlkem768 ke1_mlkem1024`,
		"aes128gcm16-prfsha256-x25519-ke11_mlkem768":              `unknown word "ke11_mlkem768"`,
		"aes128gcm16-prfsha256-x25519-ke1_modp1024":               `weak algorithm "ke1_modp1024"`,
		"aes128gcm16-prfsha256-x25519-ke1_x25519":                 `key exchange x25519 twice`,
		"aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem768":  `key exchange mlkem768 twice`,
		"aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke1_mlkem1024": `"ke1_mlkem768" and "ke1_mlkem1024" are both additional key exchange 1`,
		"aes128-sha256":                                           `no key exchange group: name one of x25519 x448 ecp256 ecp384 ecp521 modp2048 modp3072 modp4096 modp6144 modp8192`,
		"aes128-modp2048":                                         `aes128 needs an integrity algorithm: name one of sha256 sha384 sha512`,
		"aes256gcm16-ecp384":                                      `no prf: name one of prfsha256 prfsha384 prfsha512`,
		"sha256-modp2048":                                         `no encryption algorithm: name one of aes128gcm16`,
		"aes128-aes256-sha256-modp2048":                           `"aes128" and "aes256" are both encryption: write two proposals`,
		"aes256gcm16-prfsha384-ecp384-esn":                        `unknown word "esn": encryption is one of`,
		"aes256gcm16-prfsha384-x25519-ecp384":                     `"x25519" and "ecp384" are both key exchange: write two proposals`,
	} {
		if _, err := suite.ParseIKE(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q\ngot  %v\nwant %s", in, err, want)
		}
	}
	for in, want := range map[string]string{
		"aes256gcm16-sha256":       `ESP proposal "aes256gcm16-sha256": aes256gcm16 brings its own integrity`,
		"aes256gcm16-prfsha256":    `unknown word "prfsha256": encryption is one of aes128gcm16 aes192gcm16 aes256gcm16 aes128gcm12 `,
		"aes128":                   `aes128 needs an integrity algorithm`,
		"aes256gcm16-esn-noesn":    `"esn" and "noesn" are both esn`,
		"null-sha256":              `weak algorithm "null"`,
		"aes128gmac-sha256":        `aes128gmac brings its own integrity`,
		"aes128ctr":                `aes128ctr needs an integrity algorithm`,
		"aes128gcm16-ke1_mlkem768": `no key exchange group`,
	} {
		if _, err := suite.ParseESP(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q\ngot  %v\nwant %s", in, err, want)
		}
	}
}

func TestStripKE(t *testing.T) {
	list := suite.StripKE([]suite.Proposal{mustESP(t, "aes256gcm16-ecp384-ke1_mlkem768"), mustESP(t, "aes256gcm16"), mustESP(t, "aes128gcm16-x25519-esn")})
	if len(list) != 2 || list[0].String() != "aes256gcm16" || list[1].String() != "aes128gcm16-esn" {
		t.Errorf("stripped to %v", list)
	}
	if list[0].Group != wire.GroupNone {
		t.Errorf("group %v left", list[0].Group)
	}
}

// FuzzParseProposal: what is read is written such that it reads the same.
func FuzzParseProposal(f *testing.F) {
	for _, s := range []string{"aes256gcm16-prfsha384-ecp384-ke1_mlkem768", "3des-md5-modp1024", "aes128-sha256-esn", "null-sha1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (suite.Proposal, error){everyWeak.ParseIKE, everyWeak.ParseESP} {
			p, err := parse(s)
			if err != nil {
				continue
			}
			if again, err := parse(p.String()); err != nil || again != p {
				t.Fatalf("%q is %v, then %v, %v", s, p, again, err)
			}
			offer := suite.Offer([]suite.Proposal{p}, nil)
			if chosen, _, err := suite.Select([]suite.Proposal{p}, offer.Proposals); err != nil || chosen != p {
				t.Fatalf("%v is not found in its own offer: %v", p, err)
			}
		}
	})
}
