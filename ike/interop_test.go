package ike_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

// TestStrongSwan talks to strongSwan over real sockets, as initiator and as
// responder: handshake, rekeys of child and IKE SA by either end, deletes. The
// keys of every child SA are compared with those that strongSwan logs.
func TestStrongSwan(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	if _, err := exec.LookPath("charon-systemd"); err != nil {
		t.Skip("needs strongSwan: apt install charon-systemd strongswan-swanctl libcharon-extra-plugins")
	}
	for _, c := range []struct{ name, ike, esp string }{
		{"gcm-ecp256", "aes128gcm16-prfsha256-ecp256", "aes128gcm16"},
		{"cbc-modp2048-pfs", "aes256-sha256-modp2048", "aes256-sha256-x25519"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSwan(t, c.ike, c.esp)
			p := newGateway(t, s, c.ike, c.esp)
			s.load(t)
			interop(t, s, p)
		})
	}
}

func interop(t *testing.T, s *swan, p *gateway) {
	p.step(session.Initiate{Conn: "t"})
	p.wait("our handshake", func() bool { return len(p.out) == 1 })
	p.rekeyed("our child rekey", func() {
		for pair := range p.in {
			p.step(session.Expire{Pair: pair, Cause: "bytes"})
		}
	})
	p.rekeyed("its child rekey", func() { s.swanctl(t, "--rekey", "--child", "c") })
	spi := p.ikeSPI()
	s.swanctl(t, "--rekey", "--ike", "t")
	p.wait("its IKE rekey", func() bool { return p.ikeSPI() != spi && p.ikeSPI() != 0 })
	p.rekeyed("our child rekey in its IKE SA", func() {
		for pair, sa := range p.in {
			if _, ok := p.out[pair]; ok {
				p.step(session.Expire{Pair: sa.Pair, Cause: "bytes"})
			}
		}
	})
	s.swanctl(t, "--terminate", "--ike", "t")
	p.wait("its delete", func() bool { return len(p.out) == 0 && len(p.in) == 0 })
	s.swanctl(t, "--initiate", "--child", "c")
	p.wait("its handshake", func() bool { return len(p.out) == 1 })
	p.rekeyed("our child rekey as responder", func() {
		for pair := range p.in {
			p.step(session.Expire{Pair: pair, Cause: "bytes"})
		}
	})
	p.step(session.Terminate{Conn: "t"})
	p.wait("our delete", func() bool { return p.ikeSPI() == 0 })
	s.compareKeys(t, p.keys)
}

// gateway is an engine on real sockets in a network namespace.
type gateway struct {
	t      *testing.T
	engine *ike.Engine
	socks  map[uint16]*net.UDPConn
	inbox  chan session.Datagram

	in, out map[sadb.SPI]sadb.SA
	keys    []sadb.SA // of every SA there was
}

