package v2_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/v2"
	"spindle/ike/wire"
)

// native is a client that comes with an operating system, by the shape of what it
// sends: its proposals in its order, its vendor ids and its habits.
type native struct {
	name     string
	ike      []string // it proposes
	esp      []string
	suite    string // that we are to choose
	espSuite string
	nonce    int
	opens    []wire.Payload // in IKE_SA_INIT, behind KE and Nonce
	idi      wire.Identity
	idr      bool           // it says whom it wants to talk to
	asks     []wire.Payload // in IKE_AUTH, besides identities, SA and TS
	cut      int            // it fragments IKE_AUTH to so much, 0 not
	user     string
}

func vendor(text string) wire.Payload {
	data, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return wire.VendorID{Data: data}
}

func status(list ...wire.NotifyType) (payloads []wire.Payload) {
	for _, t := range list {
		payloads = append(payloads, wire.Notify{Type: t})
	}
	return payloads
}

func request(list ...wire.ConfigAttributeType) wire.Payload {
	cp := wire.CP{Type: wire.ConfigRequest}
	for _, t := range list {
		cp.Attributes = append(cp.Attributes, wire.ConfigAttribute{Type: t})
	}
	return cp
}

// internalServer is an attribute that Windows asks for and nobody has defined.
const internalServer = wire.ConfigAttributeType(23456)

var natives = []native{
	{
		// After Set-VpnConnectionIPsecConfiguration; its many CERTREQ hashes do not fit
		// in a packet.
		name: "Windows", suite: "aes256-sha256-modp2048", espSuite: "aes256gcm16", nonce: 48,
		ike: []string{"aes256-sha256-modp2048"}, esp: []string{"aes256gcm16"},
		opens: append(status(wire.NotifyFragmentationSupported),
			vendor("1e2b516905991c7d7c96fcbfb587e46100000009"), // MS NT5 ISAKMPOAKLEY
			vendor("fb1de3cdf341b7ea16b7e5be0855f120"),         // MS-Negotiation Discovery Capable
			vendor("26244d38eddb61b3172a36e3d0cfb819"),         // Vid-Initial-Contact
			vendor("01528bbbc00696121849ab9a1c5b2a5100000002")),
		idi: wire.Identity{Type: wire.IDIPv4Addr, Data: []byte{192, 168, 1, 23}},
		asks: []wire.Payload{wire.CERTREQ{Encoding: wire.CertX509Signature, Authorities: make([]byte, 60*20)},
			wire.Notify{Type: wire.NotifyMobikeSupported},
			request(wire.ConfigIP4Address, wire.ConfigIP4DNS, wire.ConfigIP4NBNS, internalServer,
				wire.ConfigIP6Address, wire.ConfigIP6DNS, internalServer+1)},
		cut: 544, user: `OFFICE\carol`,
	},
	{
		name: "macOS", suite: "aes256-sha256-modp2048", espSuite: "aes256-sha256", nonce: 16,
		ike:   []string{"aes256-sha256-modp2048", "aes256-sha256-ecp256", "aes256-sha256-modp1536", "aes128-sha1-modp1024", "3des-sha1-modp1024"},
		esp:   []string{"aes256-sha256", "aes128-sha1", "3des-sha1"},
		opens: status(wire.NotifyRedirectSupported, wire.NotifyFragmentationSupported),
		idi:   wire.Identity{Type: wire.IDFQDN, Data: []byte("carols-mac")}, idr: true,
		asks: append(status(wire.NotifyInitialContact, wire.NotifyMobikeSupported, wire.NotifyESPTFCPaddingNotSupported, wire.NotifyNonFirstFragmentsAlso),
			request(wire.ConfigIP4Address, wire.ConfigIP4DHCP, wire.ConfigIP4DNS, wire.ConfigIP4Netmask,
				wire.ConfigIP6Address, wire.ConfigIP6DHCP, wire.ConfigIP6DNS, wire.ConfigDNSDomain)),
		user: "carol",
	},
	{
		name: "Android", suite: "aes256gcm16-prfsha384-x25519", espSuite: "aes256gcm16", nonce: 32,
		ike:   []string{"aes256ctr-sha512-modp4096", "aes256-sha512-modp4096", "aes256gcm16-prfsha384-x25519", "aes128gcm16-prfsha256-modp2048"},
		esp:   []string{"aes256gcm16", "aes192gcm16", "aes128gcm16", "aes256-sha512"},
		opens: append(status(wire.NotifyFragmentationSupported, wire.NotifyRedirectSupported), wire.SignatureHashAlgorithms{wire.HashSHA2256, wire.HashSHA2384, wire.HashSHA2512}.Notify()),
		idi:   wire.Identity{Type: wire.IDFQDN, Data: []byte("carol")}, idr: true,
		asks: append(status(wire.NotifyInitialContact, wire.NotifyMobikeSupported, wire.NotifyEAPOnlyAuthentication),
			request(wire.ConfigIP4Address, wire.ConfigIP4Netmask, wire.ConfigIP4DNS, wire.ConfigIP6Address, wire.ConfigIP6DNS)),
		user: "carol",
	},
}

