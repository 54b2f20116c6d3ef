package suite_test

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

// v1Association is one ISAKMP SA of a capture, as an onlooker with its secrets
// knows it.
type v1Association struct {
	ike    suite.V1IKE
	x      suite.V1Exchange
	keys   *suite.V1Keys
	chain  *suite.V1Chain  // of phase 1
	phase1 int             // messages of it so far
	ids    map[bool][]byte // bodies of ID, by who is the initiator
	phase2 map[uint32]*v1Phase2
}

// v1Phase2 is one exchange after phase 1.
type v1Phase2 struct {
	chain      *suite.V1Chain
	count      int
	ni, nr     []byte
	spiI, spiR []byte
	esp        suite.V1ESP
}

type v1Walk struct {
	t   *testing.T
	c   *capture
	sas map[wire.SPI]*v1Association // by the initiator's cookie

	fragments []wire.V1Fragment
}

// TestV1StrongSwanConversations follows whole IKEv1 conversations: SKEYID and
// what comes of it, the initialization vectors, every hash of both phases,
// signatures and KEYMAT are derived and compared with what the peer logged; what
// is written again has the octets that strongSwan sent.
func TestV1StrongSwanConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/v1-*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			w := v1Walk{t: t, c: readCapture(t, file), sas: map[wire.SPI]*v1Association{}}
			seen := map[string]bool{}
			for _, m := range w.c.messages {
				if !seen[string(m)] {
					seen[string(m)] = true
					w.fragment(m)
				}
			}
			for kind, left := range w.c.secrets {
				if len(left) != 0 {
					t.Errorf("%d %q not derived", len(left), kind)
				}
			}
		})
	}
}

// fragment puts messages together that came in pieces, as strongSwan's with
// certificates do.
func (w *v1Walk) fragment(b []byte) {
	m, err := wire.ParseV1Message(b)
	f, ok := wire.Find[wire.V1Fragment](m.Payloads)
	if err != nil || !ok {
		w.message(b)
		return
	}
	w.fragments = append(w.fragments, f)
	if whole, done := wire.JoinV1(w.fragments); done {
		w.fragments = nil
		w.message(whole)
	}
}

func (w *v1Walk) message(b []byte) {
	h, err := wire.ParseHeader(b)
	if err != nil {
		w.t.Fatal(err)
	}
	sa := w.sas[h.InitiatorSPI]
	if sa == nil {
		sa = &v1Association{ids: map[bool][]byte{}, phase2: map[uint32]*v1Phase2{}}
		sa.x.SPIi = h.InitiatorSPI
		w.sas[h.InitiatorSPI] = sa
	}
	if h.ResponderSPI != 0 {
		sa.x.SPIr = h.ResponderSPI
	}
	if h.MessageID == 0 {
		w.phase1(sa, h, b)
	} else {
		w.after(sa, h, b)
	}
}

// phase1 takes a message of main or aggressive mode: they differ in where the
// payloads stand, and in nothing else.
func (w *v1Walk) phase1(sa *v1Association, h wire.Header, b []byte) {
	initiator := sa.phase1%2 == 0
	sa.phase1++
	var m wire.V1Message
	var err error
	if h.V1Encrypted() {
		m = w.open(sa.chain, b)
	} else if m, err = wire.ParseV1Message(b); err != nil {
		w.t.Fatal(err)
	}
	w.t.Log(m)
	if offer, ok := wire.Find[wire.V1SA](m.Payloads); ok {
		w.negotiate(sa, m, offer, initiator)
	}
	w.exchange(sa, m, initiator)
	w.natted(sa, m, initiator)
	w.proof(sa, m, initiator)
}

// natted checks NAT-D: where the message goes, then where it comes from. The
// two ran at 192.0.2.1 and 192.0.2.2; kernel-libipsec forges the hash of its own
// end, to have its ESP in UDP. In main mode the initiator's comes before the
// ports float, and so it does in aggressive mode's second message.
func (w *v1Walk) natted(sa *v1Association, m wire.V1Message, initiator bool) {
	first, ok := wire.Find[wire.V1NATD](m.Payloads)
	if !ok || m.Header.V1Encrypted() {
		return
	}
	to := netip.MustParseAddr(map[bool]string{true: "192.0.2.2", false: "192.0.2.1"}[initiator])
	matches := func(port uint16) bool {
		want, err := suite.V1NATHash(sa.ike.Proposal.PRF, sa.x.SPIi, sa.x.SPIr, netip.AddrPortFrom(to, port))
		return err == nil && bytes.Equal(first.Hash, want)
	}
	// Phase 1 is rekeyed on the port that the one before floated to.
	if !matches(500) && !matches(4500) {
		w.t.Errorf("NAT-D of %v differs", to)
	}
}

