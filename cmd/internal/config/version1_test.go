package config_test

import (
	"slices"
	"strings"
	"testing"

	"spindle/cmd/internal/config"
	"spindle/ike/session"
	"spindle/ike/suite"
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

// old is base with version 1 and other lines in the place of its local, remote and psk.
func old(lines string) string {
	return strings.NewReplacer("    local: {address: 192.0.2.1}\n    remote: {addresses: [192.0.2.2]}\n    psk: {file: r8.psk}\n    ike: [aes128gcm16-prfsha256-x25519]\n",
		"    version: 1\n"+lines).Replace(base)
}

const (
	withPapers = "    cert: {file: r6.pem}\n    key: {file: r6.key}\n"
	withPSK    = "    psk: {file: r8.psk}\n"
	withUsers  = "    users: {file: r8.users}\n"
	withXAuth  = "    xauth: {user: carol, password: {value: tiramisu}}\n"
	withCA     = "    ca: [{file: ca.pem}]\n"
)

// TestVersion1Auth: who proves what, and by which of IKEv1's methods that is said.
func TestVersion1Auth(t *testing.T) {
	files := append(papers(t), "r8.psk", key, "r8.users", "carol tiramisu\n")
	for _, c := range []struct {
		name, lines string
		initiator   bool
		want        suite.V1Auth
	}{
		{"psk", "    local: {address: 192.0.2.1}\n    remote: {addresses: [192.0.2.2]}\n" + withPSK, true, suite.V1AuthPSK},
		{"rsa", "    local: {address: 192.0.2.1, auth: cert}\n    remote: {addresses: [192.0.2.2], auth: cert}\n" + withPapers + withCA, true, suite.V1AuthRSA},
		{"server", "    local: {address: 192.0.2.1}\n    remote: {addresses: any, id: any, auth: xauth}\n" + withPSK + withUsers, false, suite.V1AuthXAuthInitPSK},
		{"server by certificates", "    local: {address: 192.0.2.1, auth: cert}\n    remote: {addresses: any, id: any, auth: xauth}\n" + withPapers + withCA + withUsers, false, suite.V1AuthXAuthInitRSA},
		{"hybrid server", "    local: {address: 192.0.2.1, auth: cert}\n    remote: {addresses: any, id: any, auth: xauth}\n" + withPapers + withUsers, false, suite.V1AuthHybridInitRSA},
		{"client", "    local: {address: 192.0.2.1, auth: xauth}\n    remote: {addresses: [192.0.2.2]}\n" + withPSK + withXAuth, true, suite.V1AuthXAuthInitPSK},
		{"client by certificates", "    local: {address: 192.0.2.1, auth: xauth}\n    remote: {addresses: [192.0.2.2], auth: cert}\n" + withPapers + withCA + withXAuth, true, suite.V1AuthXAuthInitRSA},
		{"hybrid client", "    local: {address: 192.0.2.1, auth: xauth}\n    remote: {addresses: [192.0.2.2], auth: cert}\n" + withCA + withXAuth, true, suite.V1AuthHybridInitRSA},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := config.Load(write(t, append([]string{"f.yaml", old(c.lines)}, files...)...))
			if err != nil {
				t.Fatal(err)
			}
			conn := got.Connections[0]
			if auths := conn.V1.Auths(c.initiator); !slices.Equal(auths, []suite.V1Auth{c.want}) {
				t.Errorf("auths %v, want %v", auths, c.want)
			}
			if answers := conn.Start == session.StartNever; answers != conn.V1.XAuth {
				t.Errorf("start: %v", conn.Start)
			}
		})
	}
}

const vpn = "    easyvpn: {connect: auto, group: road, key: {file: r8.psk}, user: carol, password: {value: tiramisu}, mode: network-extension}\n" +
	"    remote: {addresses: [192.0.2.2, gw.example.net]}\n"

