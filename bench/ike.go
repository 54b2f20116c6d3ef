package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"runtime"
	"time"

	"spindle/ike"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/sadb"
)

// IKEOptions say what to run.
type IKEOptions struct {
	Auths  []string      // psk, ecdsa; empty: both
	Time   time.Duration // of handshakes, for each
	Held   int           // IKE SAs that are held at once, for memory; 0 leaves that out
	CPU    int
	Commit string
}

// IKERow is what one way to authenticate costs.
type IKERow struct {
	Auth       string `json:"auth"`
	IKE        string `json:"ike"`
	ESP        string `json:"esp"`
	Handshakes int    `json:"handshakes"`

	// A full handshake is IKE_SA_INIT and IKE_AUTH with the first child SA. Each
	// rate is what one core does that is only initiator, only responder, or both.
	InitiatorPerSecond float64 `json:"initiator_handshakes_per_s_per_core"`
	ResponderPerSecond float64 `json:"responder_handshakes_per_s_per_core"`
	PerSecond          float64 `json:"handshakes_per_s_per_core"`

	// Memory of one gateway, with Held IKE SAs and as many child SAs standing.
	Held          int     `json:"held"`
	BytesPerIKE   float64 `json:"bytes_per_ike_sa"`
	BytesPerChild float64 `json:"bytes_per_child_sa"`

	Machine Machine `json:"machine"`
}

// IKENotMeasured is what the rows do not show.
var IKENotMeasured = []string{
	"sockets, the socket pair to the data path, and the data path itself: messages go from one engine to the other in memory",
	"loss, retransmission, NAT and cookies",
	"memory of the data path's SAs, of the ledger that restores them, and of configured connections",
}

const (
	benchIKE = "aes128gcm16-prfsha256-x25519"
	benchESP = "aes128gcm16"
)

// IKE measures full handshakes between two engines in this process, and what the
// SAs that stand take.
func IKE(ctx context.Context, o IKEOptions, done func(IKERow) error) error {
	machine := Fingerprint(o.Commit)
	unpin, err := pin(o.CPU)
	if err != nil {
		return err
	}
	defer unpin()
	if len(o.Auths) == 0 {
		o.Auths = []string{"psk", "ecdsa"}
	}
	for i, auth := range o.Auths {
		row := IKERow{Auth: auth, IKE: benchIKE, ESP: benchESP, Machine: machine}
		ends, err := newEnds(auth)
		if err != nil {
			return err
		}
		if err := ends.handshakes(ctx, o.Time, &row); err != nil {
			return err
		}
		if i == 0 && o.Held > 0 { // what stands is the same however it was authenticated
			if err := ends.hold(ctx, o.Held, &row); err != nil {
				return err
			}
		}
		if err := done(row); err != nil {
			return err
		}
	}
	return nil
}

// ends are the two connections as their gateways are configured.
type ends struct{ client, server session.Connection }

var benchServer = netip.MustParseAddr("192.0.2.2")

func newEnds(auth string) (*ends, error) {
	proposal, err := suite.ParseIKE(benchIKE)
	if err != nil {
		return nil, err
	}
	esp, err := suite.ParseESP(benchESP)
	if err != nil {
		return nil, err
	}
	all := []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.0.0.0/8"))}
	child := session.Child{Name: "first", Local: all, Remote: all, ESP: []suite.Proposal{esp}, Lifetime: sadb.Lifetime{Time: 24 * time.Hour}, ReplayWindow: 64}
	common := session.Connection{Name: "bench", Version: 2, IKE: []suite.Proposal{proposal}, Children: []session.Child{child},
		PSK: session.Secret("a shared secret of thirty octets"), Start: session.StartTraffic, Lifetime: 24 * time.Hour}
	e := &ends{client: common, server: common}
	e.client.Remote = session.Endpoint{Addresses: []netip.Addr{benchServer}, Hosts: []string{benchServer.String()}, ID: named("server.bench")}
	e.server.Local = session.Endpoint{Addresses: []netip.Addr{benchServer}, ID: named("server.bench")}
	if auth == "psk" {
		return e, nil
	}
	return e, e.certify()
}

func named(name string) session.Identity {
	return session.Identity{Type: session.IDFQDN, Data: []byte(name)}
}

// certify gives both ends a certificate of one authority, with keys on P-256.
func (e *ends) certify() error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	authority, err := x509.ParseCertificate(raw)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		conn *session.Connection
		name string
	}{{&e.client, "client.bench"}, {&e.server, "server.bench"}} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: c.name}, DNSNames: []string{c.name},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature}
		if raw, err = x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, caKey); err != nil {
			return err
		}
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return err
		}
		c.conn.Credential = &session.Credential{Chain: []*x509.Certificate{cert}, Key: session.PrivateKey{Signer: key}}
		c.conn.Trust = &session.Trust{Authorities: []*x509.Certificate{authority}}
		c.conn.Local.Auth, c.conn.Remote.Auth = session.AuthCert, session.AuthCert
	}
	return nil
}

// pairOfEngines are the two gateways and the wire between them.
type pairOfEngines struct {
	now            time.Time
	client, server *ike.Engine
	clientTime     time.Duration // on a CPU
	serverTime     time.Duration
	up             int // child SAs at the client
	refused        string
}

