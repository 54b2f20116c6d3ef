package main_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/config"
	"spindle/sadb"
	"spindle/sadb/keysock"
	"spindle/tools/netlab"
)

// secgwTunnel is a tunnel with keys by hand: R6 is ours, R8 is ipsec-secgw.
type secgwTunnel struct {
	inner, outer int // IP version
	pair         sadb.SPI
	theirs       uint32 // the SPI that ipsec-secgw takes
	suite        string
	keyLen       int
	algorithm    func(key []byte) string // as ipsec-secgw wants it
}

func colons(b []byte) string {
	words := make([]string, len(b))
	for i, v := range b {
		words[i] = fmt.Sprintf("%02x", v)
	}
	return strings.Join(words, ":")
}

func aead(name string) func([]byte) string {
	return func(key []byte) string { return "aead_algo " + name + " aead_key " + colons(key) }
}

var secgwTunnels = []secgwTunnel{
	{4, 4, sadb.NewSPI(0, 1, 1), 0x5ec60001, "aes128gcm16", 20, aead("aes-128-gcm")},
	{6, 6, sadb.NewSPI(0, 2, 1), 0x5ec60002, "aes256gcm16", 36, aead("aes-256-gcm")},
}

// keys are two that differ: ours to send with, and theirs.
func (s *secgwTunnel) keys() (out, in sadb.Key) {
	return bytes.Repeat([]byte{0x60 + byte(s.inner)}, s.keyLen), bytes.Repeat([]byte{0x80 + byte(s.inner)}, s.keyLen)
}

func (s *secgwTunnel) ends(b *bed) (a, host, r6, r8 netip.Addr) {
	a, host, r6, r8 = b.A4, b.B4, netip.MustParseAddr("192.0.2.6"), netip.MustParseAddr("192.0.2.8")
	if s.inner == 6 {
		a, host = b.A6, b.B6
	}
	if s.outer == 6 {
		r6, r8 = netip.MustParseAddr("2001:db8:0:1::6"), netip.MustParseAddr("2001:db8:0:1::8")
	}
	return a, host, r6, r8
}

// install gives the tunnel to our data path.
func (s *secgwTunnel) install(b *bed, m *manual, id sadb.PolicyID) {
	a, host, r6, r8 := s.ends(b)
	one := func(a netip.Addr) []sadb.Selector {
		return []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(a, a.BitLen()))}
	}
	out, in := s.keys()
	sa := sadb.SA{
		SPI: s.pair, Direction: sadb.Inbound, ReplayWindow: 64, Suite: s.suite, Key: in,
		Local: netip.AddrPortFrom(r6, 0), Remote: netip.AddrPortFrom(r8, 0),
		LocalTS: one(a), RemoteTS: one(host), Pair: s.pair, Conn: "secgw", Child: s.suite,
	}
	back := sa
	back.SPI, back.Direction, back.Key, back.Policy = sadb.SPI(s.theirs), sadb.Outbound, out, id
	m.tell(
		keysock.PolicyAdd{Policy: sadb.Policy{ID: id, Priority: 100, Local: sa.LocalTS, Remote: sa.RemoteTS, Conn: "secgw", Child: s.suite}},
		keysock.Add{SA: sa}, keysock.Add{SA: back})
}

// config is the tunnel in ipsec-secgw's words: its port 0 is on the encrypted side.
func (s *secgwTunnel) config(b *bed) string {
	a, host, r6, r8 := s.ends(b)
	out, in := s.keys() // of ours: the other way round there
	var c strings.Builder
	for _, side := range []struct {
		word               string
		spi                uint32
		key                sadb.Key
		src, dst, from, to netip.Addr
	}{{"out", uint32(s.pair), in, host, a, r8, r6}, {"in", s.theirs, out, a, host, r6, r8}} {
		fmt.Fprintf(&c, "sp ipv%d %s esp protect %d pri 1 src %v/%d dst %v/%d sport 0:65535 dport 0:65535\n",
			s.inner, side.word, side.spi, side.src, side.src.BitLen(), side.dst, side.dst.BitLen())
		fmt.Fprintf(&c, "sa %s %d %s mode ipv%d-tunnel src %v dst %v\n", side.word, side.spi, s.algorithm(side.key), s.outer, side.from, side.to)
	}
	fmt.Fprintf(&c, "rt ipv%d dst %v/%d port 0\nrt ipv%d dst %v/%d port 1\n", s.outer, r6, r6.BitLen(), s.inner, host, host.BitLen())
	return c.String()
}

