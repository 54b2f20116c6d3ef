package v2_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/v2"
	"spindle/ike/wire"
	"spindle/sadb"
)

const (
	hybridIKE = "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024"
	hybridESP = "aes128gcm16-x25519-ke1_mlkem768-ke2_mlkem1024"
)

// hybridStranger has an IKE SA without additional key exchanges, whose rekeys may
// have two.
func hybridStranger(t *testing.T) *stranger {
	w := ladder.New(t, version)
	w.Configure(w.Add("r8", 8, nil), w.Connection(ladder.Words{
		"addr": "192.0.2.2", "peerid": "any", "ts": "10.8.8.8/32=0.0.0.0/0",
		"ike": "aes128gcm16-prfsha256-x25519+" + hybridIKE, "esp": hybridESP + "+aes128gcm16"}))
	return world{w}.meet(1).prove()
}

func must(p suite.Proposal, err error) suite.Proposal {
	if err != nil {
		panic(err)
	}
	return p
}

// mixer makes key exchanges with the standard library alone and joins their results.
type mixer struct {
	s      *stranger
	ni, nr []byte
	x      *ecdh.PrivateKey
	shared [][]byte // SK(0), SK(1), ...
	link   wire.Notify
	out    []session.Output // of the last step
}

func newMixer(s *stranger) *mixer {
	x, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		s.w.T.Fatal(err)
	}
	return &mixer{s: s, ni: bytes.Repeat([]byte{0x4e}, 32), x: x}
}

// ask makes the next request and keeps all that the gateway does about it.
func (m *mixer) ask(exchange wire.ExchangeType, payloads ...wire.Payload) wire.Message {
	data := m.s.seal(m.s.header(exchange, m.s.next), payloads...)
	m.s.next++
	m.out = m.s.g.Engine.Step(m.s.w.Now, session.Datagram{Local: m.s.to, Remote: m.s.at, Data: data})
	var replies [][]byte
	for _, o := range sends(m.out) {
		replies = append(replies, o.Data)
	}
	answer, ok := m.s.answer(replies)
	if !ok {
		m.s.w.T.Fatal("no answer")
	}
	m.link, _ = wire.FindNotify(answer.Payloads, wire.NotifyAdditionalKeyExchange)
	return answer
}

// begin is CREATE_CHILD_SA with X25519.
func (m *mixer) begin(payloads ...wire.Payload) wire.Message {
	payloads = append(payloads, wire.Nonce{Data: m.ni}, wire.KE{Group: wire.GroupX25519, Data: m.x.PublicKey().Bytes()})
	answer := m.ask(wire.ExchangeCreateChildSA, payloads...)
	ke, _ := wire.Find[wire.KE](answer.Payloads)
	nonce, _ := wire.Find[wire.Nonce](answer.Payloads)
	peer, err := ecdh.X25519().NewPublicKey(ke.Data)
	if err != nil || len(m.link.Data) == 0 {
		m.s.w.T.Fatalf("CREATE_CHILD_SA answered %v (%v)", answer, err)
	}
	shared, err := m.x.ECDH(peer)
	if err != nil {
		m.s.w.T.Fatal(err)
	}
	m.nr, m.shared = nonce.Data, [][]byte{shared}
	return answer
}

// follow is IKE_FOLLOWUP_KE with ML-KEM-768, then with ML-KEM-1024.
func (m *mixer) follow() {
	seed := bytes.Repeat([]byte{9}, mlkem.SeedSize)
	small, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		m.s.w.T.Fatal(err)
	}
	m.round(wire.GroupMLKEM768, small.EncapsulationKey().Bytes(), small.Decapsulate)
	large, err := mlkem.NewDecapsulationKey1024(seed)
	if err != nil {
		m.s.w.T.Fatal(err)
	}
	m.round(wire.GroupMLKEM1024, large.EncapsulationKey().Bytes(), large.Decapsulate)
	if m.link.Data != nil {
		m.s.w.T.Error("the last answer links to another exchange")
	}
}

func (m *mixer) round(group wire.Group, public []byte, open func([]byte) ([]byte, error)) {
	answer := m.ask(wire.ExchangeIKEFollowupKE, wire.KE{Group: group, Data: public}, m.link)
	ke, _ := wire.Find[wire.KE](answer.Payloads)
	shared, err := open(ke.Data)
	if err != nil || ke.Group != group {
		m.s.w.T.Fatalf("IKE_FOLLOWUP_KE answered %v (%v)", answer, err)
	}
	m.shared = append(m.shared, shared)
}

