package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/config"
)

// TestPeerNames (P1): addresses and names stand in the order of the file, and a
// connection to names is not one to anybody.
func TestPeerNames(t *testing.T) {
	text := strings.Replace(`outside: [eth1]
idle: 90s
connections:
  - name: r8
    local: {address: 192.0.2.1}
    remote: {addresses: [r8.example.net, 192.0.2.3, backup.example.net], id: r8.example.net}
    psk: {value: "a shared secret of some length"}
    preferred: {fail_back: 5m}
    children:
      - {name: lan, local: [10.6.6.0/24], remote: [10.8.8.0/24]}
      - {name: dmz, local: [10.6.7.0/24], remote: [10.8.9.0/24], idle: 10s}
`, "\t", "  ", -1)
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Connections[0]
	if want := []string{"r8.example.net", "192.0.2.3", "backup.example.net"}; !slices.Equal(got.Remote.Hosts, want) || got.Remote.Any() {
		t.Errorf("hosts %v, any %v", got.Remote.Hosts, got.Remote.Any())
	}
	if len(got.Remote.Addresses) != 1 || got.FailBack != 5*time.Minute {
		t.Errorf("addresses %v, fail back %v", got.Remote.Addresses, got.FailBack)
	}
	if got.Children[0].Idle != 90*time.Second || got.Children[1].Idle != 10*time.Second {
		t.Errorf("T1: idle %v and %v, want the gateway's and its own", got.Children[0].Idle, got.Children[1].Idle)
	}
}
