package main_test

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// stranger is a third gateway on the wire, R9, and R6's connection with it.
type stranger struct {
	*bed
	ns     *netlab.NS
	r9     *testbed.Gateway
	r6Side testbed.Tunnel
	r9Side testbed.Tunnel
}

// withStranger makes a bed whose R6 has a second connection, with R9. The tunnel
// between R6 and R8 is up.
func withStranger(t *testing.T, name string) *stranger {
	b := newBed(t, name, netlab.Options{})
	ns, err := b.Namespace("r9")
	check(t, err)
	check(t, b.Link(netlab.End{NS: ns, Name: "out0", Addr: prefixes("192.0.2.9/24")}, netlab.End{NS: b.Wire, Name: "w9"}))
	check(t, b.Link(netlab.End{NS: ns, Name: "in0", Addr: prefixes("10.9.9.1/24")}, netlab.End{NS: ns, Name: "in1"}))
	_, err = b.Wire.Run(t.Context(), "ip", "link", "set", "w9", "master", "br0")
	check(t, err)
	s := &stranger{bed: b, ns: ns}
	r9 := netip.MustParseAddr("192.0.2.9")
	s.r6Side = testbed.Tunnel{Conn: "r9", Local: b.R6Addr, Remote: r9, LocalTS: prefixes("10.6.6.6/32"), RemoteTS: prefixes("10.9.9.9/32")}
	s.r9Side = testbed.Tunnel{Conn: "r6", Local: r9, Remote: b.R6Addr, LocalTS: prefixes("10.9.9.9/32"), RemoteTS: prefixes("10.6.6.6/32")}
	b.r8 = b.start(b.R8, testbed.R8(b.Gateways).YAML())
	b.r6 = b.start(b.R6, testbed.R6(b.Gateways).YAML()+s.r6Side.Connection())
	s.r9 = b.start(ns, s.r9Side.YAML())
	b.links()
	b.up()
	return s
}

// oneLine wants just one warning in what a gateway has logged about a connection
// since the mark, and every word in it and in what show connections says.
func oneLine(t *testing.T, g *testbed.Gateway, conn string, mark int, words ...string) {
	t.Helper()
	var said []string
	for line := range strings.Lines(g.Log()[mark:]) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "conn="+conn) {
			said = append(said, line)
		}
	}
	if len(said) != 1 {
		t.Errorf("%s says %d lines about %s: %q", g.Name, len(said), conn, said)
	}
	c := connection(t, g, conn)
	for _, w := range words {
		if !strings.Contains(strings.Join(said, ""), w) || !strings.Contains(c.Reason, w) || !strings.Contains(c.LastError, w) {
			t.Errorf("%s: %q is missing in the log: %q\nor in show connections: %+v", g.Name, w, said, c)
		}
	}
}

func TestRefusedNegotiations(t *testing.T) {
	s := withStranger(t, "refuse")
	type words []string
	cases := []struct {
		name      string
		change    func(r9 *testbed.Tunnel)
		answering words // R6 says
		asking    words // R9 says
		child     bool  // the IKE SA stands, only its child SA is refused
		weBegin   bool
	}{
		{name: "wrong PSK", change: func(r9 *testbed.Tunnel) { r9.PSK = "another secret of twenty-nine" },
			answering: words{"pre-shared keys differ", "psk"}, asking: words{"AUTHENTICATION_FAILED", "psk"}},
		{name: "wrong PSK, we begin", weBegin: true, change: func(r9 *testbed.Tunnel) { r9.PSK = "another secret of twenty-nine" },
			answering: words{"AUTHENTICATION_FAILED", "psk"}, asking: words{"pre-shared keys differ", "psk"}},
		{name: "no common IKE proposal", change: func(r9 *testbed.Tunnel) { r9.IKE = "aes256gcm16-prfsha384-ecp384" },
			answering: words{"aes256gcm16-prfsha384-ecp384", "aes128gcm16-prfsha256-x25519", "configuration key: ike"},
			asking:    words{"NO_PROPOSAL_CHOSEN", "aes256gcm16-prfsha384-ecp384"}},
		{name: "no common ESP proposal", child: true, change: func(r9 *testbed.Tunnel) { r9.ESP = "aes256gcm16" },
			answering: words{"aes256gcm16", "aes128gcm16", "esp"}, asking: words{"NO_PROPOSAL_CHOSEN", "aes256gcm16", "esp"}},
		{name: "unacceptable selectors", child: true, change: func(r9 *testbed.Tunnel) { r9.RemoteTS = prefixes("10.7.7.7/32") },
			answering: words{"10.7.7.7", "10.6.6.6", "local"}, asking: words{"TS_UNACCEPTABLE", "10.7.7.7"}},
	}
	traffic := make(chan error, 1)
	var results []netlab.BulkResult
	go func() {
		var err error
		results, err = flow(t.Context(), netlab.BulkOptions{Duration: 4 * time.Second, Rate: 2000, Window: 32}, s.ways(4))
		traffic <- err
	}()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tunnel := s.r9Side
			c.change(&tunnel)
			check(t, s.r9.Configure(tunnel.YAML()))
			check(t, s.r9.Reload(t.Context()))
			mark6, mark9, began := len(s.r6.Log()), len(s.r9.Log()), time.Now()
			if c.weBegin {
				check(t, s.r6.Up(t.Context(), api.Target{Conn: "r9"}))
			} else {
				check(t, s.r9.Up(t.Context(), api.Target{Conn: "r6"}))
			}
			s.refused(began, c.child)
			oneLine(t, s.r6, "r9", mark6, c.answering...)
			oneLine(t, s.r9, "r6", mark9, c.asking...)
		})
	}
	check(t, <-traffic)
	arrived(t, results)
	check(t, s.r9.Configure(s.r9Side.YAML()))
	check(t, s.r9.Reload(t.Context()))
	check(t, s.r9.Up(t.Context(), api.Target{Conn: "r6"})) // set right, it works
	check(t, s.r6.Await(t.Context(), patience, "bring r9 up", func() bool { return connection(t, s.r6, "r9").State == "up" }))
	s.noDrops()
}