// material is what the RFC feeds to the PRF: SK(0) | Ni | Nr | SK(1) | ... SK(n).
func (m *mixer) material() []byte {
	return slices.Concat(append([][]byte{m.shared[0], m.ni, m.nr}, m.shared[1:]...)...)
}

func prf(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}

// prfPlus is that of RFC 7296 §2.13.
func prfPlus(key, seed []byte, size int) (out []byte) {
	var t []byte
	for n := byte(1); len(out) < size; n++ {
		t = prf(key, slices.Concat(t, seed, []byte{n}))
		out = append(out, t...)
	}
	return out[:size]
}

// TestFollowupChildKeys: RFC 9370 §2.2.4, "KEYMAT = prf+ (SK_d, SK(0) | Ni | Nr |
// SK(1) | ... SK(n))". Before the last key exchange there is nothing.
func TestFollowupChildKeys(t *testing.T) {
	s := hybridStranger(t)
	m := newMixer(s)
	esp := []suite.Proposal{must(suite.ParseESP(hybridESP))}
	rekeyed := wire.Notify{Protocol: wire.ProtocolESP, SPI: binary.BigEndian.AppendUint32(nil, 0x1000), Type: wire.NotifyRekeySA}
	ask := s.childSA(0x2000, rekeyed)
	ask[1] = suite.Offer(esp, binary.BigEndian.AppendUint32(nil, 0x2000))
	m.begin(ask...)
	if added := additions(m.out); len(added) != 0 {
		t.Error("a child SA before all key exchanges are made")
	}
	m.follow()
	added := additions(m.out)
	if len(added) != 1 || added[0].Direction != sadb.Inbound {
		t.Fatalf("%d SAs installed by the last key exchange", len(added))
	}
	// The initiator of the exchange sends with the first part.
	const size = 16 + 4
	if want := prfPlus(s.keys.D, m.material(), 2*size); !bytes.Equal(added[0].Key, want[:size]) {
		t.Error("KEYMAT differs")
	}
}

func additions(out []session.Output) (list []sadb.SA) {
	for _, o := range out {
		if a, ok := o.(session.AddSA); ok {
			list = append(list, a.SA)
		}
	}
	return list
}

// TestFollowupIKEKeys: "SKEYSEED = prf(SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n))".
// The gateway answers what is said under these keys.
func TestFollowupIKEKeys(t *testing.T) {
	s := hybridStranger(t)
	m := newMixer(s)
	spi := wire.SPI(0x1234)
	answer := m.begin(suite.Offer([]suite.Proposal{must(suite.ParseIKE(hybridIKE))}, binary.BigEndian.AppendUint64(nil, uint64(spi))))
	m.follow()
	sa, _ := wire.Find[wire.SA](answer.Payloads)
	theirs := sa.Proposals[0].SPI
	seed := prf(s.keys.D, m.material())
	k := prfPlus(seed, slices.Concat(m.ni, m.nr, binary.BigEndian.AppendUint64(nil, uint64(spi)), theirs), 32+20+20+32+32)
	cut := func(n int) suite.Secret { part := k[:n:n]; k = k[n:]; return part }
	keys := &suite.IKEKeys{D: cut(32), EI: cut(20), ER: cut(20), PI: cut(32), PR: cut(32)}
	var err error
	if s.protect, err = suite.NewProtector(s.proposal, keys, true, s.rnd); err != nil {
		t.Fatal(err)
	}
	s.spiI, s.spiR, s.next = spi, wire.SPI(binary.BigEndian.Uint64(theirs)), 0
	if m, ok := s.ask(wire.ExchangeInformational); !ok || len(m.Payloads) != 0 {
		t.Errorf("the successor answers %v", m)
	}
	if n := len(children(s)); n != 1 {
		t.Errorf("the successor has %d child SAs", n)
	}
}

