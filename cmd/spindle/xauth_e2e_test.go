package main_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
	"spindle/tools/pki"
)

const (
	v1IKE = "aes128-sha256-ecp256"
	v1ESP = "aes128gcm16"
	group = "keyid:road" // whom a group's key is of
)

// TestIKEv1Certificates: main mode by RSA signatures, whoever begins; messages with a
// certificate go in pieces both ways (Cisco's IKE fragmentation).
func TestIKEv1Certificates(t *testing.T) {
	p := newPaper(t, pki.RSA, nil)
	b := newBed(t, "v1-rsa", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		old(v1IKE, v1ESP)(r6, r8)
		r6.Auth = p.ours("r8.example.net", "fragment_size: 600")
		p.theirs(r8, "r8.example.net")
		r8.ExtraLines = []string{"fragment_size = 600"}
	})
	b.up()
	b.ping(b.A, b.A4, b.B4, 5)
	check(t, b.swan.Terminate(t.Context()))
	b.down()
	_, err := b.swan.Initiate(t.Context())
	check(t, err)
	b.ping(b.A, b.A4, b.B4, 5)
	b.native(false) // kernel-libipsec claims a NAT
	if log := b.r6.Log(); strings.Count(log, "auth=rsa ") != 2 {
		t.Errorf("not twice by RSA:\n%s", log)
	}
	for _, line := range []string{"received fragment #1", "splitting IKE message"} {
		if !strings.Contains(b.swan.Log(), line) {
			t.Errorf("strongSwan does not say %q", line)
		}
	}
}

// secrets are what strongSwan knows of a group and a user.
func secrets(r8 *netlab.StrongSwanConfig) {
	r8.Secrets = append(r8.Secrets, "xauth-c {\nid = carol\nsecret = tiramisu\n}")
}

// xauthServer makes strongSwan the server of XAUTH: it gives an address, a name
// server and, for what to reach through the tunnel, its child's local side.
func xauthServer(r8 *netlab.StrongSwanConfig, auth []string, more ...string) {
	secrets(r8)
	r8.Version, r8.RemoteTS = 1, nil
	r8.ConnLines = append(r8.ConnLines, append([]string{"pools = inside"}, more...)...)
	r8.RemoteAuth = append(auth, "}", "remote-2 {", "auth = xauth")
	r8.Sections = []string{"pools {", "inside {", "addrs = 10.9.0.0/29", "dns = 10.8.0.53", "}", "}"}
	r8.ExtraLines = append(r8.ExtraLines, "cisco_unity = yes")
}

// TestXAuthToStrongSwan: we are the client, by a key or by certificates, or the
// server alone has one; the server is asked for the address, or pushes it.
func TestXAuthToStrongSwan(t *testing.T) {
	p := newPaper(t, pki.RSA, nil)
	password := "xauth: {user: carol, password: {value: tiramisu}}"
	keyed := []string{`local: {address: 192.0.2.6, auth: xauth}`, `remote: {addresses: [192.0.2.8]}`, fmt.Sprintf("psk: {value: %q}", testbed.PSK), password}
	for _, c := range []struct {
		name  string
		ours  []string
		certs bool
		auth  []string // of the client, at strongSwan
		more  []string // of strongSwan's connection
		what  string
	}{
		{name: "psk", ours: keyed, auth: []string{"auth = psk", "id = 192.0.2.6"}, what: `auth="psk and xauth"`},
		{name: "push", ours: append(slices.Clone(keyed), "mode_config: push"), auth: []string{"auth = psk", "id = 192.0.2.6"}, more: []string{"pull = no"}, what: `auth="psk and xauth"`},
		{name: "rsa", certs: true, what: `auth="rsa and xauth"`, auth: []string{"auth = pubkey", "id = r6.example.net"},
			ours: append(p.ours("r8.example.net")[1:], `local: {address: 192.0.2.6, id: r6.example.net, auth: xauth}`, password)},
		{name: "hybrid", certs: true, what: "auth=hybrid", auth: []string{},
			ours: []string{`local: {address: 192.0.2.6, id: carol@example.net, auth: xauth}`, `remote: {addresses: [192.0.2.8], id: r8.example.net, auth: cert}`,
				fmt.Sprintf("ca: [{file: %q}]", filepath.Join(p.dir, "ca.pem")), password}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "xa-"+c.name, netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				old(v1IKE, v1ESP, "virtual_ip: request")(r6, r8)
				r6.LocalTS, r6.RemoteTS, r6.Auth = nil, nil, c.ours
				if c.certs {
					p.theirs(r8, "r8.example.net")
				}
				xauthServer(r8, c.auth, c.more...)
				if len(c.auth) == 0 { // hybrid: XAUTH alone
					r8.RemoteAuth = []string{"auth = xauth"}
				}
			})
			ours := b.lease(b.r6, true)
			if ours.Address != "10.9.0.1" || !slices.Equal(ours.DNS, []string{"10.8.0.53"}) || !slices.Equal(ours.Subnets, []string{"10.8.8.8/32"}) {
				t.Errorf("lease %+v", ours)
			}
			_, err := b.r6.AwaitChild(t.Context(), patience)
			check(t, err)
			b.reach(ours.Address)
			if child := b.child(b.r6); !slices.Equal(child.RemoteTS, []string{"10.8.8.8/32"}) {
				t.Errorf("split-include became %v", child.RemoteTS)
			}
			if !strings.Contains(b.r6.Log(), c.what) {
				t.Errorf("no %s in the log:\n%s", c.what, b.r6.Log())
			}
		})
	}
}

