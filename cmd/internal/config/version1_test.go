package config_test

import (
	"strings"
	"testing"

	"spindle/cmd/internal/config"
)

// TestVersion1: an old peer's connection, weak algorithms named before and after
// where they are used.
func TestVersion1(t *testing.T) {
	for _, text := range []string{
		strings.Replace(base, "    ike: [aes128gcm16-prfsha256-x25519]\n",
			"    version: 1\n    mode: aggressive\n    ike: [3des-sha1-modp1024]\n    allow_weak: [3des, sha1, modp1024, aggressive-psk]\n", 1),
		strings.Replace(base, "    ike: [aes128gcm16-prfsha256-x25519]\n",
			"    allow_weak: [aggressive-psk, modp1024, 3des, sha1]\n    ike: [3des-sha1-modp1024]\n    mode: aggressive\n    version: 1\n", 1),
	} {
		c, err := config.Load(write(t, "f.yaml", text, "r8.psk", key))
		if err != nil {
			t.Fatal(err)
		}
		conn := c.Connections[0]
		if conn.Version != 1 || !conn.V1.Aggressive || conn.IKE[0].String() != "3des-sha1-modp1024" {
			t.Errorf("%+v", conn)
		}
	}
	text := strings.Replace(base, "    ike: [aes128gcm16-prfsha256-x25519]\n", "    version: 1\n", 1)
	c, err := config.Load(write(t, "f.yaml", text, "r8.psk", key))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Connections[0].IKE {
		if !p.V1Usable() {
			t.Errorf("default %v cannot be had in IKEv1", p)
		}
	}
}