// TestFollowupUnknown: RFC 9370 §2.2.4, what "doesn't correspond to any active key
// exchange state the responder has" is answered with STATE_NOT_FOUND, and the IKE SA
// stays.
func TestFollowupUnknown(t *testing.T) {
	s := hybridStranger(t)
	m := newMixer(s)
	offer := suite.Offer([]suite.Proposal{must(suite.ParseIKE(hybridIKE))}, binary.BigEndian.AppendUint64(nil, 0x1234))
	ke := wire.KE{Group: wire.GroupMLKEM768, Data: make([]byte, 1184)}
	missing := func(what string, payloads ...wire.Payload) {
		t.Helper()
		if _, ok := wire.FindNotify(m.ask(wire.ExchangeIKEFollowupKE, payloads...).Payloads, wire.NotifyStateNotFound); !ok {
			t.Errorf("%s is not STATE_NOT_FOUND", what)
		}
	}
	missing("no exchange to follow", ke, wire.Notify{Type: wire.NotifyAdditionalKeyExchange, Data: make([]byte, 16)})
	m.begin(offer)
	first := m.link
	missing("no link", ke)
	missing("another link", ke, wire.Notify{Type: wire.NotifyAdditionalKeyExchange, Data: make([]byte, len(first.Data))})
	m.begin(offer)
	missing("what was begun anew since", ke, first)
	if m.begin(offer); bytes.Equal(m.link.Data, first.Data) {
		t.Error("two links are the same")
	}
	last := m.link
	s.w.Run(41 * time.Second)
	missing("what was left alone for too long", ke, last)
	if s.state() != v2.Established.String() {
		t.Errorf("the IKE SA is %q", s.state())
	}
	// None of it keeps the peer from doing it right.
	m.begin(offer)
	m.follow()
}

// TestFollowupBounded: what a peer begins and does not end takes no more than a
// fixed number of SPIs, and those only for a while.
func TestFollowupBounded(t *testing.T) {
	s := hybridStranger(t)
	before := s.g.SPIs()
	esp := []suite.Proposal{must(suite.ParseESP(hybridESP))}
	for i := range 50 {
		spi := uint32(0x2000 + i)
		ask := s.childSA(spi)
		ask[0] = suite.Offer(esp, binary.BigEndian.AppendUint32(nil, spi))
		newMixer(s).begin(ask...)
	}
	if n := s.g.SPIs() - before; n != 8 {
		t.Errorf("%d SPIs are held", n)
	}
	s.w.Run(time.Minute)
	if n := s.g.SPIs() - before; n != 0 {
		t.Errorf("%d SPIs are left", n)
	}
}

// TestFollowupBadKey: a key that is none ends the IKE SA, as a malformed payload
// does (RFC 7296 §2.21.3).
func TestFollowupBadKey(t *testing.T) {
	for what, ke := range map[string]wire.KE{
		"another group":   {Group: wire.GroupMLKEM1024, Data: make([]byte, 1568)},
		"another length":  {Group: wire.GroupMLKEM768, Data: make([]byte, 1183)},
		"unreduced ones":  {Group: wire.GroupMLKEM768, Data: bytes.Repeat([]byte{0xff}, 1184)},
		"classical group": {Group: wire.GroupX25519, Data: make([]byte, 32)},
	} {
		s := hybridStranger(t)
		m := newMixer(s)
		m.begin(suite.Offer([]suite.Proposal{must(suite.ParseIKE(hybridIKE))}, binary.BigEndian.AppendUint64(nil, 0x1234)))
		answer := m.ask(wire.ExchangeIKEFollowupKE, ke, m.link)
		if _, ok := wire.FindNotify(answer.Payloads, wire.NotifyInvalidSyntax); !ok {
			t.Errorf("%s: answered %v", what, answer)
		}
	}
}

// hear takes the gateway's request out of what it did, nil if there is none.
func (s *stranger) hear(out []session.Output) *wire.Message {
	for _, o := range sends(out) {
		h, err := wire.ParseHeader(o.Data)
		if err != nil || h.Response() {
			continue
		}
		m, err := wire.OpenEncrypted(o.Data, s.protect)
		if err != nil {
			s.w.T.Fatal(err)
		}
		return &m
	}
	return nil
}

// reply answers a request of the gateway.
func (s *stranger) reply(m *wire.Message, payloads ...wire.Payload) []session.Output {
	h := s.header(m.Header.Exchange, m.Header.MessageID)
	h.Flags |= wire.FlagResponse
	return s.g.Engine.Step(s.w.Now, session.Datagram{Local: s.to, Remote: s.at, Data: s.seal(h, payloads...)})
}

// agree answers a gateway's CREATE_CHILD_SA with whatever it offers first.
func (s *stranger) agree(m *wire.Message, link ...wire.Payload) []session.Output {
	sa, _ := wire.Find[wire.SA](m.Payloads)
	offered := sa.Proposals[0]
	offered.SPI = binary.BigEndian.AppendUint64(nil, 0x4321)
	if offered.Protocol == wire.ProtocolESP {
		offered.SPI = offered.SPI[4:]
	}
	answer := []wire.Payload{wire.SA{Proposals: []wire.Proposal{offered}}, wire.Nonce{Data: make([]byte, 32)}}
	if ke, ok := wire.Find[wire.KE](m.Payloads); ok {
		answer = append(answer, wire.KE{Group: ke.Group, Data: newMixer(s).x.PublicKey().Bytes()})
	}
	tsi, okI := wire.Find[wire.TSi](m.Payloads)
	tsr, okR := wire.Find[wire.TSr](m.Payloads)
	if okI && okR {
		answer = append(answer, tsi, tsr)
	}
	return s.reply(m, append(answer, link...)...)
}