// TestXAuthOfStrongSwan: it is the client of ours, in main and aggressive mode, by
// a key or hybrid; and one with a wrong password is refused in one line.
func TestXAuthOfStrongSwan(t *testing.T) {
	p := newPaper(t, pki.RSA, nil)
	users := fmt.Sprintf("users: {file: %q}", p.file("users", []byte("carol tiramisu\n")))
	pool := "pool: {addresses: [10.9.0.0/29], dns: [10.6.0.53], subnets: [10.6.6.0/24], banner: Welcome to R6}"
	psk := fmt.Sprintf("psk: {value: %q}", testbed.PSK)
	user := []string{"}", "local-2 {", "auth = xauth", "xauth_id = carol"}
	for _, c := range []struct {
		name       string
		ours       []string
		auth       []string
		aggressive bool
		wrong      bool
	}{
		{name: "main", ours: []string{`local: {address: 192.0.2.6}`, `remote: {addresses: any, id: 192.0.2.8, auth: xauth}`, psk, users, pool},
			auth: []string{"auth = psk", "id = 192.0.2.8"}},
		{name: "aggressive", aggressive: true, auth: []string{"auth = psk", "id = " + group},
			ours: []string{`local: {address: 192.0.2.6}`, fmt.Sprintf(`remote: {addresses: any, id: %q, auth: xauth}`, group), psk, users, pool, "mode: aggressive", "allow_weak: [aggressive-psk]"}},
		{name: "push", ours: []string{`local: {address: 192.0.2.6}`, `remote: {addresses: any, id: 192.0.2.8, auth: xauth}`, psk, users, pool, "mode_config: push"},
			auth: []string{"auth = psk", "id = 192.0.2.8"}},
		{name: "hybrid", ours: append(p.ours("any", users, pool)[:1:1], append(p.ours("any")[2:4], `remote: {addresses: any, id: any, auth: xauth}`, users, pool)...)},
		{name: "wrong", wrong: true, auth: []string{"auth = psk", "id = 192.0.2.8"},
			ours: []string{`local: {address: 192.0.2.6}`, `remote: {addresses: any, id: 192.0.2.8, auth: xauth}`, psk, pool, fmt.Sprintf("users: {file: %q}", p.file("wrong", []byte("carol panettone\n")))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "xo-"+c.name, netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				old(v1IKE, v1ESP)(r6, r8)
				r6.RemoteTS, r6.Auth = nil, c.ours
				secrets(r8)
				r8.Aggressive, r8.LocalTS = c.aggressive, nil
				r8.ConnLines = []string{"vips = 0.0.0.0", "pull = " + map[bool]string{true: "no", false: "yes"}[c.name == "push"]}
				if len(c.auth) == 0 {
					p.theirs(r8, "r8.example.net")
					r8.LocalAuth = []string{"auth = xauth", "xauth_id = carol"}
				} else {
					r8.LocalAuth = append(slices.Clone(c.auth), user...)
				}
			})
			mark := len(b.r6.Log())
			text, err := b.swan.Initiate(t.Context())
			if c.wrong {
				if err == nil {
					t.Errorf("let in:\n%s", text)
				}
				b.refusal(mark, "XAUTH: user carol or its password is wrong (configuration key: users)")
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			given := b.lease(b.r6, false)
			if given.Address != "10.9.0.1" {
				t.Errorf("lease %+v", given)
			}
			b.ping(b.R8, netip.MustParseAddr(given.Address), b.A4, 5)
			check(t, b.swan.Terminate(t.Context()))
			b.released(b.r6)
		})
	}
}
