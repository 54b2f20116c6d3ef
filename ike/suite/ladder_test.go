package suite_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

// capture is a conversation of two strongSwan: its messages, and the secrets
// that one of them logged, each kind in order.
type capture struct {
	ike, esp suite.Proposal
	psk      []byte
	key      []byte // of the initiator, in PKCS #8
	secrets  map[string][][]byte
	messages [][]byte
}

func readCapture(t *testing.T, file string) *capture {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &capture{secrets: map[string][][]byte{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		key, value := strings.Join(words[:len(words)-1], " "), words[len(words)-1]
		switch key {
		case "suite":
			c.ike = mustIKE(t, value)
		case "esp":
			c.esp = mustESP(t, value)
		case "key":
			c.key = unhex(t, value)
		case "psk":
			c.psk = unhex(t, value)
		case "message":
			c.messages = append(c.messages, unhex(t, value))
		default:
			c.secrets[key] = append(c.secrets[key], unhex(t, value))
		}
	}
	return c
}

// secret takes the next one of a kind.
func (c *capture) secret(t *testing.T, kind string) []byte {
	t.Helper()
	if len(c.secrets[kind]) == 0 {
		t.Fatalf("the capture has no more %q", kind)
	}
	s := c.secrets[kind][0]
	c.secrets[kind] = c.secrets[kind][1:]
	return s
}

// message takes the next one, in all its fragments.
func (c *capture) message(t *testing.T) [][]byte {
	t.Helper()
	if len(c.messages) == 0 {
		t.Fatal("the capture has no more messages")
	}
	n := 1
	m, err := wire.ParseMessage(c.messages[0])
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := wire.Find[wire.SKF](m.Payloads); ok {
		n = int(f.Total)
	}
	message := c.messages[:n]
	c.messages = c.messages[n:]
	return message
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everyWeak permits all that there is.
var everyWeak = suite.AllowWeak{"3des", "des", "null", "sha1", "md5", "modp1536", "modp1024", "modp768"}

func mustIKE(t *testing.T, s string) suite.Proposal {
	t.Helper()
	p, err := everyWeak.ParseIKE(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustESP(t *testing.T, s string) suite.Proposal {
	t.Helper()
	p, err := everyWeak.ParseESP(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// association is one IKE SA of a capture, as an onlooker with its secrets knows it.
type association struct {
	proposal   suite.Proposal
	keys       *suite.IKEKeys
	ni, nr     []byte
	fromI      wire.Protector // opens what the initiator sealed
	fromR      wire.Protector
	init, resp []byte // the IKE_SA_INIT messages
}

// TestStrongSwanConversations follows whole conversations: every key that the
// peer logged is derived, every message is opened, both AUTH payloads verify,
// and what is sealed again opens again.
func TestStrongSwanConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/strongswan-*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			w := walk{t: t, c: readCapture(t, file), sas: map[wire.SPI]*association{}}
			for len(w.c.messages) > 0 {
				w.exchange(w.c.message(t), w.c.message(t))
			}
			for kind, left := range w.c.secrets {
				if len(left) != 0 {
					t.Errorf("%d %q not derived", len(left), kind)
				}
			}
		})
	}
}

type walk struct {
	t   *testing.T
	c   *capture
	sas map[wire.SPI]*association // by the initiator's SPI
}

func (w *walk) exchange(request, response [][]byte) {
	h, err := wire.ParseHeader(request[0])
	if err != nil {
		w.t.Fatal(err)
	}
	if h.Exchange == wire.ExchangeIKESAInit {
		w.init(request[0], response[0])
		return
	}
	sa := w.sas[h.InitiatorSPI]
	if sa == nil {
		w.t.Fatalf("message for unknown SPI %v", h.InitiatorSPI)
	}
	req, resp := w.open(sa, request), w.open(sa, response)
	w.t.Log(req)
	w.t.Log(resp)
	switch h.Exchange {
	case wire.ExchangeIKEAuth:
		w.auth(sa, req.Payloads, resp.Payloads)
		w.child(sa, suite.StripKE([]suite.Proposal{w.c.esp}), sa.ni, sa.nr, resp.Payloads, nil)
	case wire.ExchangeCreateChildSA:
		w.create(sa, req.Payloads, resp.Payloads)
	}
}

func (w *walk) init(request, response []byte) {
	req, err := wire.ParseMessage(request)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := wire.ParseMessage(response)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Log(req)
	w.t.Log(resp)
	p := w.negotiate([]suite.Proposal{w.c.ike}, req.Payloads, resp.Payloads)
	ni, nr := nonce(w.t, req.Payloads), nonce(w.t, resp.Payloads)
	keys, err := suite.DeriveIKE(p, w.c.secret(w.t, "ike shared"), ni, nr, resp.Header.InitiatorSPI, resp.Header.ResponderSPI)
	if err != nil {
		w.t.Fatal(err)
	}
	sa := w.keep(p, keys, resp.Header.InitiatorSPI)
	sa.ni, sa.nr, sa.init, sa.resp = ni, nr, request, response
}

// negotiate plays both sides: the responder's choice from the request, and the
// initiator's check of the response.
func (w *walk) negotiate(ours []suite.Proposal, req, resp []wire.Payload) suite.Proposal {
	w.t.Helper()
	offered, _ := wire.Find[wire.SA](req)
	chosen, from, err := suite.Select(ours, offered.Proposals)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, _ := wire.Find[wire.SA](resp)
	confirmed, in, err := suite.Confirm(ours, answer)
	if err != nil {
		w.t.Fatal(err)
	}
	if confirmed != chosen {
		w.t.Fatalf("chosen %v, confirmed %v", chosen, confirmed)
	}
	if diff := cmp.Diff(answer, suite.Answer(chosen, from, in.SPI)); diff != "" {
		w.t.Errorf("our answer differs from strongSwan's:\n%s", diff)
	}
	return chosen
}

// keep checks the keys against the log and files the IKE SA.
func (w *walk) keep(p suite.Proposal, keys *suite.IKEKeys, spi wire.SPI) *association {
	w.t.Helper()
	for _, k := range []struct {
		kind string
		key  suite.Secret
	}{{"ike d", keys.D}, {"ike ai", keys.AI}, {"ike ar", keys.AR}, {"ike ei", keys.EI}, {"ike er", keys.ER},
		{"ike pi", keys.PI}, {"ike pr", keys.PR}} {
		if len(k.key) == 0 {
			continue
		}
		if !bytes.Equal(k.key, w.c.secret(w.t, k.kind)) {
			w.t.Errorf("%s differs", k.kind)
		}
	}
	sa := &association{proposal: p, keys: keys}
	rng := rand.NewChaCha8([32]byte{1})
	var err error
	if sa.fromR, err = suite.NewProtector(p, keys, true, rng); err != nil {
		w.t.Fatal(err)
	}
	if sa.fromI, err = suite.NewProtector(p, keys, false, rng); err != nil {
		w.t.Fatal(err)
	}
	w.sas[spi] = sa
	return sa
}

// open opens a message, seals its content again and opens that.
func (w *walk) open(sa *association, b [][]byte) wire.Message {
	w.t.Helper()
	h, err := wire.ParseHeader(b[0])
	if err != nil {
		w.t.Fatal(err)
	}
	opener, sealer := sa.fromR, sa.fromI
	if h.Initiator() {
		opener, sealer = sealer, opener
	}
	m := w.reassemble(b, opener)
	again, err := wire.AppendFragments(h, m.Payloads, sealer, len(b[0]))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(again) != len(b) || len(again[0]) > len(b[0]) {
		w.t.Errorf("sealed again %d times %d octets instead of %d times %d", len(again), len(again[0]), len(b), len(b[0]))
	}
	second := w.reassemble(again, opener)
	if diff := cmp.Diff(m.Payloads, second.Payloads, selectorOptions); diff != "" {
		w.t.Errorf("sealed and opened again:\n%s", diff)
	}
	return m
}

// reassemble opens a message or all its fragments.
func (w *walk) reassemble(b [][]byte, opener wire.Protector) wire.Message {
	w.t.Helper()
	if h, _ := wire.ParseHeader(b[0]); h.NextPayload == wire.PayloadSK {
		m, err := wire.OpenEncrypted(b[0], opener)
		if err != nil {
			w.t.Fatal(err)
		}
		return m
	}
	var r wire.Reassembly
	for i, fragment := range b {
		m, complete, err := r.Add(fragment, opener)
		if err != nil || complete != (i == len(b)-1) {
			w.t.Fatalf("fragment %d of %d: %v, %v", i+1, len(b), complete, err)
		}
		if complete {
			return m
		}
	}
	return wire.Message{}
}

func (w *walk) auth(sa *association, req, resp []wire.Payload) {
	w.t.Helper()
	idi, _ := wire.Find[wire.IDi](req)
	idr, _ := wire.Find[wire.IDr](resp)
	w.verify(sa, sa.init, sa.nr, sa.keys.PI, idi.Identity, req)
	w.verify(sa, sa.resp, sa.ni, sa.keys.PR, idr.Identity, resp)
}

func (w *walk) verify(sa *association, message, nonce []byte, skp suite.Secret, id wire.Identity, payloads []wire.Payload) {
	w.t.Helper()
	octets, err := suite.SignedOctets(sa.proposal.PRF, message, nonce, skp, id)
	if err != nil {
		w.t.Fatal(err)
	}
	auth, _ := wire.Find[wire.AUTH](payloads)
	if w.c.psk == nil {
		w.verifySignature(octets, auth, payloads)
		return
	}
	if auth.Method != wire.AuthSharedKey || !suite.VerifyPSK(sa.proposal.PRF, w.c.psk, octets, auth.Data) {
		w.t.Error("AUTH does not verify")
	}
	if suite.VerifyPSK(sa.proposal.PRF, []byte("another secret"), octets, auth.Data) {
		w.t.Error("AUTH verifies with another secret")
	}
}

// verifySignature takes the key from the certificate beside the signature. What
// we sign with the initiator's key has the form of what it signed, and is the
// same where the algorithm leaves no choice.
func (w *walk) verifySignature(octets []byte, auth wire.AUTH, payloads []wire.Payload) {
	w.t.Helper()
	cert, _ := wire.Find[wire.CERT](payloads)
	parsed, err := x509.ParseCertificate(cert.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	weak := suite.AllowWeak{"sha1"}
	rules := suite.SignatureRules{Hashes: suite.SignatureHashes(weak), Weak: weak}
	if err := suite.VerifyAuth(parsed.PublicKey, octets, auth, rules); err != nil {
		w.t.Error(err)
	}
	if err := suite.VerifyAuth(parsed.PublicKey, append(octets, 0), auth, rules); err == nil {
		w.t.Error("AUTH verifies over other octets")
	}
	key, err := x509.ParsePKCS8PrivateKey(w.c.key)
	if err != nil {
		w.t.Fatal(err)
	}
	signer := key.(crypto.Signer)
	if !signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(parsed.PublicKey) {
		return // the responder's
	}
	if auth.Method != wire.AuthDigitalSignature {
		rules.Hashes = nil
	}
	const pss = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	if rules.PSS = strings.Contains(string(auth.Data[:20]), pss); rules.PSS {
		rules.Hashes = wire.SignatureHashAlgorithms{wire.HashSHA2384}
	}
	ours, err := suite.SignAuth(signer, octets, rules, rand.NewChaCha8([32]byte{}))
	if err != nil || suite.VerifyAuth(parsed.PublicKey, octets, ours, rules) != nil {
		w.t.Fatal("our own AUTH does not verify", err)
	}
	_, random := signer.(*ecdsa.PrivateKey)
	switch {
	case ours.Method != auth.Method:
		w.t.Errorf("method %v, not %v", ours.Method, auth.Method)
	case !random && !rules.PSS:
		if !bytes.Equal(ours.Data, auth.Data) {
			w.t.Errorf("signed\n%x, strongSwan\n%x", ours.Data, auth.Data)
		}
	case auth.Method == wire.AuthDigitalSignature:
		if n := 1 + int(auth.Data[0]); !bytes.Equal(ours.Data[:n], auth.Data[:n]) {
			w.t.Errorf("identifier\n%x, strongSwan\n%x", ours.Data[:n], auth.Data[:n])
		}
	case len(ours.Data) != len(auth.Data):
		w.t.Errorf("signed %d octets, strongSwan %d", len(ours.Data), len(auth.Data))
	}
}

func (w *walk) create(sa *association, req, resp []wire.Payload) {
	w.t.Helper()
	ni, nr := nonce(w.t, req), nonce(w.t, resp)
	offered, _ := wire.Find[wire.SA](req)
	if offered.Proposals[0].Protocol == wire.ProtocolESP {
		var shared []byte
		if _, ok := wire.Find[wire.KE](resp); ok {
			shared = w.c.secret(w.t, "child shared")
		}
		w.negotiate([]suite.Proposal{w.c.esp}, req, resp)
		w.child(sa, []suite.Proposal{w.c.esp}, ni, nr, resp, shared)
		return
	}
	p := w.negotiate([]suite.Proposal{w.c.ike}, req, resp)
	answer, _ := wire.Find[wire.SA](resp)
	spiI, spiR := ikeSPI(offered.Proposals[0].SPI), ikeSPI(answer.Proposals[0].SPI)
	keys, err := suite.RederiveIKE(p, sa.proposal.PRF, sa.keys.D, w.c.secret(w.t, "ike shared"), ni, nr, spiI, spiR)
	if err != nil {
		w.t.Fatal(err)
	}
	w.keep(p, keys, spiI)
}

func (w *walk) child(sa *association, esp []suite.Proposal, ni, nr []byte, resp []wire.Payload, shared []byte) {
	w.t.Helper()
	answer, _ := wire.Find[wire.SA](resp)
	p, _, err := suite.Confirm(esp, answer)
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := suite.DeriveChild(sa.proposal.PRF, sa.keys.D, p, shared, ni, nr)
	if err != nil {
		w.t.Fatal(err)
	}
	wantI, wantR := w.c.secret(w.t, "child ei"), w.c.secret(w.t, "child er")
	if p.Integrity != wire.IntegrityNone {
		wantI = append(wantI, w.c.secret(w.t, "child ai")...)
		wantR = append(wantR, w.c.secret(w.t, "child ar")...)
	}
	in, out := keys.Split(true)
	if !bytes.Equal(out, wantI) || !bytes.Equal(in, wantR) {
		w.t.Error("KEYMAT of the child SA differs")
	}
	in, out = keys.Split(false)
	if !bytes.Equal(in, wantI) || !bytes.Equal(out, wantR) {
		w.t.Error("KEYMAT of the child SA differs for the responder")
	}
}

func nonce(t *testing.T, payloads []wire.Payload) []byte {
	t.Helper()
	n, ok := wire.Find[wire.Nonce](payloads)
	if !ok {
		t.Fatal("no nonce")
	}
	return n.Data
}

func ikeSPI(b []byte) wire.SPI {
	var s wire.SPI
	for _, o := range b {
		s = s<<8 | wire.SPI(o)
	}
	return s
}