// old are the weak algorithms that clients still propose behind good ones.
var old = suite.AllowWeak{"sha1", "3des", "modp1024", "modp1536"}

// dialIn is a gateway that these clients can use.
func dialIn(t *testing.T) world {
	w := ladder.New(t, version)
	c := w.Connection(ladder.Words{
		"addr": "192.0.2.2", "id": "r6.example.net", "cert": "r6", "peerid": "any", "fragment": "1280", "mobike": "yes",
		"ike": "aes256gcm16-prfsha384-x25519+aes256-sha256-modp2048", "esp": "aes256gcm16+aes256-sha256",
		"ts": "10.8.0.0/16=10.99.0.0/24", "pool": "10.99.0.1-10.99.0.99", "dns": "10.8.0.53", "split": "10.8.0.0/16"})
	users, err := session.ParseUsers([]byte("carol Ar3etTnp\n"))
	if err != nil {
		t.Fatal(err)
	}
	c.Users, c.Remote.Auth, c.Children[0].Remote = users, session.AuthEAP, nil
	w.Configure(w.Add("r8", 8, nil), c)
	return world{w}
}

// TestNativeClients dials in as each of them: EAP-MSCHAPv2 inside IKE_AUTH, an inside
// address, DNS, and selectors narrowed to what is behind the gateway.
func TestNativeClients(t *testing.T) {
	for _, n := range natives {
		t.Run(n.name, func(t *testing.T) {
			w := dialIn(t)
			s := w.call(n)
			m := s.authenticate(n)
			auth, _ := wire.Find[wire.AUTH](m.Payloads)
			if auth.Method != wire.AuthSharedKey {
				t.Fatalf("the last IKE_AUTH is answered by %v", m)
			}
			reply, _ := wire.Find[wire.CP](m.Payloads)
			var got []string
			for _, a := range reply.Attributes {
				p, err := a.Prefix()
				if addr, wrong := a.Addr(); err != nil && wrong == nil {
					p = netip.PrefixFrom(addr, addr.BitLen())
				}
				got = append(got, p.String())
			}
			if want := []string{"10.99.0.1/32", "10.8.0.53/32", "10.8.0.0/16"}; !slices.Equal(got, want) {
				t.Errorf("it is given %v, want %v", got, want)
			}
			c := children(s)
			if len(c) != 1 || c[0].Suite != n.espSuite || len(c[0].RemoteTS) != 1 || c[0].RemoteTS[0].String() != "10.99.0.1/32" || c[0].LocalTS[0].String() != "10.8.0.0/16" {
				t.Errorf("child SAs %+v", c)
			}
			if st := s.g.Engine.Status(w.Now).IKE[0]; st.Suite != n.suite {
				t.Errorf("IKE SA with %s", st.Suite)
			}
		})
	}
}