// TestFollowupLost: a peer that keeps losing its state is given up: "if the initiator
// continues to receive STATE_NOT_FOUND notifications after several retries, it MUST
// treat this situation as a fatal error and delete IKE SA by sending a DELETE payload"
// (RFC 9370 §2.2.4).
func TestFollowupLost(t *testing.T) {
	for _, child := range []string{"lan", ""} {
		s := hybridStranger(t)
		link := wire.Notify{Type: wire.NotifyAdditionalKeyExchange, Data: []byte("go on here")}
		out := s.g.Engine.Step(s.w.Now, session.Rekey{Conn: "t", Child: child})
		for i := range 3 {
			request := s.hear(out)
			if request == nil || request.Header.Exchange != wire.ExchangeCreateChildSA {
				t.Fatalf("rekey of %q: retry %d does not come", child, i)
			}
			if child == "" {
				// Its first proposal is the classical one.
				sa, _ := wire.Find[wire.SA](request.Payloads)
				for n := range request.Payloads {
					if _, ok := request.Payloads[n].(wire.SA); ok {
						request.Payloads[n] = wire.SA{Proposals: sa.Proposals[1:]}
					}
				}
			}
			follow := s.hear(s.agree(request, link))
			back, _ := wire.FindNotify(follow.Payloads, wire.NotifyAdditionalKeyExchange)
			if follow.Header.Exchange != wire.ExchangeIKEFollowupKE || !bytes.Equal(back.Data, link.Data) {
				t.Fatalf("rekey of %q goes on with %v", child, follow)
			}
			out = s.reply(follow, wire.Notify{Type: wire.NotifyStateNotFound})
			if i < 2 {
				s.w.Now = s.w.Now.Add(10 * time.Second)
				out = append(out, s.g.Engine.Step(s.w.Now, session.Tick{})...)
			}
		}
		last := s.hear(out)
		if last == nil {
			t.Fatalf("rekey of %q: nothing comes after three times", child)
		}
		if d, ok := wire.Find[wire.Delete](last.Payloads); !ok || d.Protocol != wire.ProtocolIKE {
			t.Errorf("rekey of %q: after three times comes %v", child, last)
		}
	}
}

// TestFollowupUnlinked: an answer that agrees on more key exchanges and does not link
// to them is a failure, and the old SA stays.
func TestFollowupUnlinked(t *testing.T) {
	s := hybridStranger(t)
	request := s.hear(s.g.Engine.Step(s.w.Now, session.Rekey{Conn: "t", Child: "lan"}))
	if next := s.hear(s.agree(request)); next != nil {
		t.Errorf("after an answer without a link comes %v", next)
	}
	if c := children(s); len(c) != 1 || c[0].State != "installed" {
		t.Errorf("child SAs %+v", c)
	}
}

// FuzzFollowup goes on with a series that stands, by anything at all behind its link.
func FuzzFollowup(f *testing.F) {
	f.Add(uint8(wire.PayloadKE), append([]byte{0, 0, 0x04, 0xa8, 0, 36, 0, 0}, make([]byte, 1184)...))
	f.Add(uint8(wire.PayloadKE), []byte{0, 0, 0, 8, 0, 36, 0, 0})
	f.Add(uint8(wire.PayloadDelete), []byte{0, 0, 0, 8, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, first uint8, data []byte) {
		if len(data) > 8000 {
			return
		}
		s := hybridStranger(t)
		m := newMixer(s)
		ask := s.childSA(0x2000)
		ask[0] = suite.Offer([]suite.Proposal{must(suite.ParseESP(hybridESP))}, []byte{0, 0, 0x20, 0})
		m.begin(ask...)
		link := append([]byte{first, 0, 0, byte(8 + len(m.link.Data)), 0, 0, 0x40, 0x39}, m.link.Data...)
		s.tell(s.sealOctets(s.header(wire.ExchangeIKEFollowupKE, s.next), wire.PayloadNotify, append(link, data...)))
		s.w.Run(2 * time.Minute)
		if n := len(s.g.Engine.Status(s.w.Now).Children); s.g.SPIs() != n {
			t.Errorf("%d SPIs are held for %d child SAs", s.g.SPIs(), n)
		}
	})
}