// secgw starts ipsec-secgw on R8's two ports. It knows no ARP and the kernel must not
// answer in its place: R8 loses its addresses, and its neighbours are told its MACs.
func (b *bed) secgw(exe string) *netlab.Process {
	b.t.Helper()
	mac := func(ns *netlab.NS, port string) string {
		a, err := ns.HardwareAddr(port)
		check(b.t, err)
		return a.String()
	}
	for _, c := range []struct {
		ns   *netlab.NS
		argv string
	}{
		{b.R8, "ip address flush dev in0"}, {b.R8, "ip address flush dev out0"},
		{b.R8, "ip link set in0 up"}, {b.R8, "ip link set out0 up"},
		{b.R6, "ip neigh replace 192.0.2.8 dev out0 lladdr " + mac(b.R8, "out0")},
		{b.R6, "ip neigh replace 2001:db8:0:1::8 dev out0 lladdr " + mac(b.R8, "out0")},
		{b.B, "ip neigh replace 10.8.8.1 dev eth0 lladdr " + mac(b.R8, "in0")},
		{b.B, "ip neigh replace 2001:db8:8::1 dev eth0 lladdr " + mac(b.R8, "in0")},
		{b.B, "ethtool -K eth0 tx off"}, // nobody behind AF_PACKET completes a checksum
	} {
		_, err := c.ns.Run(b.t.Context(), strings.Fields(c.argv)...)
		check(b.t, err)
	}
	text := fmt.Sprintf("neigh port 0 %s\nneigh port 1 %s\n", mac(b.R6, "out0"), mac(b.B, "eth0"))
	for i := range secgwTunnels {
		text = secgwTunnels[i].config(b) + text
	}
	file := filepath.Join(b.t.TempDir(), "secgw.cfg")
	check(b.t, os.WriteFile(file, []byte(text), 0o600))
	prefix := fmt.Sprintf("spindle-e2e-%d", os.Getpid()) // names its run-time files
	p, err := b.R8.Start(exe, "-l", "1", "--no-huge", "-m", "512", "--no-pci", "--no-telemetry", "--file-prefix="+prefix,
		"--vdev", "net_af_packet0,iface=out0", "--vdev", "net_af_packet1,iface=in0", "--vdev", "crypto_aesni_gcm0",
		"--", "-p", "0x3", "-P", "-u", "0x1", "--config", "(0,0,1),(1,0,1)", "-l", "-w", "64", "-f", file)
	check(b.t, err)
	b.t.Cleanup(func() {
		p.Stop()
		check(b.t, os.RemoveAll(filepath.Join("/var/run/dpdk", prefix)))
		if b.t.Failed() {
			b.t.Logf("ipsec-secgw with\n%s\nsaid:\n%s", text, p.Output())
		}
	})
	return p
}

// TestNativeESPWithSecgw: DPDK's ipsec-secgw, another implementation that speaks
// native ESP and has its keys by hand, opens what we seal and we open what it seals.
func TestNativeESPWithSecgw(t *testing.T) {
	exe, err := filepath.Abs("../../bin/ipsec-secgw")
	check(t, err)
	if _, err := os.Stat(exe); err != nil {
		t.Skip("needs DPDK's ipsec-secgw: run `make peers`")
	}
	b := newBed(t, "secgw", netlab.Options{})
	m := b.manualDataPath(b.R6, config.Datapath{Outside: []string{"out0"}, Inside: []string{"in0"}, XDP: "auto", UMEM: "auto", CPUs: []int{0}})
	for i := range secgwTunnels {
		secgwTunnels[i].install(b, m, sadb.PolicyID(i+1))
	}
	p := b.secgw(exe)
	check(t, b.R6.AwaitLink(t.Context(), "out0"))
	for i := range secgwTunnels {
		s := &secgwTunnels[i]
		b.answered(p, s)
		results, err := flow(t.Context(), netlab.BulkOptions{Packets: 1000, Window: 16}, b.ways(s.inner))
		check(t, err)
		arrived(t, results)
		in, out := m.usage(s.pair, sadb.Inbound), m.usage(s.pair, sadb.Outbound)
		if in.Packets < 1000 || out.Packets < 1000 || in.Drops+out.Drops != 0 {
			t.Errorf("%s: %d packets in, %d out, %d dropped", s.suite, in.Packets, out.Packets, in.Drops+out.Drops)
		}
	}
	counts, err := b.wire.Read()
	check(t, err)
	if counts.ESP.Frames < 4000 || counts.Clear.Frames+counts.ESPinUDP.Frames > 0 {
		t.Errorf("on the wire: %v", counts)
	}
}

// answered waits until ipsec-secgw has started: a ping has come back.
func (b *bed) answered(p *netlab.Process, s *secgwTunnel) {
	b.t.Helper()
	a, host, _, _ := s.ends(b)
	for deadline := time.Now().Add(patience); ; {
		r, err := netlab.Ping(b.t.Context(), b.A, a, host, 1, 0, 500*time.Millisecond)
		check(b.t, err)
		if r.Received == 1 {
			return
		}
		select {
		case <-p.Done():
			b.t.Fatal("ipsec-secgw ended")
		default:
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("no answer through ipsec-secgw with %s within %v", s.suite, patience)
		}
	}
}