// call is IKE_SA_INIT.
func (w world) call(n native) *stranger {
	s := w.stranger(1)
	proposal := must(suite.ParseIKE(n.suite))
	s.proposal = proposal
	s.ni = bytes.Repeat([]byte{0x4e}, n.nonce)
	first := must(old.ParseIKE(n.ike[0]))
	m := s.open(s.opening(n, first.Group))
	if ask, ok := wire.FindNotify(m.Payloads, wire.NotifyInvalidKEPayload); ok {
		if group, err := suite.InvalidKEGroup(ask); err != nil || group != proposal.Group {
			w.T.Fatalf("asked for %v (%v)", group, err)
		}
		m = s.open(s.opening(n, proposal.Group))
	}
	sa, _ := wire.Find[wire.SA](m.Payloads)
	if _, _, err := suite.Select([]suite.Proposal{proposal}, sa.Proposals); err != nil {
		w.T.Fatalf("IKE_SA_INIT answered %v: %v", m, err)
	}
	s.agreed(m)
	return s
}

// opening are the payloads of IKE_SA_INIT.
func (s *stranger) opening(n native, group wire.Group) []wire.Payload {
	var list []suite.Proposal
	for _, word := range n.ike {
		list = append(list, must(old.ParseIKE(word)))
	}
	var err error
	if s.ke, err = suite.GenerateKE(group, s.rnd); err != nil {
		s.w.T.Fatal(err)
	}
	return append([]wire.Payload{suite.Offer(list, nil), wire.KE{Group: group, Data: s.ke.Public()}, wire.Nonce{Data: s.ni}}, n.opens...)
}