func newGateway(t *testing.T, s *swan, ikeWords, espWords string) *gateway {
	spis := sadb.NewAllocator(2, rand.Reader)
	p := &gateway{t: t, engine: ike.New(ike.Config{Rand: rand.Reader, SPIs: spis, Trace: true}),
		socks: map[uint16]*net.UDPConn{}, inbox: make(chan session.Datagram, 64),
		in: map[sadb.SPI]sadb.SA{}, out: map[sadb.SPI]sadb.SA{}}
	for _, port := range []uint16{500, 4500} {
		p.socks[port] = listen(t, s.ns("a"), netip.AddrPortFrom(us, port))
		go p.read(p.socks[port], port)
	}
	ikeProposal, err := suite.ParseIKE(ikeWords)
	if err != nil {
		t.Fatal(err)
	}
	espProposal, err := suite.ParseESP(espWords)
	if err != nil {
		t.Fatal(err)
	}
	p.step(session.ConfigChanged{Connections: []session.Connection{{
		Name: "t", Version: 2, PSK: session.Secret("a shared secret"),
		Local:  session.Endpoint{Addresses: []netip.Addr{us}, ID: session.Identity{Type: session.IDIPv4, Data: us.AsSlice()}},
		Remote: session.Endpoint{Addresses: []netip.Addr{them}, ID: session.Identity{Type: session.IDIPv4, Data: them.AsSlice()}},
		IKE:    []suite.Proposal{ikeProposal},
		Children: []session.Child{{Name: "c", ESP: []suite.Proposal{espProposal}, ReplayWindow: 64,
			Local:  []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.1.0.0/24"))},
			Remote: []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.2.0.0/24"))}}},
	}}})
	return p
}

// read takes IKE messages; on port 4500 those with the non-ESP marker.
func (p *gateway) read(sock *net.UDPConn, port uint16) {
	buf := make([]byte, 65536)
	for {
		n, from, err := sock.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		data := bytes.Clone(buf[:n])
		if port == 4500 {
			var ok bool
			if data, ok = bytes.CutPrefix(data, make([]byte, 4)); !ok {
				continue
			}
		}
		p.inbox <- session.Datagram{Local: netip.AddrPortFrom(us, port), Remote: from, Data: data}
	}
}

func (p *gateway) step(in session.Input) {
	for _, o := range p.engine.Step(time.Now(), in) {
		switch o := o.(type) {
		case session.Send:
			data := o.Data
			if o.Local.Port() == 4500 {
				data = append(make([]byte, 4), data...)
			}
			if _, err := p.socks[o.Local.Port()].WriteToUDPAddrPort(data, o.Remote); err != nil {
				p.t.Log(err)
			}
		case session.AddSA:
			p.keys = append(p.keys, o.SA)
			if o.SA.Direction == sadb.Inbound {
				p.in[o.SA.Pair] = o.SA
			} else {
				p.out[o.SA.Pair] = o.SA
			}
		case session.DeleteSA:
			if o.Direction == sadb.Inbound {
				delete(p.in, o.Pair)
			} else {
				delete(p.out, o.Pair)
			}
		case session.Audit:
			p.t.Log(o.Level, o.Event, o.Attrs)
		}
	}
}

// wait runs the engine until something holds.
func (p *gateway) wait(what string, done func() bool) {
	p.t.Helper()
	end := time.After(15 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case d := <-p.inbox:
			p.step(d)
		case <-tick.C:
			p.step(session.Tick{})
		case <-end:
			p.t.Fatalf("%s: not within 15 s; status %+v", what, p.engine.Status(time.Now()))
		}
	}
	p.t.Log("done:", what)
}

// rekeyed waits for another outbound SA alone to stand.
func (p *gateway) rekeyed(what string, trigger func()) {
	p.t.Helper()
	old := p.out
	p.out = map[sadb.SPI]sadb.SA{}
	for pair, sa := range old {
		p.out[pair] = sa
	}
	trigger()
	p.wait(what, func() bool {
		if len(p.out) != 1 {
			return false
		}
		for pair := range p.out {
			if _, ok := old[pair]; ok {
				return false
			}
		}
		return true
	})
}

// ikeSPI names the one IKE SA that stands, 0 for none.
func (p *gateway) ikeSPI() uint64 {
	for _, s := range p.engine.Status(time.Now()).IKE {
		if s.State == "established" {
			return s.SPIi
		}
	}
	return 0
}

// listen opens a socket in a network namespace.
func listen(t *testing.T, name string, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := netns.GetFromName(name)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		t.Fatal(err)
	}
	sock, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if back := netns.Set(here); back != nil {
		t.Fatal(back)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sock.Close() })
	return sock
}

var (
	us   = netip.MustParseAddr("192.0.2.1")
	them = netip.MustParseAddr("192.0.2.2")
)

// swan is strongSwan in a namespace of its own.
type swan struct {
	dir  string
	name string
	ike  string
	esp  string
}

func (s *swan) ns(end string) string { return s.name + end }

func newSwan(t *testing.T, ikeWords, espWords string) *swan {
	s := &swan{dir: t.TempDir(), name: fmt.Sprintf("spl-ike-%d", os.Getpid()), ike: ikeWords, esp: espWords}
	t.Cleanup(func() {
		exec.Command("ip", "netns", "del", s.ns("a")).Run()
		exec.Command("ip", "netns", "del", s.ns("b")).Run()
	})
	for _, line := range []string{
		"netns add A", "netns add B",
		"link add v0 netns A type veth peer name v0 netns B",
		"-n A addr add 192.0.2.1/24 dev v0", "-n B addr add 192.0.2.2/24 dev v0",
		"-n A link set v0 up", "-n B link set v0 up", "-n B link set lo up", "-n B addr add 10.2.0.1/24 dev lo",
	} {
		line = strings.NewReplacer("A", s.ns("a"), "B", s.ns("b")).Replace(line)
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", line, err, out)
		}
	}
	s.write(t)
	return s
}

