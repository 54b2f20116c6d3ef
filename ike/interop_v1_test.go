package ike_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

// v1Case is one way to speak IKEv1 with strongSwan.
type v1Case struct {
	name, ike, esp string
	swan           string // its connection beside what all have
	theirs         string // its local and remote sections, empty for a pre-shared key and addresses
	child          string // its child beside what all have
	ours           func(c *session.Connection)
}

// TestStrongSwanV1 does in IKEv1 what TestStrongSwan does: main and aggressive
// mode, strong and weak algorithms, rekeys of both phases by either end, DPD and
// deletes, as initiator and as responder.
func TestStrongSwanV1(t *testing.T) {
	needsSwan(t)
	for _, c := range []v1Case{
		{name: "main-ecp256", ike: "aes128-sha256-ecp256", esp: "aes128gcm16"},
		{name: "main-des", ike: "des-md5-modp768", esp: "des-md5"},
		{name: "main-modp1536", ike: "3des-md5-modp1536", esp: "3des-md5-modp1536"},
		{name: "main-3des-pfs", ike: "3des-sha1-modp1024", esp: "3des-sha1-modp1024"},
		{name: "aggressive", ike: "aes256-sha1-modp2048", esp: "aes256-sha256", swan: "aggressive = yes",
			theirs: "local { auth = psk\n id = hub.example }\n remote { auth = psk\n id = road.example }",
			ours: func(c *session.Connection) {
				c.V1.Aggressive = true
				c.Local.ID, c.Remote.ID = name("road.example"), name("hub.example")
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := c.start(t)
			interopV1(t, s, p)
		})
	}
}

func needsSwan(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	if _, err := exec.LookPath("charon-systemd"); err != nil {
		t.Skip("needs strongSwan: apt install charon-systemd strongswan-swanctl libcharon-extra-plugins libcharon-extauth-plugins")
	}
}

func name(s string) session.Identity {
	return session.Identity{Type: session.IDFQDN, Data: []byte(s)}
}

func (c v1Case) start(t *testing.T) (*swan, *gateway) {
	s := newSwan(t, c.ike, c.esp)
	theirs := c.theirs
	if theirs == "" {
		theirs = "local { auth = psk\n id = 192.0.2.2 }\n remote { auth = psk\n id = 192.0.2.1 }"
	}
	selectors := "remote_ts = 10.1.0.0/24"
	if strings.Contains(c.child, "remote_ts") {
		selectors = ""
	}
	s.replace(t, "connections { t { version = 1\n local_addrs = 192.0.2.2\n remote_addrs = 192.0.2.1\n proposals = "+c.ike+"\n"+c.swan+"\n"+theirs+
		"\n children { c { local_ts = 10.2.0.0/24\n "+selectors+"\n esp_proposals = "+c.esp+"\n "+c.child+" } } } }\n"+
		"pools { p { addrs = 10.9.0.0/24\n dns = 10.2.0.53\n split_include = 10.2.0.0/24 } }\n"+
		"secrets { ike-1 { secret = \"a shared secret\" }\n xauth-c { id = carol\n secret = \"tiramisu\" } }\n")
	p := newGateway(t, s, "aes128gcm16-prfsha256-ecp256", "aes128gcm16")
	p.step(session.ConfigChanged{Connections: []session.Connection{c.connection(t)}})
	s.load(t)
	return s, p
}