// refused waits until both ends have noted the failure. An IKE SA that stands
// without a child SA is not up either.
func (s *stranger) refused(began time.Time, child bool) {
	s.t.Helper()
	for g, name := range map[*testbed.Gateway]string{s.r6: "r9", s.r9: "r6"} {
		check(s.t, g.Await(s.t.Context(), patience, "note why the negotiation failed", func() bool {
			c := connection(s.t, g, name)
			return c.State != "up" && (child || c.State == "down") && c.Since.After(began)
		}))
	}
}

// TestGarbage: what strangers send to the ports of IKE, and what spoofs the peer,
// costs the tunnel nothing.
func TestGarbage(t *testing.T) {
	s := withStranger(t, "garbage")
	before := pids(t, s.r6)
	mark, began := len(s.r6.Log()), time.Now()
	traffic := make(chan error, 1)
	var results []netlab.BulkResult
	go func() {
		var err error
		results, err = flow(t.Context(), netlab.BulkOptions{Duration: 4 * time.Second, Rate: 2000, Window: 32}, s.ways(4))
		traffic <- err
	}()
	sent := 0
	for _, from := range []*netlab.NS{s.ns, s.R8} {
		sent += s.spoil(from)
	}
	check(t, <-traffic)
	arrived(t, results)
	if after := pids(t, s.r6); after != before {
		t.Errorf("a process of R6 died: %v, then %v", before, after)
	}
	lines := strings.Count(s.r6.Log()[mark:], "level=INFO") + strings.Count(s.r6.Log()[mark:], "level=WARN")
	if bound := 2*20 + int(20*time.Since(began).Seconds()); lines == 0 || lines > bound {
		t.Errorf("%d datagrams made %d log lines, want some and at most %d", sent, lines, bound)
	}
	s.noDrops("drop_unknown_spi", "drop_unknown_spi_budget", "drop_ike_budget", "drop_truncated", "drop_malformed", "drop_keepalive", "drop_punt_full")
	// R6 still negotiates: with the peer, and with who sent all that.
	check(t, s.r9.Up(t.Context(), api.Target{Conn: "r6"}))
	check(t, s.r6.Await(t.Context(), patience, "bring r9 up", func() bool { return connection(t, s.r6, "r9").State == "up" }))
	s.ping(s.A, s.A4, s.B4, 3)
}

// spoil sends R6 random octets, and real messages cut short, with SPIs of nobody
// and with those of the IKE SA that stands. It returns how many datagrams it sent.
func (s *stranger) spoil(from *netlab.NS) (sent int) {
	s.t.Helper()
	sas, err := testbed.Table[api.IKESA](s.t.Context(), s.r6, api.IKESAs)
	check(s.t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var spoilt [][]byte
	for range 500 {
		b := make([]byte, random.IntN(600))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		spoilt = append(spoilt, b)
	}
	for _, m := range captured(s.t) {
		for n := 0; n < len(m); n += 1 + len(m)/40 {
			spoilt = append(spoilt, m[:n])
		}
		if len(sas) > 0 {
			spis, err := hex.DecodeString(sas[0].SPIi + sas[0].SPIr)
			check(s.t, err)
			live := append(spis, m[16:]...)
			binary.BigEndian.PutUint32(live[20:], uint32(random.IntN(4))) // the message ID
			for n := 16; n <= len(live); n += 1 + len(live)/40 {
				spoilt = append(spoilt, live[:n])
			}
		}
	}
	for _, port := range []string{"500", "4500"} {
		var conn net.Conn
		check(s.t, from.Do(func() (err error) {
			conn, err = net.Dial("udp4", net.JoinHostPort(s.R6Addr.String(), port))
			return err
		}))
		defer conn.Close()
		for i, b := range spoilt {
			if port == "4500" && i%2 == 0 {
				b = append(make([]byte, 4), b...) // behind the non-ESP marker
			}
			if _, err := conn.Write(b); err == nil { // an ICMP error for an earlier one is none of ours
				sent++
			}
			if i%4 == 0 {
				time.Sleep(time.Millisecond) // past the ring of the first veth
			}
		}
	}
	return sent
}

// captured are messages between two strongSwans.
func captured(t *testing.T) (list [][]byte) {
	t.Helper()
	f, err := os.Open("../../ike/wire/testdata/messages.txt")
	check(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if _, data, ok := strings.Cut(lines.Text(), " "); ok {
			if b, err := hex.DecodeString(data); err == nil {
				list = append(list, b)
			}
		}
	}
	if len(list) < 10 {
		t.Fatal("no captured messages")
	}
	return list
}

// pids are those of the three processes of a gateway.
func pids(t *testing.T, g *testbed.Gateway) (all [3]int) {
	t.Helper()
	for i, role := range []string{"run", "datapath", "control"} {
		var err error
		all[i], err = g.PID(role)
		check(t, err)
	}
	return all
}
