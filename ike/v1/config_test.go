package v1_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

// conn builds the connection of a two-gateway world from words.
func conn(t testing.TB, words map[string]string) session.Connection {
	t.Helper()
	get := func(key, fallback string) string {
		if v, ok := words[key]; ok {
			return v
		}
		return fallback
	}
	c := session.Connection{
		Name: get("name", "t"), Version: 1, PSK: session.Secret(get("psk", "a shared secret")),
		Local:  session.Endpoint{Addresses: addrs(t, get("addr", "")), ID: id(get("id", get("addr", "")))},
		Remote: session.Endpoint{Addresses: addrs(t, get("peer", "")), ID: id(get("peerid", get("peer", "")))},
		Start:  map[string]session.Start{"traffic": session.StartTraffic, "now": session.StartNow, "never": session.StartNever}[get("start", "traffic")],
	}
	weak := suite.AllowWeak{"3des", "sha1", "modp1024", "modp1536", "md5"}
	c.IKE = list(t, get("ike", "aes128-sha256-ecp256"), weak.ParseIKE)
	c.ForceEncap = get("encap", "no") == "force"
	c.InvalidSPIRecovery = get("recover", "no") == "yes"
	c.V1 = session.V1{Aggressive: get("mode", "main") == "aggressive", Certs: get("auth", "psk") == "cert", Hybrid: get("auth", "psk") == "hybrid",
		Push: get("push", "no") == "yes", Config: get("config", "no") == "yes"}
	if name, password, ok := strings.Cut(get("user", ""), ":"); ok {
		c.V1.User, c.V1.Password = name, session.Secret(password)
	}
	if name, password, ok := strings.Cut(get("users", ""), ":"); ok {
		c.V1.XAuth = true
		c.Users, _ = session.ParseUsers([]byte(name + " " + password))
	}
	if pool := get("pool", ""); pool != "" {
		c.Pool = &session.Pool{Ranges: []session.AddressRange{session.HostRange(netip.MustParsePrefix(pool))}, DNS: addrs(t, "10.8.0.53"), Banner: "hello",
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.8.0/24")}}
	}
	c.DPD = session.DPD{Mode: map[string]session.DPDMode{"on-demand": session.DPDOnDemand, "periodic": session.DPDPeriodic, "off": session.DPDOff}[get("dpd", "off")],
		Interval: 10 * time.Second, Retry: 2 * time.Second, Tries: 5}
	if get("version", "1") == "2" {
		c.Version = 2
	}
	c.NATKeepalive, _ = time.ParseDuration(get("keepalive", "0"))
	c.Lifetime, _ = time.ParseDuration(get("ikelife", "4h"))
	life, _ := time.ParseDuration(get("life", "1h"))
	kilobytes, _ := strconv.Atoi(get("kilobytes", "0"))
	for i, pair := range strings.Split(get("ts", "10.6.6.6/32=10.8.8.8/32"), ";") {
		local, remote, _ := strings.Cut(pair, "=")
		name := "lan"
		if i > 0 {
			name += fmt.Sprint(i + 1)
		}
		c.Children = append(c.Children, session.Child{
			Name: name, Local: selectors(t, local), Remote: selectors(t, remote),
			ESP:      list(t, get("esp", "aes128gcm16"), weak.ParseESP),
			Mode:     map[string]sadb.Mode{"tunnel": sadb.Tunnel, "transport": sadb.Transport}[get("ipsec", "tunnel")],
			Lifetime: sadb.Lifetime{Time: life, Bytes: uint64(kilobytes) << 10}, ReplayWindow: 64,
		})
	}
	return c
}

func addrs(t testing.TB, s string) []netip.Addr {
	var all []netip.Addr
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == '+' }) {
		a, err := netip.ParseAddr(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

func id(s string) session.Identity {
	if s == "" || s == "any" {
		return session.Identity{}
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Is6() {
			return session.Identity{Type: session.IDIPv6, Data: a.AsSlice()}
		}
		return session.Identity{Type: session.IDIPv4, Data: a.AsSlice()}
	}
	return session.Identity{Type: session.IDFQDN, Data: []byte(s)}
}

func selectors(t testing.TB, s string) []sadb.Selector {
	var all []sadb.Selector
	for _, word := range strings.Split(s, "+") {
		prefix, err := netip.ParsePrefix(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, sadb.PrefixSelector(prefix))
	}
	return all
}

func list(t testing.TB, s string, parse func(string) (suite.Proposal, error)) []suite.Proposal {
	var all []suite.Proposal
	for _, word := range strings.Split(s, "+") {
		p, err := parse(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