// replace writes another file for swanctl.
func (s *swan) replace(t *testing.T, text string) {
	if err := os.WriteFile(filepath.Join(s.dir, "a.swanctl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(filepath.Join(s.dir, "a.conf"))
	if err != nil {
		t.Fatal(err)
	}
	more := "charon-systemd {\n  i_dont_care_about_security_and_use_aggressive_mode_psk = yes\n  cisco_unity = yes\n"
	text = strings.Replace(string(conf), "charon-systemd {\n", more, 1)
	if err := os.WriteFile(filepath.Join(s.dir, "a.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c v1Case) connection(t *testing.T) session.Connection {
	weak := suite.AllowWeak{"3des", "des", "sha1", "md5", "modp1536", "modp1024", "modp768"}
	ikeProposal, err := weak.ParseIKE(c.ike)
	if err != nil {
		t.Fatal(err)
	}
	espProposal, err := weak.ParseESP(c.esp)
	if err != nil {
		t.Fatal(err)
	}
	conf := session.Connection{
		Name: "t", Version: 1, PSK: session.Secret("a shared secret"),
		Local:  session.Endpoint{Addresses: []netip.Addr{us}, ID: session.Identity{Type: session.IDIPv4, Data: us.AsSlice()}},
		Remote: session.Endpoint{Addresses: []netip.Addr{them}, ID: session.Identity{Type: session.IDIPv4, Data: them.AsSlice()}},
		IKE:    []suite.Proposal{ikeProposal},
		DPD:    session.DPD{Mode: session.DPDPeriodic, Interval: time.Second, Retry: 2 * time.Second, Tries: 5},
		Children: []session.Child{{Name: "c", ESP: []suite.Proposal{espProposal}, ReplayWindow: 64, Lifetime: sadb.Lifetime{Time: time.Hour},
			Local:  []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.1.0.0/24"))},
			Remote: []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.2.0.0/24"))}}},
	}
	if c.ours != nil {
		c.ours(&conf)
	}
	return conf
}

func interopV1(t *testing.T, s *swan, p *gateway) {
	p.step(session.Initiate{Conn: "t"})
	p.wait("our handshake", func() bool { return len(p.out) == 1 })
	p.rekeyed("our child rekey", p.expireAll)
	p.rekeyed("its child rekey", func() { s.swanctl(t, "--rekey", "--child", "c") })
	// Sooner it looks as if both had opened phase 1 at once, and one of the two goes.
	p.wait("phase 1 to be settled", func() bool { return p.status().Age > time.Second })
	spi := p.ikeSPI()
	s.swanctl(t, "--rekey", "--ike", "t")
	p.wait("its rekey of phase 1", func() bool { return p.ikeSPI() != spi && p.ikeSPI() != 0 })
	if len(p.out) != 1 {
		t.Errorf("the rekey of phase 1 left %d outbound SAs", len(p.out))
	}
	p.rekeyed("our child rekey over its phase 1", p.expireAll)
	p.answered()
	s.swanctl(t, "--terminate", "--ike", "t")
	p.wait("its delete", func() bool { return len(p.out) == 0 && p.ikeSPI() == 0 })
	s.swanctl(t, "--initiate", "--child", "c")
	p.wait("its handshake", func() bool { return len(p.out) == 1 })
	p.rekeyed("our child rekey as responder", p.expireAll)
	p.answered() // and so has derived the last keys
	p.step(session.Terminate{Conn: "t"})
	p.wait("our delete", func() bool { return p.ikeSPI() == 0 })
	s.compareKeys(t, p.keys)
}

// answered waits until strongSwan answers a query.
func (p *gateway) answered() {
	since := time.Now()
	p.wait("its answer to DPD", func() bool { return p.status().DPD.LastReceived.After(since) })
}

// expireAll asks for a successor of every child SA that sends.
func (p *gateway) expireAll() {
	for pair := range p.in {
		if _, ok := p.out[pair]; ok {
			p.step(session.Expire{Pair: pair, Cause: "bytes"})
		}
	}
}

func (p *gateway) status() session.IKEStatus {
	for _, s := range p.engine.Status(time.Now()).IKE {
		if s.State == "established" {
			return s
		}
	}
	return session.IKEStatus{}
}

// TestStrongSwanXAuth: an Easy VPN client with strongSwan's server, which asks
// for user and password and gives an address, by pull and by push; and a wrong
// password.
func TestStrongSwanXAuth(t *testing.T) {
	needsSwan(t)
	client := func(c *session.Connection) {
		c.V1 = session.V1{Aggressive: true, User: "carol", Password: session.Secret("tiramisu"), Config: true}
		c.Local.ID, c.Remote.ID = name("road.example"), name("hub.example")
		c.Children[0].Remote = []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("0.0.0.0/0"))}
	}
	base := v1Case{ike: "aes128-sha1-modp2048", esp: "aes128gcm16", swan: "aggressive = yes\n pools = p", child: "remote_ts = dynamic",
		theirs: "local { auth = psk\n id = hub.example }\n remote { auth = psk\n id = road.example }\n remote-2 { auth = xauth }",
		ours:   client}
	for _, push := range []bool{false, true} {
		c := base
		c.name = map[bool]string{false: "pull", true: "push"}[push]
		if push {
			c.swan += "\n pull = no"
			c.ours = func(conf *session.Connection) { client(conf); conf.V1.Push = true }
		}
		t.Run(c.name, func(t *testing.T) {
			_, p := c.start(t)
			p.step(session.Initiate{Conn: "t"})
			p.wait("our handshake", func() bool { return len(p.out) == 1 })
			for _, sa := range p.out {
				if sa.LocalTS[0].String() != "10.9.0.1/32" || sa.RemoteTS[0].String() != "10.2.0.0/24" {
					t.Errorf("selectors %v to %v", sa.LocalTS, sa.RemoteTS)
				}
			}
			p.step(session.Terminate{Conn: "t"})
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		c := base
		c.ours = func(conf *session.Connection) { client(conf); conf.V1.Password = session.Secret("panettone") }
		_, p := c.start(t)
		p.step(session.Initiate{Conn: "t"})
		p.wait("its refusal", func() bool {
			return strings.Contains(p.engine.Status(time.Now()).Connections[0].LastError, "refuses user or password")
		})
	})
}

// TestStrongSwanXAuthClient is the other way round: strongSwan is the client of
// our server, in main and in aggressive mode.
func TestStrongSwanXAuthClient(t *testing.T) {
	needsSwan(t)
	server := func(c *session.Connection) {
		c.V1 = session.V1{Aggressive: true, XAuth: true}
		c.Pool = &session.Pool{Ranges: []session.AddressRange{session.HostRange(netip.MustParsePrefix("10.9.0.0/24"))},
			DNS: []netip.Addr{netip.MustParseAddr("10.1.0.53")}, Subnets: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}
		c.Users, _ = session.ParseUsers([]byte("carol tiramisu"))
		c.Local.ID, c.Remote.ID = name("hub.example"), name("road.example")
		c.Children[0].Remote = []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.9.0.0/24"))}
	}
	c := v1Case{name: "aggressive", ike: "aes128-sha256-modp2048", esp: "aes128gcm16", swan: "aggressive = yes\n vips = 0.0.0.0", child: "remote_ts = 10.1.0.0/24",
		theirs: "local { auth = psk\n id = road.example }\n local-2 { auth = xauth\n xauth_id = carol }\n remote { auth = psk\n id = hub.example }", ours: server}
	s := newSwanClient(t, c)
	s.swanctl(t, "--initiate", "--child", "c")
	p := s.gateway
	p.wait("its handshake", func() bool { return len(p.out) == 1 })
	for _, sa := range p.out {
		if sa.LocalTS[0].String() != "10.1.0.0/24" || sa.RemoteTS[0].String() != "10.9.0.1/32" {
			t.Errorf("selectors %v to %v", sa.LocalTS, sa.RemoteTS)
		}
	}
	p.step(session.Terminate{Conn: "t"})
}

type swanClient struct {
	*swan
	gateway *gateway
}

func newSwanClient(t *testing.T, c v1Case) swanClient {
	s, p := c.start(t)
	text, err := os.ReadFile(filepath.Join(s.dir, "a.swanctl"))
	if err != nil {
		t.Fatal(err)
	}
	s.replace(t, strings.Replace(string(text), "local_ts = 10.2.0.0/24\n", "local_ts = dynamic\n", 1))
	s.swanctl(t, "--load-all", "--file", filepath.Join(s.dir, "a.swanctl"))
	return swanClient{s, p}
}
