package session

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Users are those who may authenticate by EAP-MSCHAPv2 or XAUTH, by name.
type Users struct{ secrets map[string]UserSecret }

// UserSecret is what a password is checked against.
type UserSecret struct {
	Password Secret
	NTHash   Secret // MD4 of the password (RFC 2759 §8.3), where the password itself is not stored
}

// ParseUsers reads a file of one user a line: the name, white space, and the
// password, or nthash: and 32 hexadecimal digits. A # in front is a comment.
func ParseUsers(data []byte) (*Users, error) {
	u := &Users{secrets: make(map[string]UserSecret)}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.IndexAny(line, " \t")
		if at < 0 {
			return nil, fmt.Errorf("line %d: write NAME PASSWORD or NAME nthash:HEX", i+1)
		}
		name, password := line[:at], strings.TrimSpace(line[at:])
		if _, twice := u.secrets[name]; twice {
			return nil, fmt.Errorf("line %d: user %s stands twice", i+1, name)
		}
		secret := UserSecret{Password: Secret(password)}
		if digits, ok := strings.CutPrefix(password, "nthash:"); ok {
			hash, err := hex.DecodeString(digits)
			if err != nil || len(hash) != 16 {
				return nil, fmt.Errorf("line %d: nthash: takes 32 hexadecimal digits", i+1)
			}
			secret = UserSecret{NTHash: hash}
		}
		u.secrets[name] = secret
	}
	if len(u.secrets) == 0 {
		return nil, fmt.Errorf("no user: write one a line, NAME PASSWORD")
	}
	return u, nil
}

// Find returns the secret of a user.
func (u *Users) Find(name string) (UserSecret, bool) {
	s, ok := u.secrets[name]
	return s, ok
}

// Hashed names the users whose password itself is not stored: XAUTH cannot check
// what they say.
func (u *Users) Hashed() (names []string) {
	for name, s := range u.secrets {
		if len(s.NTHash) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
