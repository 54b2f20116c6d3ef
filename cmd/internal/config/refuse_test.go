package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spindle/cmd/internal/config"
)

// base is a good configuration whose lines the cases below change.
const base = `outside: [eth1]
inside: [eth2]
connections:
  - name: r8
    local: {address: 192.0.2.1}
    remote: {addresses: [192.0.2.2]}
    psk: {file: r8.psk}
    ike: [aes128gcm16-prfsha256-x25519]
    children:
      - name: lan
        local: [10.6.6.0/24]
        remote: [10.8.8.0/24]
        idle: 120s
`

func TestBaseIsGood(t *testing.T) {
	if _, err := config.Load(write(t, "f.yaml", base, "r8.psk", key)); err != nil {
		t.Fatal(err)
	}
}

// TestRefusals: old is replaced by new in base; the error is want, with F for
// the file's path and D for its folder.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "idle: 120s", "idel: 120s", `F:13:9: unknown key "idel" in a child: did you mean "idle"?`},
		{"letters swapped in a short key", "idle: 120s", "eps: [aes128gcm16]", `F:13:9: unknown key "eps" in a child: did you mean "esp"?`},
		{"unknown key, no likeness", "inside: [eth2]", "colour: red",
			`F:2:1: unknown key "colour" in the configuration: write outside, inside, workers, cpus, xdp, umem, fail_closed, metrics, control_user, priority, policies, idle or connections`},
		{"key twice", "inside: [eth2]", "outside: [eth2]", `F:2:1: "outside" stands twice in the configuration: first at 1:1`},
		{"key missing", "outside: [eth1]\n", "", `F:1:1: the configuration lacks the key "outside"`},
		{"key missing in a child", "        remote: [10.8.8.0/24]\n", "", `F:10:9: a child lacks the key "remote"`},
		{"no value", "psk: {file: r8.psk}", "psk:", `F:7:5: "psk" has no value`},
		{"not a list", "[eth1]", "eth1", `F:1:10: outside is text, not a list: write [eth1]`},
		{"not a mapping", "{address: 192.0.2.1}", "192.0.2.1", `F:5:12: local is text, not a mapping of keys and values: write for example {address: ...}`},
		{"a key that stands alone", "{file: r8.psk}", "secret", `F:7:10: psk is text, not a mapping of keys and values: write for example {file: ...}`},
		{"tab", "    psk:", "\tpsk:", `F:7:1: a tab: YAML indents with blanks`},
		{"client with another mistake", "        remote: [10.8.8.0/24]\n        idle: 120s\n", "    version: 1\n    virtual_ip: request\n    lifetime: 4\n", `F:14:15: lifetime: 4 has no unit: write 4s, or ms, m, h`},
		{"not a scalar", "idle: 120s", "idle: [120s]", `F:13:15: idle is a list, not a single value`},
		{"empty list", "[eth1]", "[]", `F:1:10: outside is empty: it needs at least one entry`},
		{"number for text", "name: r8", "name: 8", `F:4:11: connection name is a number, not text: put it in quotes`},
		{"name with slash", "name: r8", "name: r8/lan", `F:4:11: connection name "r8/lan": up to 64 letters, digits and . _ - are allowed`},
		{"anchor", "[eth1]", "&a [eth1]", `F:1:10: outside is an anchor, alias or tag (not supported), not a list: write [...]`},
		{"two documents", "inside: [eth2]", "---\ninside: [eth2]", `F:3:1: a second document: the configuration is one`},

		{"interface", "[eth1]", "[a-name-of-sixteen]",
			`F:1:11: outside: "a-name-of-sixteen" cannot be an interface name: 1 to 15 characters, no slash, colon or blank`},
		{"interface twice", "[eth1]", "[eth1, eth1]", `F:1:17: outside names "eth1" twice`},
		{"workers", "inside: [eth2]", "workers: many", `F:2:10: workers: "many": write auto or a number from 1 to 64`},
		{"too many workers", "inside: [eth2]", "workers: 65", `F:2:10: workers: 65 is out of range: 1 to 64`},
		{"control process as root", "inside: [eth2]", "control_user: root", `F:2:15: control_user root: the control process parses what strangers send, name an unprivileged user`},
		{"too few cpus", "inside: [eth2]", "workers: 2\ncpus: [0]", `F:3:7: cpus names 1 CPU for 2 workers: name one each, or write auto`},
		{"xdp", "inside: [eth2]", "xdp: nativ", `F:2:6: xdp: "nativ" is none of its words: did you mean "native"?`},
		{"metrics", "inside: [eth2]", "metrics: 9500", `F:2:10: metrics: "9500" is not an address and port: write for example 127.0.0.1:9500`},
		{"boolean", "inside: [eth2]", "fail_closed: yes", `F:2:14: fail_closed: "yes" is none of its words: write true or false`},

		{"prefix with host bits", "10.6.6.0/24", "10.6.6.1/24", `F:11:17: child local: 10.6.6.1/24 has host bits set: did you mean 10.6.6.0/24?`},
		{"prefix", "10.6.6.0/24", "10.6.6.0/33", `F:11:17: child local: "10.6.6.0/33" is not a prefix: write for example 10.6.6.0/24 or 2001:db8::/64`},
		{"prefix twice", "10.6.6.0/24", "10.6.6.0/24, 10.6.6.0/24", `F:11:30: child local names 10.6.6.0/24 twice`},
		{"mapped prefix", "10.6.6.0/24", `"::ffff:10.6.6.0/120"`, `F:11:17: child local: "::ffff:10.6.6.0/120": did you mean 10.6.6.0/24?`},
		{"ports", "10.6.6.0/24", `"10.6.6.0/24[tcp/99999]"`, `F:11:17: child local: [tcp/99999]: "99999" is not a port or a range such as 80-443`},
		{"protocol", "10.6.6.0/24", `"10.6.6.0/24[ftp]"`, `F:11:17: child local: [ftp]: "ftp" is no protocol: write tcp, udp, icmp, icmpv6, sctp, gre, any or a number from 1 to 255`},
		{"families of a child", "10.6.6.0/24", "2001:db8::/64", `F:10:9: child "lan": local and remote have no address family in common`},
		{"families of the ends", "192.0.2.1}", "2001:db8::1}", `F:4:5: local address 2001:db8::1 and remote address 192.0.2.2 are of different families`},
		{"address", "192.0.2.1}", "192.0.2.256}", `F:5:22: local address: "192.0.2.256" is not an IP address`},
		{"host name as local address", "address: 192.0.2.1", "address: r6.example.net", `F:5:22: local address: "r6.example.net": a host name is possible only among remote addresses: write the IP address`},
		{"multicast", "192.0.2.1}", "224.0.0.1}", `F:5:22: local address: 224.0.0.1 cannot be one end of a tunnel`},
		{"remote word", "[192.0.2.2]", "everybody", `F:6:25: remote addresses: "everybody": write any or a list like [192.0.2.2]`},
		{"any among addresses", "[192.0.2.2]", "[192.0.2.2, any], id: r8", `F:6:37: remote addresses: any is the peer at every address: write any alone, or addresses and host names`},
		{"remote twice", "[192.0.2.2]", "[192.0.2.2, 192.0.2.2]", `F:6:37: remote addresses names 192.0.2.2 twice`},
		{"no local identity", "    local: {address: 192.0.2.1}\n", "", `F:4:5: the connection needs local: {id: ...}, or an address to take for it`},
		{"no remote identity", "[192.0.2.2]", "any",
			`F:4:5: the connection needs remote: {id: ...}: it has not exactly one address to take for it; id: any accepts whoever knows the key`},
		{"identity", "192.0.2.1}", "192.0.2.1, id: gw!}",
			`F:5:37: local id: "gw!" is no identity: write an IP address, a host name, user@host, a distinguished name like "C=CH, CN=gw", or keyid:TEXT`},
		{"nobody to call", "remote: {addresses: [192.0.2.2]}", "start: now\n    remote: {addresses: any, id: any}",
			`F:6:12: start: a connection with remote addresses: any can only answer: write never`},

		{"version 3", "name: r8\n", "name: r8\n    version: 3\n", `F:5:14: version: "3" is none of its words: write 2 or 1`},
		{"combined mode in IKEv1", "name: r8\n", "name: r8\n    version: 1\n",
			`F:4:5: ike: aes128gcm16-prfsha256-x25519 cannot be had in IKEv1: it takes an encryption without integrity of its own, a hash for all, and a group, like aes256-sha384-ecp384`},
		{"mode in IKEv2", "name: r8\n", "name: r8\n    mode: main\n", `F:5:11: mode is of IKEv1: add version: 1, or leave it out`},
		{"aggressive psk", "ike: [aes128gcm16-prfsha256-x25519]", "ike: [aes128-sha256-ecp256]\n    version: 1\n    mode: aggressive",
			`F:10:11: mode: aggressive with a pre-shared key lets whoever asks try keys offline: write main, or add allow_weak: [aggressive-psk]`},
		{"weak and not allowed", "ike: [aes128gcm16-prfsha256-x25519]", "ike: [3des-sha1-modp1024]\n    version: 1",
			`F:8:11: IKE proposal "3des-sha1-modp1024": weak algorithm "3des": only for old peers, and only if the connection says allow_weak: [3des]`},
		{"nothing weak", "ike: [aes128gcm16-prfsha256-x25519]", "allow_weak: [aes128]",
			`F:8:18: allow_weak "aes128": name one of 3des des null sha1 md5 modp1536 modp1024 modp768, or aggressive-psk`},
		{"no psk", "    psk: {file: r8.psk}\n", "", `F:4:5: the connection lacks the key "psk": one side has auth: psk`},
		{"xauth", "192.0.2.1}", "192.0.2.1, auth: xauth}", `F:4:5: auth: xauth is of IKEv1: add version: 1, or write eap for the remote side`},
		{"cert without files", "192.0.2.1}", "192.0.2.1, auth: cert}",
			"F:4:5: the connection lacks the key \"cert\": local has auth: cert\nF:4:5: the connection lacks the key \"key\": local has auth: cert"},
		{"ca missing", "[192.0.2.2]", "[192.0.2.2], auth: cert",
			`F:4:5: the connection lacks the key "ca": remote has auth: cert; a certificate without a CA to vouch for it proves nothing`},
		{"not a certificate", "    psk:", "    cert: {file: empty.psk}\n    psk:", `F:7:18: cert file D/empty.psk is empty`},
		{"users of no use", "    psk:", "    users: {file: r8.psk}\n    psk:", `F:7:12: users is of no use: remote has neither auth: eap nor auth: xauth`},
		{"eap without cert", "[192.0.2.2]", "[192.0.2.2], auth: eap",
			"F:4:5: the connection lacks the key \"users\": remote has auth: eap, which needs users (for EAP-MSCHAPv2) or ca (for EAP-TLS)\n" +
				"F:4:5: remote auth: eap needs local auth: cert: a client must be able to tell the gateway from an impostor before it shows a password"},
		{"no source of revocation", "    psk:", "    revocation: {when_unreachable: accept}\n    psk:", `F:7:17: revocation needs crl or ocsp`},
		{"crl by https", "    psk:", "    revocation: {crl: [\"https://ca.example/x.crl\"]}\n    psk:",
			`F:7:24: revocation crl: "https://ca.example/x.crl": write an http:// URL, or certificate for those that the certificate names`},
		{"mode", "idle: 120s", "mode: transit", `F:13:15: mode: "transit" is none of its words: did you mean "transport"?`},
		{"umem", "inside: [eth2]", "umem: huge", `F:2:7: umem: "huge" is none of its words: write auto, pages or hugepages`},

		{"duration without unit", "120s", "120", `F:13:15: idle: 120 has no unit: write 120s, or ms, m, h`},
		{"duration", "120s", "soon", `F:13:15: idle: "soon" is not a duration: write for example 10s, 5m or 1h30m`},
		{"dpd interval", "name: r8\n", "name: r8\n    dpd: {interval: 5s}\n", `F:5:21: dpd interval: 5s is out of range: 10s to 1h`},
		{"dpd mode", "name: r8\n", "name: r8\n    dpd: {mode: ondemand}\n", `F:5:17: dpd mode: "ondemand" is none of its words: did you mean "on-demand"?`},
		{"size without unit", "idle: 120s", "lifetime: {bytes: 64}", `F:13:27: lifetime bytes: 64 has no unit: write 64B, or KiB, MiB, GiB`},
		{"size", "idle: 120s", "lifetime: {bytes: 64Gb}", `F:13:27: lifetime bytes: "64Gb" is not a size: write for example 512MiB or 64GiB`},
		{"size overflow", "idle: 120s", "lifetime: {bytes: 99999999TiB}", `F:13:27: lifetime bytes: 99999999TiB is more than 2^64 bytes`},
		{"count", "idle: 120s", "lifetime: {packets: -1}", `F:13:29: lifetime packets: "-1" is not a whole number`},
		{"dscp", "idle: 120s", "dscp: gold", `F:13:15: dscp: "gold" is no codepoint: write copy, a name such as ef, cs5 or af41 or a number from 0 to 63`},
		{"dscp number", "idle: 120s", "dscp: 64", `F:13:15: dscp: 64 is out of range: 0 to 63`},
		{"word with no likeness", "idle: 120s", "df: yes", `F:13:13: df: "yes" is none of its words: write copy, set or clear`},
		{"path mtu", "idle: 120s", "path_mtu: 500", `F:13:19: path_mtu: 500 is out of range: 576 to 65535`},
		{"access without an action", "idle: 120s", "access: {in: [{local: [10.6.6.6]}]}", `F:13:23: a line of access in lacks the key "action"`},
		{"access word", "idle: 120s", "access: {out: [{action: allow}]}", `F:13:33: action: "allow" is none of its words: write permit or deny`},
		{"access that is no list", "idle: 120s", "access: {out: permit}", `F:13:23: access out is text, not a list: write [permit]`},
		{"access without lines", "idle: 120s", "access: {in: []}", `F:13:22: access in is empty: it needs at least one entry`},
		{"access key", "idle: 120s", "access: {inn: []}", `F:13:18: unknown key "inn" in access: did you mean "in"?`},
		{"families of an access line", "idle: 120s", `access: {in: [{action: deny, local: [10.6.6.6], remote: ["::/0"]}]}`, `F:13:23: access in: local and remote of this line have no address family in common`},
		{"access selector", "idle: 120s", `access: {in: [{action: deny, local: ["10.6.6.6[gre/1]"]}]}`, `F:13:46: access in local: [gre/1]: gre has no ports: write [gre]`},
		{"access of many lines", "idle: 120s", "access: {in: [" + strings.Repeat("{action: permit}, ", 501) + "]}", `F:13:22: access in has 501 lines and selectors: more than 500 are not possible`},
		{"priority", "inside: [eth2]", "priority: {dscp: [ef, ef]}", `F:2:23: priority dscp names ef twice`},
		{"policy without an action", "inside: [eth2]", "policies:\n  - {local: [10.6.6.0/24], remote: [10.9.0.0/16]}", `F:3:5: a policy lacks the key "action"`},
		{"policy that protects", "inside: [eth2]", "policies:\n  - {action: protect, local: [10.6.6.0/24], remote: [10.9.0.0/16]}", `F:3:14: action: "protect" is none of its words: write bypass or discard`},
		{"families of a policy", "inside: [eth2]", "policies:\n  - {action: bypass, local: [10.6.6.0/24], remote: [\"2001:db8::/64\"]}", `F:3:5: policy: local and remote have no address family in common`},
		{"replay window", "idle: 120s", "replay_window: 32", `F:13:24: replay_window: 32 is too small: 0 disables it, else 64 to 65536 packets`},

		{"psk file missing", "r8.psk", "/nonexistent/r9.psk",
			`F:7:17: psk file /nonexistent/r9.psk does not exist: create it with the key as its only line, mode 0600`},
		{"psk file is a folder", "r8.psk", ".", `F:7:17: psk file D: not a regular file`},
		{"psk file empty", "r8.psk", "empty.psk", `F:7:17: psk file D/empty.psk is empty: write the key into it`},
		{"psk empty", "{file: r8.psk}", `{value: ""}`, `F:7:18: psk value is empty: an empty key protects nothing`},
		{"psk both", "{file: r8.psk}", `{file: r8.psk, value: x}`, `F:7:10: psk has both file and value: keep one`},
		{"psk neither", "{file: r8.psk}", `{}`, `F:7:10: psk needs file: PATH or value: TEXT`},
		{"psk number is not shown", "{file: r8.psk}", `{value: 31337}`, `F:7:18: psk value is a number, not text: put it in quotes`},
	} {
		t.Run(c.name, func(t *testing.T) { expectRefusal(t, strings.Replace(base, c.old, c.new, 1), c.want) })
	}
}