// authenticate is IKE_AUTH with EAP-MSCHAPv2 (RFC 7296 §2.16), up to its last answer.
func (s *stranger) authenticate(n native) wire.Message {
	t := s.w.T
	t.Helper()
	anywhere := []wire.TrafficSelector{
		{Type: wire.TSIPv4AddrRange, EndPort: 65535, Start: netip.MustParseAddr("0.0.0.0"), End: netip.MustParseAddr("255.255.255.255")},
		{Type: wire.TSIPv6AddrRange, EndPort: 65535, Start: netip.MustParseAddr("::"), End: netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
	}
	var esp []suite.Proposal
	for _, word := range n.esp {
		esp = append(esp, must(old.ParseESP(word)))
	}
	ask := []wire.Payload{wire.IDi{Identity: n.idi}}
	if n.idr {
		ask = append(ask, wire.IDr{Identity: wire.Identity{Type: wire.IDFQDN, Data: []byte("r6.example.net")}})
	}
	ask = append(append(ask, n.asks...), suite.Offer(esp, []byte{0x12, 0x34, 0x56, 0x78}), wire.TSi{Selectors: anywhere}, wire.TSr{Selectors: anywhere})
	m := s.say(n.cut, ask...)
	s.proven(m)
	m = s.eap(m, wire.EAPIdentity, []byte(n.user))
	data := s.eapData(m, wire.EAPMSCHAPv2)
	response, msk := chapAnswer(data, n.user, "Ar3etTnp")
	m = s.eap(m, wire.EAPMSCHAPv2, response)
	if data := s.eapData(m, wire.EAPMSCHAPv2); !bytes.Contains(data, []byte("S=")) {
		t.Fatalf("MSCHAPv2 ends with %q", data)
	}
	m = s.eap(m, wire.EAPMSCHAPv2, []byte{3})
	if p, ok := wire.Find[wire.EAP](m.Payloads); !ok || p.Code != wire.EAPSuccess {
		t.Fatalf("EAP ends with %v", m)
	}
	octets, err := suite.SignedOctets(s.proposal.PRF, s.request, s.nr, s.keys.PI, n.idi)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := suite.EAPAuth(s.proposal.PRF, msk, s.keys.PI, octets)
	if err != nil {
		t.Fatal(err)
	}
	return s.say(0, wire.AUTH{Method: wire.AuthSharedKey, Data: auth})
}

// say sends IKE_AUTH, in fragments of so much.
func (s *stranger) say(cut int, payloads ...wire.Payload) wire.Message {
	h := s.header(wire.ExchangeIKEAuth, s.next)
	s.next++
	messages := [][]byte{nil}
	var err error
	if cut > 0 {
		messages, err = wire.AppendFragments(h, payloads, s.protect, cut)
	} else {
		messages[0] = s.seal(h, payloads...)
	}
	if err != nil || cut > 0 && len(messages) < 2 {
		s.w.T.Fatalf("%d fragments (%v)", len(messages), err)
	}
	var replies [][]byte
	for _, data := range messages {
		replies = append(replies, s.tell(data)...)
	}
	m, ok := s.answer(replies)
	if !ok {
		s.w.T.Fatal("IKE_AUTH is not answered")
	}
	return m
}

// proven checks the gateway's signature over what it sent.
func (s *stranger) proven(m wire.Message) {
	s.w.T.Helper()
	id, _ := wire.Find[wire.IDr](m.Payloads)
	cert, _ := wire.Find[wire.CERT](m.Payloads)
	auth, _ := wire.Find[wire.AUTH](m.Payloads)
	leaf, err := x509.ParseCertificate(cert.Data)
	if err != nil || leaf.VerifyHostname(string(id.Data)) != nil {
		s.w.T.Fatalf("IKE_AUTH shows %v by %v", id, err)
	}
	octets, err := suite.SignedOctets(s.proposal.PRF, s.response, s.ni, s.keys.PR, id.Identity)
	if err != nil {
		s.w.T.Fatal(err)
	}
	rules := suite.SignatureRules{Hashes: wire.SignatureHashAlgorithms{wire.HashSHA2256}}
	if err := suite.VerifyAuth(leaf.PublicKey, octets, auth, rules); err != nil {
		s.w.T.Fatalf("the gateway's AUTH: %v", err)
	}
}

func (s *stranger) eapData(m wire.Message, want wire.EAPType) []byte {
	s.w.T.Helper()
	p, ok := wire.Find[wire.EAP](m.Payloads)
	kind, data, err := p.Method()
	if !ok || err != nil || kind != want || p.Code != wire.EAPRequest {
		s.w.T.Fatalf("EAP goes on with %v (%v)", m, err)
	}
	return data
}

func (s *stranger) eap(asked wire.Message, method wire.EAPType, data []byte) wire.Message {
	p, _ := wire.Find[wire.EAP](asked.Payloads)
	return s.say(0, wire.NewEAP(wire.EAPResponse, p.Identifier, method, data))
}

// chapAnswer is a client's response (RFC 2759 §4), and the MSK that comes of it. The
// domain in front of the name is not hashed.
func chapAnswer(challenge []byte, user, password string) ([]byte, suite.Secret) {
	_, bare, ok := strings.Cut(user, `\`)
	if !ok {
		bare = user
	}
	authenticator, peer := [16]byte(challenge[5:21]), [16]byte(bytes.Repeat([]byte{0x21}, 16))
	hash := v2.NTPasswordHash(password)
	response := v2.ChallengeResponse(v2.ChallengeHash(peer, authenticator, bare), hash)
	value := slices.Concat(peer[:], make([]byte, 8), response[:], []byte{0})
	body := append(append([]byte{byte(len(value))}, value...), user...)
	return append([]byte{2, challenge[1], 0, byte(4 + len(body))}, body...), v2.ChapMSK(v2.MD4(hash[:]), response)
}

// TestWindowsAsItComes: without a word from its administrator it proposes MODP-1024
// alone, which is refused with the first field that differs.
func TestWindowsAsItComes(t *testing.T) {
	n := natives[0]
	n.ike = []string{"3des-sha1-modp1024", "aes256-sha1-modp1024", "3des-sha256-modp1024", "aes256-sha256-modp1024", "3des-sha384-modp1024", "aes256-sha384-modp1024"}
	w := dialIn(t)
	s := w.stranger(1)
	m := s.open(s.opening(n, wire.GroupMODP1024))
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyNoProposalChosen); !ok {
		t.Errorf("answered by %v", m)
	}
	reason := w.refused(s.g)
	for _, word := range []string{"first difference in", "aes256-prfsha256-sha256-modp1024", "we accept aes256gcm16-prfsha384-x25519", "configuration key: ike"} {
		if !strings.Contains(reason, word) {
			t.Errorf("the operator reads %q, without %q", reason, word)
		}
	}
}

// refused is the reason of the gateway's last error.
func (w world) refused(g *ladder.Gateway) string {
	return g.Engine.Status(w.Now).Connections[0].LastError
}
