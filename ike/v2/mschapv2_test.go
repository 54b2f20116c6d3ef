package v2_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"spindle/ike/session"
	"spindle/ike/v2"
)

// TestMSCHAPv2Vectors are those of RFC 2759 §9.2 and RFC 3079 §3.5.3: user User,
// password clientPass.
func TestMSCHAPv2Vectors(t *testing.T) {
	peer, server := hexa(t, "21402324255E262A28295F2B3A337C7E"), hexa(t, "5B5D7C7D7B3F2F3E3C2C602132262628")
	challenge := v2.ChallengeHash(peer, server, "User")
	hash := v2.NTPasswordHash("clientPass")
	response := v2.ChallengeResponse(challenge, hash)
	hashHash := v2.MD4(hash[:])
	authenticator := v2.AuthenticatorResponse(hashHash, response, challenge)
	for _, c := range []struct {
		what string
		got  []byte
		want string
	}{
		{"Challenge", challenge[:], "D02E4386BCE91226"},
		{"PasswordHash", hash[:], "44EBBA8D5312B8D611474411F56989AE"},
		{"NT-Response", response[:], "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"},
		{"PasswordHashHash", hashHash[:], "41C00C584BD2D91C4017A2A12FA59F3F"},
		{"AuthenticatorResponse", authenticator[:], "407A5589115FD0D6209F510FE9C04566932CDA56"},
		// RFC 3079 §3.5.3 gives the server's SendStartKey128, which is the second
		// half of the MSK's 32 octets: the peer's receive key.
		{"SendStartKey128", v2.ChapMSK(hashHash, response)[16:32], "8B7CDC149B993A1BA118CB153F56DCCB"},
	} {
		if got := strings.ToUpper(hex.EncodeToString(c.got)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, got, c.want)
		}
	}
}

func hexa(t *testing.T, s string) [16]byte {
	t.Helper()
	data, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return [16]byte(data)
}

func TestUsersFile(t *testing.T) {
	u, err := session.ParseUsers([]byte("# dial-in\ncarol\t a pass phrase \n\nbob nthash:44EBBA8D5312B8D611474411F56989AE\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := u.Find("carol"); !ok || string(s.Password) != "a pass phrase" || s.NTHash != nil {
		t.Errorf("carol: %q %v", string(s.Password), ok)
	}
	if s, ok := u.Find("bob"); !ok || len(s.NTHash) != 16 || len(s.Password) != 0 {
		t.Errorf("bob: %v %v", len(s.NTHash), ok)
	}
	for text, want := range map[string]string{
		"":                   "no user",
		"carol":              "line 1: write NAME PASSWORD",
		"a b\na c":           "line 2: user a stands twice",
		"a nthash:1234":      "line 1: nthash: takes 32 hexadecimal digits",
		"a nthash:zz\nb c\n": "line 1: nthash: takes 32",
	} {
		if _, err := session.ParseUsers([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
