package config_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"spindle/cmd/internal/config"
	"spindle/ike/session"
)

func TestPool(t *testing.T) {
	text := strings.NewReplacer("    psk:", `    pool: {addresses: [10.9.0.0/29, 10.9.1.7-10.9.1.9, "fd00:9::/126"], dns: [10.6.6.53], subnets: [10.6.0.0/16, "10.6.9.1-10.6.9.2"]}
    childless: true
    psk:`, "[192.0.2.2]}", "any, id: any}", "        remote: [10.8.8.0/24]\n", "        single_pair: true\n        mode: transport\n").Replace(base)
	c, err := config.Load(write(t, "f.yaml", text, "r8.psk", key))
	if err != nil {
		t.Fatal(err)
	}
	conn := c.Connections[0]
	r := func(first, last string) session.AddressRange {
		return session.AddressRange{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
	}
	want := &session.Pool{
		Ranges:  []session.AddressRange{r("10.9.0.1", "10.9.0.6"), r("10.9.1.7", "10.9.1.9"), r("fd00:9::1", "fd00:9::3")},
		DNS:     []netip.Addr{netip.MustParseAddr("10.6.6.53")},
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.6.0.0/16"), netip.MustParsePrefix("10.6.9.1/32"), netip.MustParsePrefix("10.6.9.2/32")},
	}
	if diff := cmp.Diff(want, conn.Pool, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	child := conn.Children[0]
	if len(child.Remote) != 0 || len(child.Local) != 1 || !child.SinglePair || child.Mode.String() != "transport" || !conn.Childless {
		t.Errorf("%+v of %+v", child, conn)
	}
}

func TestVirtualIP(t *testing.T) {
	text := strings.NewReplacer("    psk:", "    virtual_ip: request\n    psk:", "        local: [10.6.6.0/24]\n", "").Replace(base)
	c, err := config.Load(write(t, "f.yaml", text, "r8.psk", key))
	if err != nil {
		t.Fatal(err)
	}
	if conn := c.Connections[0]; !conn.VirtualIP || conn.Start != session.StartNow || len(conn.Children[0].Local) != 0 {
		t.Errorf("%+v", conn)
	}
}

// TestTranslate: hosts hide behind the address; traffic of theirs may ask for it.
func TestTranslate(t *testing.T) {
	text := strings.Replace(base, "    psk:", "    virtual_ip: translate\n    psk:", 1)
	c, err := config.Load(write(t, "f.yaml", text, "r8.psk", key))
	if err != nil {
		t.Fatal(err)
	}
	if conn := c.Connections[0]; !conn.VirtualIP || !conn.Translate || !conn.Hides(&conn.Children[0]) || conn.OwnsAssigned() || conn.Start != session.StartTraffic {
		t.Errorf("%+v", conn)
	}
	for old, refusal := range map[string][2]string{
		"[10.6.6.0/24]": {"[10.6.6.0/24, \"2001:db8:6::/64\"]", `F:11:9: child "lan": only IPv4 hides behind the assigned address: leave 2001:db8:6::/64 out`},
		"[10.8.8.0/24]": {"[10.8.8.0/24, \"2001:db8:8::/64\"]", `F:11:9: child "lan": only IPv4 hides behind the assigned address: leave 2001:db8:8::/64 out`},
		"      - name":  {"      - mode: transport\n        name", `F:11:9: child "lan": hosts hide behind the assigned address in tunnel mode only: write mode: tunnel`},
	} {
		expectRefusal(t, strings.Replace(text, old, refusal[0], 1), refusal[1])
	}
}

func TestInsideAddressRefusals(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no local without virtual_ip", "        local: [10.6.6.0/24]\n", "", `F:10:9: a child lacks the key "local"`},
		{"no remote without a pool", "    psk:", "    virtual_ip: request\n    psk:", ""},
		{"no addresses", "    psk:", "    pool: {dns: [10.6.6.53]}\n    psk:", `F:7:11: pool lacks the key "addresses"`},
		{"port in a pool", "    psk:", "    pool: {addresses: [\"10.9.0.0/24[tcp]\"]}\n    psk:", `F:7:24: pool addresses: 10.9.0.0/24[tcp]: an address has no protocol and no port`},
		{"overlap", "    psk:", "    pool: {addresses: [10.9.0.0/24, 10.9.0.9]}\n    psk:", `F:7:37: pool addresses: 10.9.0.9/32 overlaps 10.9.0.1-10.9.0.254`},
		{"dns", "    psk:", "    pool: {addresses: [10.9.0.0/24], dns: [dns.example]}\n    psk:", `F:7:44: pool dns: "dns.example": a host name is possible only among remote addresses: write the IP address`},
		{"virtual_ip", "    psk:", "    virtual_ip: yes\n    psk:", `F:7:17: virtual_ip: "yes" is none of its words: write none, request or translate`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(base, c.old, c.new, 1)
			if c.want == "" {
				text, c.want = strings.Replace(text, "        remote: [10.8.8.0/24]\n", "", 1), `F:11:9: a child lacks the key "remote"`
			}
			expectRefusal(t, text, c.want)
		})
	}
	text := strings.NewReplacer("    psk:", "    virtual_ip: request\n    start: traffic\n    psk:", "        local: [10.6.6.0/24]\n", "").Replace(base)
	expectRefusal(t, text, `F:8:12: start: the inside address comes with the tunnel, so no traffic can ask for it: write now or never`)
}