func expectRefusal(t *testing.T, text, want string) {
	t.Helper()
	path := write(t, "f.yaml", text, "r8.psk", key, "empty.psk", "\n")
	want = strings.NewReplacer("F:", path+":", " D", " "+filepath.Dir(path)).Replace(want)
	c, err := config.Load(path)
	if err == nil {
		t.Fatalf("accepted: %v", c)
	}
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%T is no Problems", err)
	}
	if err.Error() != want {
		t.Errorf("got:\n%s\nwant:\n%s", err, want)
	}
}

// TestAllProblemsAtOnce: one run of check shows everything, in the order of the file.
func TestAllProblemsAtOnce(t *testing.T) {
	text := strings.NewReplacer("eth2", "eth/2", "10.8.8.0/24", "10.8.8.8/24", "120s", "120").Replace(base) + "colour: red\n"
	expectRefusal(t, text, `F:2:10: inside: "eth/2" cannot be an interface name: 1 to 15 characters, no slash, colon or blank
F:12:18: child remote: 10.8.8.8/24 has host bits set: did you mean 10.8.8.0/24?
F:13:15: idle: 120 has no unit: write 120s, or ms, m, h
F:14:1: unknown key "colour" in the configuration: write outside, inside, workers, cpus, xdp, umem, fail_closed, metrics, control_user, priority, policies, idle or connections`)
}

