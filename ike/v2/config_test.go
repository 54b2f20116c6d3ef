package v2_test

import (
	"fmt"
	"net/netip"
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
		Name: get("name", "t"), Version: 2, PSK: session.Secret(get("psk", "a shared secret")),
		Local:  session.Endpoint{Addresses: addrs(t, get("addr", "")), ID: id(get("id", get("addr", "")))},
		Remote: session.Endpoint{Addresses: addrs(t, get("peer", "")), ID: id(get("peerid", get("peer", "")))},
		IKE:    list(t, get("ike", "aes128gcm16-prfsha256-x25519"), suite.ParseIKE),
		Start:  map[string]session.Start{"traffic": session.StartTraffic, "now": session.StartNow, "never": session.StartNever}[get("start", "traffic")],
	}
	authenticate(t, &c, words)
	fmt.Sscan(get("fragment", "0"), &c.FragmentSize)
	if to := addrs(t, get("redirect", "")); to != nil {
		c.Redirect = to[0]
	}
	c.FollowRedirect = get("follow", "no") == "yes"
	c.VirtualIP = get("vip", "no") == "yes"
	c.Childless = get("childless", "no") == "yes"
	c.Pool = pool(t, get("pool", ""), get("dns", ""), get("split", ""))
	c.MOBIKE = get("mobike", "no") == "yes"
	c.NATKeepalive, _ = time.ParseDuration(get("keepalive", "0"))
	c.DPD = dpd(t, get("dpd", "off/10s/2s/5"))
	c.InvalidSPIRecovery = get("recovery", "off") == "on"
	c.IdleIKE = get("idleike", "no") == "yes"
	c.FailBack, _ = time.ParseDuration(get("failback", "0"))
	c.Lifetime, _ = time.ParseDuration(get("ikelife", "4h"))
	life, _ := time.ParseDuration(get("life", "1h"))
	for i, pair := range strings.Split(get("ts", "10.6.6.6/32=10.8.8.8/32"), ";") {
		local, remote, _ := strings.Cut(pair, "=")
		name := "lan"
		if i > 0 {
			name += fmt.Sprint(i + 1)
		}
		c.Children = append(c.Children, session.Child{
			Name: name, Local: selectors(t, local), Remote: selectors(t, remote),
			ESP:      list(t, get("esp", "aes128gcm16"), suite.ParseESP),
			Lifetime: sadb.Lifetime{Time: life}, ReplayWindow: 64,
			Mode:       map[string]sadb.Mode{"transport": sadb.Transport}[get("mode", "")],
			SinglePair: get("pair", "no") == "yes",
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
	if dn, err := session.ParseDN(strings.ReplaceAll(s, "/", ",")); err == nil {
		return dn
	}
	return session.Identity{Type: session.IDFQDN, Data: []byte(s)}
}

func selectors(t testing.TB, s string) []sadb.Selector {
	var all []sadb.Selector
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == '+' }) {
		selector, err := sadb.ParseSelector(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, selector)
	}
	return all
}

func pool(t testing.TB, ranges, dns, split string) *session.Pool {
	if ranges == "" {
		return nil
	}
	p := session.Pool{DNS: addrs(t, dns)}
	for _, r := range selectors(t, ranges) {
		p.Ranges = append(p.Ranges, session.AddressRange{First: r.First, Last: r.Last})
	}
	for _, r := range selectors(t, split) {
		p.Subnets = append(p.Subnets, r.Prefixes()...)
	}
	return &p
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

// dpd reads MODE/INTERVAL/RETRY/TRIES.
func dpd(t testing.TB, text string) session.DPD {
	t.Helper()
	words := strings.Split(text, "/")
	if len(words) != 4 {
		t.Fatalf("dpd=%s: want MODE/INTERVAL/RETRY/TRIES", text)
	}
	d := session.DPD{Mode: map[string]session.DPDMode{"on-demand": session.DPDOnDemand, "periodic": session.DPDPeriodic, "off": session.DPDOff}[words[0]]}
	d.Interval, _ = time.ParseDuration(words[1])
	d.Retry, _ = time.ParseDuration(words[2])
	fmt.Sscan(words[3], &d.Tries)
	return d
}