// write makes strongSwan's configuration: the userland ESP plugin, which fakes
// a NAT, and keys in the log.
func (s *swan) write(t *testing.T) {
	conf := `charon-systemd {
  load_modular = yes
  plugins {
    include /etc/strongswan.d/charon/*.conf
    kernel-libipsec { load = yes }
    vici { load = yes
      socket = unix://DIR/a.vici }
    bypass-lan { load = no }
    connmark { load = no }
    stroke { load = no }
    farp { load = no }
    dhcp { load = no }
  }
  journal { default = -1 }
  filelog { f { path = DIR/a.log
    flush_line = yes
    default = 1
    chd = 4
    ike = 2 } }
}
`
	connections := `connections { t { version = 2
 local_addrs = 192.0.2.2
 remote_addrs = 192.0.2.1
 proposals = IKE
 local { auth = psk
 id = 192.0.2.2 }
 remote { auth = psk
 id = 192.0.2.1 }
 children { c { local_ts = 10.2.0.0/24
  remote_ts = 10.1.0.0/24
  esp_proposals = ESP } } } }
secrets { ike-1 { secret = "a shared secret" } }
`
	fill := strings.NewReplacer("DIR", s.dir, "IKE", s.ike, "ESP", s.esp)
	for name, text := range map[string]string{"a.conf": conf, "a.swanctl": connections} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(fill.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// load starts charon and gives it its connections.
func (s *swan) load(t *testing.T) {
	cmd := exec.Command("ip", "netns", "exec", s.ns("b"), "charon-systemd")
	cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+filepath.Join(s.dir, "a.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		stop := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		stop.Stop()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "a.log"))
			t.Logf("strongSwan:\n%s", tail(log, 12000))
		}
	})
	for range 100 { // the socket is there before anybody listens on it
		if c, err := net.Dial("unix", filepath.Join(s.dir, "a.vici")); err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.swanctl(t, "--load-all", "--file", filepath.Join(s.dir, "a.swanctl"))
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// swanctl drives strongSwan. What takes two is started without waiting for it.
func (s *swan) swanctl(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("swanctl", append(args, "--uri", "unix://"+filepath.Join(s.dir, "a.vici"))...)
	cmd.Env = append(os.Environ(), "STRONGSWAN_CONF="+filepath.Join(s.dir, "a.conf"))
	if args[0] == "--load-all" {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("swanctl %v: %v\n%s", args, err, out)
		}
		return
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

var hexLine = regexp.MustCompile(`\[CHD\]\s+\d+: ((?:[0-9A-F]{2} )+)`)

// compareKeys looks for the key of every SA of ours in strongSwan's log.
func (s *swan) compareKeys(t *testing.T, ours []sadb.SA) {
	log, err := os.ReadFile(filepath.Join(s.dir, "a.log"))
	if err != nil {
		t.Fatal(err)
	}
	var dump strings.Builder
	for lines := bufio.NewScanner(bytes.NewReader(log)); lines.Scan(); {
		if m := hexLine.FindStringSubmatch(lines.Text()); m != nil {
			dump.WriteString(strings.ReplaceAll(m[1], " ", ""))
		} else {
			dump.WriteByte('\n')
		}
	}
	theirs := strings.Split(dump.String(), "\n")
	if len(ours) < 10 {
		t.Errorf("only %d SAs", len(ours))
	}
	for _, sa := range ours {
		key := strings.ToUpper(hex.EncodeToString(sa.Key))
		const shortest = 2 * 8 // digits: that of DES
		if !slices.ContainsFunc(theirs, func(line string) bool { return strings.HasPrefix(key, line) && len(line) >= shortest }) {
			t.Errorf("strongSwan has no key like that of our %s SA %v", sa.Direction, sa.SPI)
		}
	}
}
