package config_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/cmd/internal/config"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

const key = "a shared secret of R6 and R8"

// write puts files into one directory and returns the path of the first.
func write(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, files[0])
}

func full(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func ikeProposals(t *testing.T, names ...string) []suite.Proposal {
	t.Helper()
	var list []suite.Proposal
	for _, n := range names {
		p, err := suite.ParseIKE(n)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func espProposals(t *testing.T, names ...string) []suite.Proposal {
	t.Helper()
	var list []suite.Proposal
	for _, n := range names {
		p, err := suite.ParseESP(n)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func selectors(prefixes ...string) []sadb.Selector {
	var list []sadb.Selector
	for _, p := range prefixes {
		list = append(list, sadb.PrefixSelector(netip.MustParsePrefix(p)))
	}
	return list
}

func parsed(texts ...string) (list []sadb.Selector) {
	for _, text := range texts {
		s, err := sadb.ParseSelector(text)
		if err != nil {
			panic(err)
		}
		list = append(list, s)
	}
	return list
}

// TestLoadFull: every key ends where it belongs, and what the second connection
// leaves out takes the documented default.
func TestLoadFull(t *testing.T) {
	path := write(t, "spindle.yaml", full(t), "r8.psk", key+"\n")
	got, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	ike := ikeProposals(t, "aes256gcm16-prfsha384-ecp384", "aes128gcm16-prfsha256-x25519")
	hybrid := append(ikeProposals(t, "aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024"), ike...)
	esp := espProposals(t, "aes256gcm16", "aes128gcm16")
	address := netip.MustParseAddr
	want := []session.Connection{{
		Name: "r8", Version: 2,
		Local: session.Endpoint{
			Addresses: []netip.Addr{address("192.0.2.1")},
			ID:        session.Identity{Type: session.IDIPv4, Data: []byte{192, 0, 2, 1}},
		},
		Remote: session.Endpoint{
			Addresses: []netip.Addr{address("192.0.2.2"), address("192.0.2.3")},
			Hosts:     []string{"192.0.2.2", "192.0.2.3"},
			ID:        session.Identity{Type: session.IDFQDN, Data: []byte("r8.example.net")},
		},
		PSK: session.Secret(key), IKE: ike, Start: session.StartNow,
		DPD:          session.DPD{Mode: session.DPDPeriodic, Interval: 20 * time.Second, Retry: 3 * time.Second, Tries: 4},
		NATKeepalive: 30 * time.Second, FragmentSize: 1400, Redirect: address("192.0.2.9"),
		ForceEncap: true, InvalidSPIRecovery: true, Lifetime: 4 * time.Hour,
		Children: []session.Child{{
			Name: "lan", Local: selectors("10.6.6.6/32", "2001:db8:6::/64"), Remote: selectors("10.8.8.0/24", "2001:db8:8::/64"),
			ESP: esp, Idle: 2 * time.Minute, Lifetime: sadb.Lifetime{Time: 30 * time.Minute, Bytes: 64 << 30, Packets: 1e6},
			ReplayWindow: 64, DF: sadb.DFClear,
			KeepMSS: true, PathMTU: 1400, TFC: 512, FixDSCP: true, DSCP: 34,
			AccessIn:  sadb.AccessList{{Remote: selectors("10.8.8.9/32")}, {Permit: true}},
			AccessOut: sadb.AccessList{{Permit: true, Local: parsed("10.6.6.6/32[tcp]"), Remote: parsed("10.8.8.0/24[tcp/443]", "2001:db8:8::/64")}},
		}, {
			Name: "other", Local: selectors("10.6.6.7/32"), Remote: selectors("10.8.9.1/32"),
			ESP: esp, Lifetime: sadb.Lifetime{Time: time.Hour}, ReplayWindow: 4096, Prefragment: true,
		}},
	}, {
		Name: "roadwarriors", Version: 2,
		FollowRedirect: true, MOBIKE: true, NATKeepalive: 20 * time.Second, FragmentSize: 1280,
		Local:  session.Endpoint{ID: session.Identity{Type: session.IDRFC822, Data: []byte("gw@example.net")}},
		Remote: session.Endpoint{ID: session.Identity{Type: session.IDKeyID, Data: []byte("laptops")}},
		PSK:    session.Secret("  spaces stay  "), IKE: hybrid, Start: session.StartNever,
		DPD: session.DPD{Interval: 10 * time.Second, Retry: 2 * time.Second, Tries: 5},
		Children: []session.Child{{
			Name: "all", Local: selectors("0.0.0.0/0"), Remote: selectors("10.99.0.0/16"),
			ESP: esp, Lifetime: sadb.Lifetime{Time: time.Hour}, Prefragment: true,
		}},
	}}
	same := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b session.Secret) bool { return string(a) == string(b) }),
	}
	if diff := cmp.Diff(want, got.Connections, same); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	ports := config.Datapath{
		Outside: []string{"eth1"}, Inside: []string{"eth2", "eth1"}, Workers: 2, CPUs: []int{0, 1},
		XDP: "native", UMEM: "auto", FailClosed: true, Priority: []uint8{46, 40, 12},
	}
	for _, p := range []string{"10.8.8.0/24", "10.8.9.1/32", "10.99.0.0/16", "2001:db8:8::/64"} {
		ports.Protected = append(ports.Protected, netip.MustParsePrefix(p))
	}
	if diff := cmp.Diff(ports, got.Datapath, comparePrefixes); diff != "" {
		t.Errorf("data path (-want +got):\n%s", diff)
	}
	if got.ControlUser != "nobody" || got.Metrics != netip.MustParseAddrPort("127.0.0.1:9500") {
		t.Errorf("control user %q, metrics %v", got.ControlUser, got.Metrics)
	}
	again := roundTrip(t, got, path)
	if diff := cmp.Diff(got.Connections, again.Connections, same); diff != "" {
		t.Errorf("decoded connections differ:\n%s", diff)
	}
}

// roundTrip encodes, removes every file, and decodes: the control process can
// read none.
func roundTrip(t *testing.T, c *config.Config, path string) *config.Config {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	again, err := config.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestSecretsDoNotPrint: whatever verb prints whatever part of it.
func TestSecretsDoNotPrint(t *testing.T) {
	c, err := config.Load(write(t, "spindle.yaml", full(t), "r8.psk", key))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, c.Connections, c.Connections[0], &c.Connections[0], c.Connections[0].PSK} {
			got := fmt.Sprintf(verb, v)
			for _, leak := range []string{key, fmt.Sprintf("%x", key), strings.Trim(fmt.Sprint([]byte(key)), "[]"), "spaces stay"} {
				if strings.Contains(got, leak) {
					t.Errorf("%s of %T shows the key: %s", verb, v, got)
				}
			}
		}
	}
}

func TestDecodeRefusesGarbage(t *testing.T) {
	for _, data := range [][]byte{nil, {0}, []byte("outside: [eth1]\n")} {
		if c, err := config.Decode(data); err == nil {
			t.Errorf("Decode(%q) = %v", data, c)
		}
	}
}

func TestWarnings(t *testing.T) {
	path := write(t, "spindle.yaml", full(t), "r8.psk", key)
	if err := os.Chmod(filepath.Join(filepath.Dir(path), "r8.psk"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	want := path + ":20:17: psk file " + dir + "/r8.psk is readable by everybody: chmod 600 it"
	if got := c.Warnings.Error(); got != want {
		t.Errorf("warnings:\n%s\nwant:\n%s", got, want)
	}
}

func TestRestartNeeded(t *testing.T) {
	load := func(edit ...string) *config.Config {
		t.Helper()
		c, err := config.Load(write(t, "spindle.yaml", strings.NewReplacer(edit...).Replace(full(t)), "r8.psk", key))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := load()
	if keys := load("idle: 120s", "idle: 60s").RestartNeeded(old); keys != nil {
		t.Errorf("a child's idle time needs a restart: %v", keys)
	}
	got := load("workers: 2", "workers: 1", "[eth1] ", "[eth3] ", "nobody", "daemon").RestartNeeded(old)
	if diff := cmp.Diff([]string{"outside", "workers", "control_user"}, got); diff != "" {
		t.Error(diff)
	}
}