func (w *v1Walk) negotiate(sa *v1Association, m wire.V1Message, offer wire.V1SA, initiator bool) {
	ours := []suite.Proposal{w.c.ike}
	auths := []suite.V1Auth{suite.V1AuthPSK, suite.V1AuthRSA, suite.V1AuthXAuthInitPSK}
	chosen, answer, err := suite.V1SelectIKE(ours, auths, offer)
	if err != nil {
		w.t.Fatal(err)
	}
	if initiator {
		sa.ike, sa.x.SA = chosen, m.Body(wire.PayloadV1SA)
		again, err := wire.V1Body(suite.V1OfferIKE(ours, chosen.Auth, chosen.Lifetime))
		if err != nil || !bytes.Equal(again, sa.x.SA) {
			w.t.Errorf("our offer differs from strongSwan's: %v\n got %x\nwant %x", err, again, sa.x.SA)
		}
		return
	}
	if chosen != sa.ike || len(answer.Transforms) != 1 {
		w.t.Errorf("the answer is %+v", chosen)
	}
	confirmed, err := suite.V1ConfirmIKE(suite.V1OfferIKE(ours, chosen.Auth, chosen.Lifetime), offer, ours)
	if err != nil || confirmed != chosen {
		w.t.Errorf("confirm %+v: %v", confirmed, err)
	}
}

// exchange takes the public values and nonces, and derives as soon as all are there.
func (w *v1Walk) exchange(sa *v1Association, m wire.V1Message, initiator bool) {
	ke, ok := wire.Find[wire.V1KE](m.Payloads)
	if !ok {
		return
	}
	nonce, _ := wire.Find[wire.V1Nonce](m.Payloads)
	if initiator {
		sa.x.PublicI, sa.x.NonceI = ke.Data, nonce.Data
		return
	}
	sa.x.PublicR, sa.x.NonceR = ke.Data, nonce.Data
	sa.x.Shared, sa.x.PSK = w.c.secret(w.t, "shared"), w.c.psk
	var err error
	if sa.keys, err = suite.V1DeriveIKE(sa.ike.Proposal, sa.ike.Auth, sa.x); err != nil {
		w.t.Fatal(err)
	}
	w.same("skeyid", sa.keys.SKEYID)
	w.same("skeyid d", sa.keys.D)
	w.same("skeyid a", sa.keys.A)
	w.same("skeyid e", sa.keys.E)
	w.same("ka", sa.keys.Cipher)
	if sa.chain, err = suite.NewV1Chain(sa.ike.Proposal, sa.keys, sa.x.PublicI, sa.x.PublicR); err != nil {
		w.t.Fatal(err)
	}
	w.same("iv", sa.chain.IV())
}

// same compares with the next secret of a kind.
func (w *v1Walk) same(kind string, got []byte) {
	w.t.Helper()
	if want := w.c.secret(w.t, kind); !bytes.Equal(got, want) {
		w.t.Errorf("%s differs", kind)
	}
}

// proof checks the hash or signature of one side.
func (w *v1Walk) proof(sa *v1Association, m wire.V1Message, initiator bool) {
	if id := m.Body(wire.PayloadV1ID); id != nil {
		sa.ids[initiator] = id // kept until the proof comes, which may be a message later
	}
	hash, okHash := wire.Find[wire.V1Hash](m.Payloads)
	sig, okSig := wire.Find[wire.V1Signature](m.Payloads)
	if !okHash && !okSig {
		return
	}
	want, err := suite.V1Hash(sa.ike.Proposal.PRF, sa.keys.SKEYID, sa.x, initiator, sa.ids[initiator])
	if err != nil {
		w.t.Fatal(err)
	}
	kind := map[bool]string{true: "hash i", false: "hash r"}[initiator]
	w.same(kind, want)
	if okHash && !bytes.Equal(hash.Data, want) {
		w.t.Errorf("%s in the message differs", kind)
	}
	if okSig != sa.ike.Auth.Signs(initiator) {
		w.t.Errorf("signature %v with %v", okSig, sa.ike.Auth)
	}
	if okSig {
		w.signature(m, want, sig.Data)
	}
}