func (e *ends) pair(clients []session.Connection) *pairOfEngines {
	p := &pairOfEngines{now: time.Now()}
	p.client = ike.New(ike.Config{Rand: rand.Reader, SPIs: sadb.NewAllocator(1, rand.Reader)})
	p.server = ike.New(ike.Config{Rand: rand.Reader, SPIs: sadb.NewAllocator(1, rand.Reader)})
	p.server.Step(p.now, session.ConfigChanged{Connections: []session.Connection{e.server}})
	p.client.Step(p.now, session.ConfigChanged{Connections: clients})
	return p
}

// clientAt is the configuration of one client, whose address and selectors nobody
// else has.
func (e *ends) clientAt(n int) session.Connection {
	c := e.client
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(n)+1)
	addr := netip.AddrFrom4(b)
	inside := []sadb.Selector{sadb.PrefixSelector(netip.PrefixFrom(addr, 32))}
	c.Name = fmt.Sprintf("bench%d", n)
	c.Local = session.Endpoint{Addresses: []netip.Addr{addr}, ID: named("client.bench"), Auth: e.client.Local.Auth}
	if c.Credential == nil {
		c.Local.ID = named(fmt.Sprintf("client%d.bench", n))
	}
	first := c.Children[0]
	first.Local = inside
	second := first
	second.Name = "second"
	c.Children = []session.Child{first, second}
	return c
}

// initiate carries one request of an operator through, until both engines rest.
func (p *pairOfEngines) initiate(conn, child string) error {
	waiting := p.step(true, session.Initiate{Conn: conn, Child: child})
	for toServer := true; len(waiting) > 0; toServer = !toServer {
		var answers []session.Send
		for _, m := range waiting {
			d := session.Datagram{Local: m.Remote, Remote: m.Local, Data: m.Data}
			answers = append(answers, p.step(!toServer, d)...)
		}
		waiting = answers
	}
	if p.refused != "" {
		return errors.New(p.refused)
	}
	return nil
}

// step gives one engine an input, on its own clock, and returns what it sends.
func (p *pairOfEngines) step(client bool, in session.Input) (sent []session.Send) {
	engine, spent := p.server, &p.serverTime
	if client {
		engine, spent = p.client, &p.clientTime
	}
	began := threadTime()
	outputs := engine.Step(p.now, in)
	*spent += threadTime() - began
	for _, out := range outputs {
		switch out := out.(type) {
		case session.Send:
			sent = append(sent, out)
		case session.AddSA:
			if client && out.SA.Direction == sadb.Outbound {
				p.up++
			}
		case session.Audit:
			if out.Level >= 4 {
				p.refused = fmt.Sprint(out.Event, out.Attrs)
			}
		}
	}
	return sent
}

// batch is how many clients are met before the engines are made anew: few enough
// that what stands costs nothing.
const batch = 200

// handshakes counts full ones for the given time; the first batch is warm-up.
func (e *ends) handshakes(ctx context.Context, limit time.Duration, row *IKERow) error {
	var client, server time.Duration
	clients := make([]session.Connection, batch)
	for i := range clients {
		clients[i] = e.clientAt(i)
	}
	for warm := false; !warm || client+server < limit; warm = true {
		p := e.pair(clients)
		for i := range clients {
			if err := p.initiate(clients[i].Name, "first"); err != nil {
				return err
			}
		}
		if p.up != batch {
			return fmt.Errorf("%d of %d handshakes came to their end", p.up, batch)
		}
		if warm {
			row.Handshakes += batch
			client, server = client+p.clientTime, server+p.serverTime
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	n := float64(row.Handshakes)
	row.InitiatorPerSecond, row.ResponderPerSecond = n/client.Seconds(), n/server.Seconds()
	row.PerSecond = n / (client + server).Seconds()
	return nil
}

// hold opens IKE SAs with one child SA each, then a second child SA on each, and
// looks at the heap in between. Both gateways are in it, so each has half.
func (e *ends) hold(ctx context.Context, count int, row *IKERow) error {
	clients := make([]session.Connection, count)
	for i := range clients {
		clients[i] = e.clientAt(i)
	}
	p := e.pair(clients)
	var sizes [3]float64
	sizes[0] = heap()
	for stage, child := range []string{"first", "second"} {
		for i := range clients {
			if err := p.initiate(clients[i].Name, child); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if p.up != (stage+1)*count {
			return fmt.Errorf("%d of %d child SAs stand", p.up, (stage+1)*count)
		}
		sizes[stage+1] = heap()
	}
	held := p.server.Status(p.now)
	if len(held.IKE) != count || len(held.Children) != 2*count {
		return fmt.Errorf("the server holds %d IKE SAs and %d child SAs, want %d and %d", len(held.IKE), len(held.Children), count, 2*count)
	}
	row.Held = count
	row.BytesPerChild = (sizes[2] - sizes[1]) / 2 / float64(count)
	row.BytesPerIKE = (sizes[1]-sizes[0])/2/float64(count) - row.BytesPerChild
	runtime.KeepAlive(p)
	return nil
}

// heap is what is in use once what is garbage is gone.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
