package suite_test

import (
	"bufio"
	"bytes"
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
			for i := 0; i < len(w.c.messages); i += 2 {
				w.exchange(w.c.messages[i], w.c.messages[i+1])
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

func (w *walk) exchange(request, response []byte) {
	h, err := wire.ParseHeader(request)
	if err != nil {
		w.t.Fatal(err)
	}
	if h.Exchange == wire.ExchangeIKESAInit {
		w.init(request, response)
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
func (w *walk) open(sa *association, b []byte) wire.Message {
	w.t.Helper()
	h, err := wire.ParseHeader(b)
	if err != nil {
		w.t.Fatal(err)
	}
	opener, sealer := sa.fromR, sa.fromI
	if h.Initiator() {
		opener, sealer = sealer, opener
	}
	m, err := wire.OpenEncrypted(b, opener)
	if err != nil {
		w.t.Fatal(err)
	}
	again, err := wire.AppendEncrypted(nil, h, m.Payloads, sealer)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(again) > len(b) {
		w.t.Errorf("sealed again %d octets instead of %d", len(again), len(b))
	}
	second, err := wire.OpenEncrypted(again, opener)
	if err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(m.Payloads, second.Payloads, selectorOptions); diff != "" {
		w.t.Errorf("sealed and opened again:\n%s", diff)
	}
	return m
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
	if auth.Method != wire.AuthSharedKey || !suite.VerifyPSK(sa.proposal.PRF, w.c.psk, octets, auth.Data) {
		w.t.Error("AUTH does not verify")
	}
	if suite.VerifyPSK(sa.proposal.PRF, []byte("another secret"), octets, auth.Data) {
		w.t.Error("AUTH verifies with another secret")
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