func (w *v1Walk) signature(m wire.V1Message, hash, sig []byte) {
	cert, ok := wire.Find[wire.V1Cert](m.Payloads)
	if !ok || cert.Encoding != wire.CertX509Signature {
		w.t.Fatal("a signature without certificate")
	}
	parsed, err := x509.ParseCertificate(cert.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := suite.V1Verify(parsed.PublicKey, hash, sig); err != nil {
		w.t.Error(err)
	}
	hash[0] ^= 1
	if suite.V1Verify(parsed.PublicKey, hash, sig) == nil {
		w.t.Error("the signature verifies for another hash")
	}
}

// open opens a message, seals its content again and compares.
func (w *v1Walk) open(chain *suite.V1Chain, b []byte) wire.V1Message {
	w.t.Helper()
	m, err := wire.OpenV1Encrypted(b, chain)
	if err != nil {
		w.t.Fatal(err)
	}
	again, err := wire.AppendV1Encrypted(nil, m.Header, m.Payloads, chain)
	// strongSwan adds a block of padding where none is needed.
	if err != nil || len(again) > len(b) || !bytes.Equal(again[wire.HeaderSize:], b[wire.HeaderSize:len(again)]) {
		w.t.Errorf("sealed again: %v\n got %x\nwant %x", err, again, b)
	}
	chain.Advance(b)
	return m
}

// after takes a message of an exchange after phase 1.
func (w *v1Walk) after(sa *v1Association, h wire.Header, b []byte) {
	p := sa.phase2[h.MessageID]
	if p == nil {
		chain, err := sa.chain.Phase2(sa.ike.Proposal.PRF, h.MessageID)
		if err != nil {
			w.t.Fatal(err)
		}
		p = &v1Phase2{chain: chain}
		sa.phase2[h.MessageID] = p
	}
	p.count++
	m := w.open(p.chain, b)
	w.t.Log(m)
	nonce, _ := wire.Find[wire.V1Nonce](m.Payloads)
	want, err := suite.V1HashPhase2(sa.ike.Proposal.PRF, sa.keys.A, h.MessageID, p.ni, m.AfterFirst())
	switch {
	case h.Exchange == wire.V1ExchangeQuickMode && p.count == 1:
		p.ni = nonce.Data
	case h.Exchange == wire.V1ExchangeQuickMode && p.count == 3:
		want, err = suite.V1Hash3(sa.ike.Proposal.PRF, sa.keys.A, h.MessageID, p.ni, p.nr)
	}
	hash, _ := wire.Find[wire.V1Hash](m.Payloads)
	if err != nil || !bytes.Equal(hash.Data, want) {
		w.t.Errorf("hash of message %d of %v differs", p.count, h.Exchange)
	}
	if h.Exchange == wire.V1ExchangeQuickMode && p.count <= 2 {
		w.quick(sa, p, m)
	}
}

func (w *v1Walk) quick(sa *v1Association, p *v1Phase2, m wire.V1Message) {
	offer, _ := wire.Find[wire.V1SA](m.Payloads)
	modes := []suite.V1Mode{suite.V1ModeUDPTunnel, suite.V1ModeTunnel}
	chosen, proposal, err := suite.V1SelectESP([]suite.Proposal{w.c.esp}, modes, offer)
	if err != nil {
		w.t.Fatal(err)
	}
	if p.count == 1 {
		p.esp, p.spiI = chosen, chosen.SPI
		if diff := cmp.Diff(offer, suite.V1OfferESP([]suite.Proposal{w.c.esp}, chosen.SPI, chosen.Mode, chosen.Lifetime),
			cmp.Transformer("attributes", attributeMap)); diff != "" {
			w.t.Errorf("our offer differs from strongSwan's:\n%s", diff)
		}
		return
	}
	if diff := cmp.Diff(offer, suite.V1AnswerESP(proposal, chosen.SPI)); diff != "" {
		w.t.Errorf("our answer differs from strongSwan's:\n%s", diff)
	}
	if _, err := suite.V1ConfirmESP([]suite.Proposal{w.c.esp}, modes, offer); err != nil {
		w.t.Error(err)
	}
	nonce, _ := wire.Find[wire.V1Nonce](m.Payloads)
	p.nr, p.spiR = nonce.Data, chosen.SPI
	var shared suite.Secret
	if _, ok := wire.Find[wire.V1KE](m.Payloads); ok {
		shared = w.c.secret(w.t, "child shared")
	}
	w.keymat(sa, p, shared)
}

// keymat: what the initiator seals is under the responder's SPI.
func (w *v1Walk) keymat(sa *v1Association, p *v1Phase2, shared suite.Secret) {
	for _, side := range []struct {
		spi     []byte
		e, auth string
	}{{p.spiR, "child ei", "child ai"}, {p.spiI, "child er", "child ar"}} {
		want := w.c.secret(w.t, side.e)
		if p.esp.Proposal.Integrity != wire.IntegrityNone {
			want = append(want, w.c.secret(w.t, side.auth)...)
		}
		got, err := suite.V1DeriveChild(sa.ike.Proposal.PRF, sa.keys.D, p.esp.Proposal, shared, side.spi, p.ni, p.nr)
		if err != nil || !bytes.Equal(got, want) {
			w.t.Errorf("KEYMAT %s differs: %v", side.e, err)
		}
	}
}

// attributeMap compares attributes whatever their order and form.
func attributeMap(list []wire.Attribute) map[uint16]uint64 {
	m := map[uint16]uint64{}
	for _, a := range list {
		m[a.Type], _ = a.V1Value()
	}
	return m
}