// TestEasyVPN: few keys settle the whole connection (E).
func TestEasyVPN(t *testing.T) {
	load := func(text string) session.Connection {
		t.Helper()
		c, err := config.Load(write(t, "f.yaml", text, "r8.psk", key))
		if err != nil {
			t.Fatal(err)
		}
		return c.Connections[0]
	}
	text := old(vpn + "    allow_weak: [aggressive-psk]\n")
	c := load(strings.Replace(text, "        remote: [10.8.8.0/24]\n", "", 1))
	v := c.V1
	if c.Version != 1 || !v.Aggressive || v.User != "carol" || string(v.Password) != "tiramisu" || !v.Config || !v.Extend || c.Translate {
		t.Errorf("%+v", v)
	}
	if c.Local.ID.String() != "keyid:road" || !c.Remote.ID.IsZero() || len(c.Remote.Hosts) != 2 || len(c.PSK) == 0 || c.Start != session.StartNow {
		t.Errorf("%v %+v %v", c.Local.ID, c.Remote, c.Start)
	}
	if child := c.Children[0]; len(child.Local) != 1 || len(child.Remote) != 0 {
		t.Errorf("child %+v", child)
	}
	text = strings.NewReplacer("connect: auto", "connect: manual", ", mode: network-extension", "", "        local: [10.6.6.0/24]\n", "", "    version: 1\n", "").Replace(text)
	if c := load(text); c.Start != session.StartNever || !c.Translate || c.V1.Extend || c.Version != 1 || len(c.Children[0].Local) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestVersion1Refusals(t *testing.T) {
	files := append(papers(t), "r8.psk", key, "r8.users", "carol tiramisu\n", "hashed.users", "dave nthash:00112233445566778899aabbccddeeff\n")
	dialIn := "    local: {address: 192.0.2.1}\n    remote: {addresses: any, id: any, auth: xauth}\n" + withPSK
	dialOut := "    local: {address: 192.0.2.1, auth: xauth}\n    remote: {addresses: [192.0.2.2]}\n" + withPSK
	plain := "    local: {address: 192.0.2.1}\n    remote: {addresses: [192.0.2.2]}\n" + withPSK
	weak := vpn + "    allow_weak: [aggressive-psk]\n"
	for _, c := range []struct{ name, text, want string }{
		{"xauth without users", old(dialIn), `the connection lacks the key "users": remote has auth: xauth`},
		{"xauth with hashes", old(dialIn + "    users: {file: hashed.users}\n"), "users: XAUTH needs the password itself, and that of dave is stored as nthash"},
		{"xauth server that begins", old(dialIn + withUsers + "    start: now\n"), "start: remote auth: xauth asks whoever begins for a password, so only the peer can: write never"},
		{"xauth client without a name", old(dialOut), `the connection lacks the key "xauth": local has auth: xauth`},
		{"xauth of no use", old(plain + withXAuth), "xauth is of no use: local does not have auth: xauth"},
		{"xauth on both sides", old(strings.NewReplacer("[192.0.2.2]", "[192.0.2.2], auth: xauth", withPSK, "").Replace(dialOut) + withXAuth + withUsers), "auth: xauth on both sides: the side that asks for the password has psk or cert"},
		{"client from anywhere", old(strings.Replace(dialOut, "[192.0.2.2]", "any, id: any", 1) + withXAuth), "only the client of XAUTH begins, and it needs to know where"},
		{"mixed", old("    local: {address: 192.0.2.1, auth: cert}\n    remote: {addresses: [192.0.2.2]}\n" + withPSK + withPapers), "version 1 authenticates both sides in one way"},
		{"empty user", old(dialOut + "    xauth: {user: \"\", password: {value: x}}\n"), "xauth user: write 1 to 255 bytes"},
		{"empty password", old(dialOut + "    xauth: {user: carol, password: {value: \"\"}}\n"), "password value is empty: an empty password protects nothing"},
		{"mode config of no use", old(plain + "    mode_config: push\n"), "mode_config is of no use: there is neither pool nor virtual_ip: request"},
		{"mode config word", old(plain + "    mode_config: both\n"), `mode_config: "both" is none of its words: write pull or push`},
		{"pool of IPv6", old(plain + "    pool: {addresses: [\"fd00::/64\"]}\n"), "pool: mode config gives IPv4 addresses only, and there is none in pool.addresses"},
		{"mode config in IKEv2", strings.Replace(base, "    psk:", "    mode_config: push\n    psk:", 1), "mode_config is of IKEv1: add version: 1, or leave it out"},
		{"eap", old("    local: {address: 192.0.2.1, auth: cert}\n    remote: {addresses: [192.0.2.2], auth: eap}\n" + withPapers + withUsers), "auth: eap is of IKEv2: version 1 has no such thing, leave it out"},
		{"reauth", old(plain + "    reauth: 1h\n"), "reauth is of IKEv2: version 1 has no such thing, leave it out"},
		{"easyvpn not allowed", old(vpn), "easyvpn uses aggressive mode with the group's key: whoever asks can try keys offline, and whoever has the key can pose as the server and read the password: add allow_weak: [aggressive-psk]"},
		{"easyvpn and psk", old(weak + withPSK), "psk is settled by easyvpn: leave it out"},
		{"easyvpn and start", old(weak + "    start: traffic\n"), "start is settled by easyvpn: leave it out"},
		{"easyvpn and id", old(weak + "    local: {id: road.example.net}\n"), "easyvpn settles local.id and auth: leave them out"},
		{"easyvpn and main mode", old(weak + "    mode: main\n"), "mode: easyvpn is aggressive mode: leave it out"},
		{"easyvpn in IKEv2", strings.Replace(old(weak), "version: 1", "version: 2", 1), "version: easyvpn is of IKEv1: write 1, or leave it out"},
		{"easyvpn from anywhere", old(strings.Replace(weak, "[192.0.2.2, gw.example.net]", "any, id: any", 1)), "easyvpn needs the servers: write their addresses or names into remote.addresses"},
		{"network extension of nothing", strings.Replace(old(weak), "        local: [10.6.6.0/24]\n", "", 1), `a child lacks the key "local": in network-extension mode the server reaches what is behind us`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := config.Load(write(t, append([]string{"f.yaml", c.text}, files...)...))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, %+v, want one line with %s", err, got, c.want)
			}
		})
	}
}
