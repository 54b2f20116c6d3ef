package ladder

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

// weak are the algorithms that ladders may name beside the strong ones.
var weak = suite.AllowWeak{"3des", "sha1", "modp1024", "modp1536", "md5"}

// Connection builds the connection of a two-gateway world from words.
func (w *World) Connection(words Words) session.Connection {
	t := w.T
	t.Helper()
	c := session.Connection{
		Name: words.Get("name", "t"), Version: w.version.Number, PSK: session.Secret(words.Get("psk", "a shared secret")),
		Local:  session.Endpoint{Addresses: addrs(t, words["addr"]), ID: id(words.Get("id", words["addr"]))},
		Remote: session.Endpoint{Addresses: addrs(t, words["peer"]), ID: id(words.Get("peerid", words["peer"]))},
		IKE:    list(t, words.Get("ike", w.version.IKE), weak.ParseIKE),
		Start:  map[string]session.Start{"traffic": session.StartTraffic, "now": session.StartNow, "never": session.StartNever}[words.Get("start", "traffic")],
		DPD:    dpd(t, words.Get("dpd", "off")),
		MOBIKE: words["mobike"] == "yes", InvalidSPIRecovery: words["recovery"] == "on", IdleIKE: words["idleike"] == "yes",
		Pool: pool(t, words["pool"], words["dns"], words["split"]),
	}
	c.Translate = words["translate"] == "yes"
	authenticate(t, &c, words)
	fmt.Sscan(words.Get("version", fmt.Sprint(w.version.Number)), &c.Version)
	c.NATKeepalive, _ = time.ParseDuration(words["keepalive"])
	c.FailBack, _ = time.ParseDuration(words["failback"])
	c.Lifetime, _ = time.ParseDuration(words.Get("ikelife", "4h"))
	for i, pair := range strings.Split(words.Get("ts", "10.6.6.6/32=10.8.8.8/32"), ";") {
		c.Children = append(c.Children, child(t, i, pair, words))
	}
	w.version.Connection(t, &c, words)
	return c
}

// child is one of a connection's: between LOCAL=REMOTE.
func child(t testing.TB, i int, pair string, words Words) session.Child {
	name := "lan"
	if i > 0 {
		name += fmt.Sprint(i + 1)
	}
	local, remote, _ := strings.Cut(pair, "=")
	life, _ := time.ParseDuration(words.Get("life", "1h"))
	return session.Child{
		Name: name, Local: selectors(t, local), Remote: selectors(t, remote),
		ESP:      list(t, words.Get("esp", "aes128gcm16"), weak.ParseESP),
		Lifetime: sadb.Lifetime{Time: life}, ReplayWindow: 64,
	}
}

// The lists of a word are joined by +.
func items(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '+' })
}

func addrs(t testing.TB, s string) []netip.Addr {
	var all []netip.Addr
	for _, word := range items(s) {
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
	for _, word := range items(s) {
		selector, err := sadb.ParseSelector(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, selector)
	}
	return all
}

func list(t testing.TB, s string, parse func(string) (suite.Proposal, error)) []suite.Proposal {
	var all []suite.Proposal
	for _, word := range items(s) {
		p, err := parse(word)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
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

// dpd reads MODE, or MODE/INTERVAL/RETRY/TRIES.
func dpd(t testing.TB, text string) session.DPD {
	t.Helper()
	words := strings.Split(text, "/")
	d := session.DPD{Interval: 10 * time.Second, Retry: 2 * time.Second, Tries: 5}
	d.Mode = map[string]session.DPDMode{"on-demand": session.DPDOnDemand, "periodic": session.DPDPeriodic, "off": session.DPDOff}[words[0]]
	if len(words) == 1 {
		return d
	}
	if len(words) != 4 {
		t.Fatalf("dpd=%s: want MODE or MODE/INTERVAL/RETRY/TRIES", text)
	}
	d.Interval, _ = time.ParseDuration(words[1])
	d.Retry, _ = time.ParseDuration(words[2])
	fmt.Sscan(words[3], &d.Tries)
	return d
}