func TestSameSelectors(t *testing.T) {
	text := base + `      - {name: again, remote: [10.8.8.0/24], local: [10.6.6.0/24]}
`
	expectRefusal(t, text, `F:14:9: child r8/again has the same selectors as child r8/lan at 10:9: they would take each other's traffic; change local or remote of one`)
}

func TestSameNames(t *testing.T) {
	text := base + `      - {name: lan, remote: [10.8.9.0/24], local: [10.6.6.0/24]}
  - name: r8
    local: {address: 192.0.2.1}
    remote: {addresses: [192.0.2.9]}
    psk: {file: r8.psk}
    children: [{name: lan, local: [10.0.0.1], remote: [10.0.0.2]}]
`
	expectRefusal(t, text, `F:14:9: child "lan" stands twice: first at 10:9
F:15:5: connection "r8" stands twice: first at 4:5`)
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "read configuration: stat " + dir + "/none.yaml: no such file or directory",
		dir:                             "read configuration: " + dir + ": not a regular file",
	} {
		if _, err := config.Load(path); err == nil || err.Error() != want {
			t.Errorf("Load(%s): %v, want %s", path, err, want)
		}
	}
}

func TestEmptyFile(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n"} {
		path := write(t, "f.yaml", text)
		if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "the file is empty") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestEveryTruncation: a file cut anywhere is accepted or refused with a place.
func TestEveryTruncation(t *testing.T) {
	text := full(t)
	path := write(t, "f.yaml", text, "r8.psk", key)
	for n := range len(text) {
		if err := os.WriteFile(path, []byte(text[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path)
		var problems config.Problems
		if err != nil && (!errors.As(err, &problems) || problems[0].Line < 1) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(full(f))
	f.Add(base)
	f.Add(strings.Repeat("[", 20))
	f.Add("a: &a [*a]\n? {b: c}\n: - d\n<<: *a\n!!binary x: |\n  y\n")
	path := write(f, "f.yaml", base, "r8.psk", key)
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path)
		if err != nil {
			return
		}
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := config.Decode(data)
		if err != nil {
			t.Fatalf("accepted, but not decoded: %v", err)
		}
		if len(again.Connections) != len(c.Connections) {
			t.Fatalf("decoded %d connections of %d", len(again.Connections), len(c.Connections))
		}
	})
}

// TestDeepNesting: the parser recurses, so what nests without end is refused first.
func TestDeepNesting(t *testing.T) {
	expectRefusal(t, strings.Repeat("[", 1<<20), `F:1:1: not a configuration: brackets nested too deep`)
}
