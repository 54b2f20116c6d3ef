package v2_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/v2"
	"spindle/ike/wire"
)

// musts are what RFC 7296 demands of us and a peer can see, in the order of its
// sections. A ladder that is named holds the line that proves it; TestLadders
// plays it.
var musts = []struct {
	section, must string
	ladder, line  string
	test          func(*testing.T)
}{
	{section: "1.2", must: "both ends prove themselves in IKE_AUTH", ladder: "handshake", line: "IKE_AUTH response 1 [ IDr AUTH SA TSi TSr ]"},
	{section: "1.3", must: "a refused child SA leaves the IKE SA standing", ladder: "ts_unacceptable", line: "established"},
	{section: "1.3.3", must: "REKEY_SA names the SA that is replaced", ladder: "rekey_initiator", line: "CREATE_CHILD_SA request 2 [ N(REKEY_SA) SA Nonce TSi TSr ]"},
	{section: "1.4", must: "an INFORMATIONAL request is answered, an empty one by an empty one", test: mustAnswerEmpty},
	{section: "1.4.1", must: "the answer to a Delete names the other half of the pair", ladder: "delete", line: "INFORMATIONAL response 2 [ D ]"},
	{section: "1.4.1", must: "halves of which both ends sent a Delete are not named again", ladder: "delete_crossing", line: "INFORMATIONAL response"},
	{section: "1.4.1", must: "deleting an IKE SA closes its child SAs", ladder: "nat", line: "r8: delete in SA r8.1"},
	{section: "1.5", must: "an unprotected INVALID_SPI changes nothing", ladder: "spi_hearsay", line: "r6"},
	{section: "1.5", must: "INVALID_IKE_SPI answers requests only, never responses", test: mustNotAnswerResponses},
	{section: "2.1", must: "a retransmitted request gets the same response", test: mustRepeatResponse},
	{section: "2.1", must: "a request is retransmitted until it is answered or the SA is given up", ladder: "no_answer", line: "peer does not answer IKE_SA_INIT"},
	{section: "2.1", must: "the last response is kept while its request may come again", ladder: "delete_answer_lost", line: "again: INFORMATIONAL response 2"},
	{section: "2.2", must: "message ids count up from 0, each end its own", ladder: "dpd_periodic", line: "request 0"},
	{section: "2.2", must: "an IKE SA whose message ids run low is rekeyed", ladder: "message_ids", line: "message ids run low: the IKE SA is rekeyed"},
	{section: "2.2", must: "an IKE SA whose message ids are used up is closed", test: mustCloseExhausted},
	{section: "2.2", must: "a message that is reflected to its sender is no message of the peer", test: mustIgnoreReflection},
	{section: "2.3", must: "beyond the window of one nothing is processed", test: mustKeepWindow},
	{section: "2.3", must: "SET_WINDOW_SIZE does not make us send more than one request", test: mustBearWindowSize},
	{section: "2.4", must: "INITIAL_CONTACT removes the IKE SAs of before", ladder: "invalid_spi", line: "INITIAL_CONTACT"},
	{section: "2.4", must: "a peer is dead only after repeated attempts have gone unanswered", ladder: "dead_peer", line: "peer does not answer CREATE_CHILD_SA"},
	{section: "2.5", must: "a higher major version is dropped and answered with the highest we speak", test: mustRefuseMajorVersion},
	{section: "2.5", must: "the minor version is ignored", test: mustIgnoreMinorVersion},
	{section: "2.5", must: "an unknown critical payload is refused by its type", test: mustRefuseCritical},
	{section: "2.5", must: "an unknown critical payload in IKE_SA_INIT is refused, without state", test: mustRefuseCriticalInClear},
	{section: "2.5", must: "an unknown payload that is not critical is skipped", test: mustSkipUnknown},
	{section: "2.6", must: "a cookie is returned in front, all else unchanged", ladder: "cookie", line: "[ N(COOKIE) SA KE Nonce"},
	{section: "2.7", must: "the responder takes one proposal or none", ladder: "no_proposal", line: "N(NO_PROPOSAL_CHOSEN)"},
	{section: "2.7", must: "INVALID_KE_PAYLOAD names a group that was offered, and the initiator tries it", ladder: "invalid_ke", line: "N(INVALID_KE_PAYLOAD)"},
	{section: "2.8", must: "the responder of a rekey takes packets on the new SA before it answers", ladder: "rekey_initiator", line: "add in SA r8.2"},
	{section: "2.8.1", must: "of two SAs made at once that of the lowest nonce goes", ladder: "collision", line: "rekey collision"},
	{section: "2.9", must: "the responder narrows to a subset of what is offered", ladder: "narrowing", line: "child SA established"},
	{section: "2.9", must: "selectors with nothing in common are refused as TS_UNACCEPTABLE", ladder: "ts_unacceptable", line: "N(TS_UNACCEPTABLE)"},
	{section: "2.10", must: "a nonce has 16 to 256 octets", test: mustCheckNonce},
	{section: "2.11", must: "a response goes to where its request came from", test: mustAnswerToSource},
	{section: "2.15", must: "an AUTH that does not verify is refused", ladder: "wrong_psk", line: "N(AUTHENTICATION_FAILED)"},
	{section: "2.18", must: "the window of a rekeyed IKE SA starts at 0", ladder: "rekey_ike", line: "request 0"},
	{section: "2.21.1", must: "a refused IKE_SA_INIT leaves no state", test: mustForgetRefused},
	{section: "2.21.2", must: "what fails in IKE_AUTH is told as AUTHENTICATION_FAILED and nothing else", ladder: "wrong_id", line: "AUTHENTICATION_FAILED"},
	{section: "2.21.3", must: "INVALID_SYNTAX to a request ends the IKE SA at both ends", test: mustEndAfterSyntax},
	{section: "2.21.3", must: "INVALID_SYNTAX as an answer ends the IKE SA without a Delete", test: mustEndWhenFoundMalformed},
	{section: "2.21.4", must: "a request for an unknown IKE SA is answered without protection, and not too often", test: mustBoundUnknown},
	{section: "2.23", must: "behind a NAT all goes by port 4500", ladder: "nat", line: "r6 -> r8 :4500 IKE_AUTH request 1"},
	{section: "2.23", must: "an authenticated peer behind a NAT is followed", ladder: "nat_moves", line: "peer moved behind its NAT"},
	{section: "2.25", must: "a rekey of an SA that is not there is CHILD_SA_NOT_FOUND", test: mustMissChild},
	{section: "2.25", must: "an IKE SA that is being rekeyed takes no other request for SAs", ladder: "rekey_ike_child_crossing", line: "N(TEMPORARY_FAILURE)"},
	{section: "3.1", must: "flags that mean nothing are ignored", test: mustIgnoreReserved},
	{section: "3.1", must: "a message of another length than it says is dropped", test: mustCheckLength},
	{section: "3.10.1", must: "an unknown status notification is ignored", test: mustIgnoreStatus},
	{section: "3.10.1", must: "an unknown error in an answer fails the request", test: mustFailOnUnknownError},
	{section: "3.14", must: "what does not pass its checksum changes nothing", test: mustCheckIntegrity},
}

func TestRFC7296(t *testing.T) {
	for _, m := range musts {
		t.Run("§"+m.section+" "+m.must, func(t *testing.T) {
			if m.test != nil {
				m.test(t)
				return
			}
			text, err := os.ReadFile(filepath.Join("testdata", m.ladder+".txt"))
			if err != nil || !strings.Contains(string(text), m.line) {
				t.Errorf("ladder %s does not show %q (%v)", m.ladder, m.line, err)
			}
		})
	}
}

func mustAnswerEmpty(t *testing.T) {
	s := visited(t).meet(1).prove()
	if m, ok := s.ask(wire.ExchangeInformational); !ok || len(m.Payloads) != 0 {
		t.Errorf("answer %v", m)
	}
}

func mustNotAnswerResponses(t *testing.T) {
	s := visited(t).meet(1)
	h := s.header(wire.ExchangeInformational, 0)
	h.ResponderSPI++
	h.Flags |= wire.FlagResponse
	if replies := s.tell(s.seal(h)); len(replies) != 0 {
		t.Errorf("a response got %d answers", len(replies))
	}
}

func mustRepeatResponse(t *testing.T) {
	s := visited(t).meet(1).prove()
	request := s.seal(s.header(wire.ExchangeInformational, s.next))
	first, again := s.tell(request), s.tell(request)
	if len(first) != 1 || len(again) != 1 || !slices.Equal(first[0], again[0]) {
		t.Errorf("%d and %d answers", len(first), len(again))
	}
	if other := s.tell(s.seal(s.header(wire.ExchangeInformational, s.next))); len(other) != 0 {
		t.Error("another request with the same id was answered")
	}
}

// mustCloseExhausted: the peer uses up its ids, and answers no request for a rekey.
func mustCloseExhausted(t *testing.T) {
	w := ladder.New(t, version)
	w.MessageIDs = 8
	w.Configure(w.Add("r8", 8, nil), w.Connection(ladder.Words{"addr": "192.0.2.2", "peerid": "any", "ts": "10.8.8.8/32=0.0.0.0/0"}))
	s := world{w}.meet(1).prove()
	for s.next < 12 {
		if _, ok := s.ask(wire.ExchangeInformational); !ok {
			t.Fatalf("request %d is not answered", s.next-1)
		}
	}
	forged := s.seal(s.header(wire.ExchangeInformational, s.next))
	forged[len(forged)-1] ^= 1
	if s.tell(forged); s.state() != v2.Established.String() {
		t.Errorf("a forged request 12 leaves the IKE SA %q", s.state())
	}
	if m, ok := s.ask(wire.ExchangeInformational); ok || s.state() != "" {
		t.Errorf("request 12 is answered by %v, the IKE SA is %s", m, s.state())
	}
}

func mustIgnoreReflection(t *testing.T) {
	w := ladder.Running(t, version, nil)
	w.Watch = func(from *ladder.Gateway, d session.Datagram) {
		back := session.Datagram{Local: d.Remote, Remote: d.Local, Data: slices.Clone(d.Data)}
		w.Deliver(w.Now.Add(ladder.Latency), from.Name, back)
	}
	w.Dial()
	w.Run(ladder.Latency * 10)
	for _, name := range w.Names() {
		w.OnlyEstablished(w.Gateways[name])
	}
}

func mustKeepWindow(t *testing.T) {
	s := visited(t).meet(1).prove()
	for _, id := range []uint32{s.next + 1, s.next - 2, 1 << 31, 1<<32 - 1} {
		if replies := s.tell(s.seal(s.header(wire.ExchangeInformational, id))); len(replies) != 0 {
			t.Errorf("request %d was answered, %d is due", id, s.next)
		}
	}
	if _, ok := s.ask(wire.ExchangeInformational); !ok {
		t.Error("the request that was due is not answered any more")
	}
}

func mustBearWindowSize(t *testing.T) {
	s := visited(t).meet(1).prove()
	if m, ok := s.ask(wire.ExchangeInformational, wire.WindowSize(8).Notify()); !ok || len(m.Payloads) != 0 {
		t.Errorf("answer %v", m)
	}
	pair := children(s)[0].SPIIn
	out := s.g.Engine.Step(s.w.Now, session.Expire{Pair: pair, Cause: "bytes"})
	out = append(out, s.g.Engine.Step(s.w.Now, session.Terminate{Conn: "t", Child: "lan"})...)
	if n := len(sends(out)); n != 1 {
		t.Errorf("%d requests are out", n)
	}
}

func children(s *stranger) []session.ChildStatus { return s.g.Engine.Status(s.w.Now).Children }

func sends(out []session.Output) (list []session.Send) {
	for _, o := range out {
		if o, ok := o.(session.Send); ok {
			list = append(list, o)
		}
	}
	return list
}

func mustRefuseMajorVersion(t *testing.T) {
	s := visited(t).meet(1)
	data := s.clear(wire.Header{Version: 0x35})
	replies := s.tell(data)
	if len(replies) != 1 {
		t.Fatalf("%d answers", len(replies))
	}
	m, err := wire.ParseMessage(replies[0])
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyInvalidMajorVersion); err != nil || !ok || m.Header.Version != wire.Version2 {
		t.Errorf("answer %v of version %v, %v", m, m.Header.Version, err)
	}
	response := slices.Clone(data)
	response[19] |= byte(wire.FlagResponse)
	if replies := s.tell(response); len(replies) != 0 {
		t.Error("a response of version 3 was answered")
	}
}

func mustIgnoreMinorVersion(t *testing.T) {
	s := visited(t).meet(1).prove()
	h := s.header(wire.ExchangeInformational, s.next)
	h.Version = 0x27
	if _, ok := s.answer(s.tell(s.seal(h))); !ok {
		t.Error("version 2.7 is not answered")
	}
}

func mustRefuseCritical(t *testing.T) {
	s := visited(t).meet(1).prove()
	m, ok := s.ask(wire.ExchangeInformational, wire.Unknown{Type: 200, Critical: true, Data: []byte("x")})
	n, refused := wire.FindNotify(m.Payloads, wire.NotifyUnsupportedCriticalPayload)
	if !ok || !refused || !slices.Equal(n.Data, []byte{200}) {
		t.Errorf("answer %v %x", m, n.Data)
	}
	if _, ok := s.ask(wire.ExchangeInformational); !ok || s.state() != v2.Established.String() {
		t.Error("the IKE SA is gone")
	}
}

func mustRefuseCriticalInClear(t *testing.T) {
	w := visited(t)
	s := w.meet(1)
	before := len(s.g.Engine.Status(w.Now).IKE)
	s.spiI++
	replies := s.tell(s.clear(wire.Header{}, wire.Unknown{Type: 200, Critical: true}))
	if len(replies) != 1 {
		t.Fatalf("%d answers", len(replies))
	}
	m, err := wire.ParseMessage(replies[0])
	n, ok := wire.FindNotify(m.Payloads, wire.NotifyUnsupportedCriticalPayload)
	if err != nil || !ok || !slices.Equal(n.Data, []byte{200}) || len(s.g.Engine.Status(w.Now).IKE) != before {
		t.Errorf("answer %v %x, %v", m, n.Data, err)
	}
}

func mustSkipUnknown(t *testing.T) {
	s := visited(t).meet(1).prove()
	if m, ok := s.ask(wire.ExchangeInformational, wire.Unknown{Type: 201, Data: []byte("x")}); !ok || len(m.Payloads) != 0 {
		t.Errorf("answer %v", m)
	}
}

func mustCheckNonce(t *testing.T) {
	w := visited(t)
	s := w.meet(1)
	before := len(s.g.Engine.Status(w.Now).IKE)
	m, err := wire.ParseMessage(s.request)
	if err != nil {
		t.Fatal(err)
	}
	good, _ := wire.Find[wire.Nonce](m.Payloads)
	at := strings.Index(string(s.request), string(good.Data))
	short := slices.Delete(slices.Clone(s.request), at+15, at+len(good.Data))
	binary.BigEndian.PutUint32(short[24:], uint32(len(short)))
	binary.BigEndian.PutUint16(short[at-2:], 4+15)
	if replies := s.tell(short); len(replies) != 0 || len(s.g.Engine.Status(w.Now).IKE) != before {
		t.Errorf("a nonce of 15 octets got %d answers", len(replies))
	}
}

func mustAnswerToSource(t *testing.T) {
	s := visited(t).meet(1).prove()
	home := s.at
	s.at = netip.MustParseAddrPort("203.0.113.99:1234")
	if _, ok := s.ask(wire.ExchangeInformational); !ok {
		t.Error("no answer to where the request came from")
	}
	s.at = home
	out := s.g.Engine.Step(s.w.Now, session.Terminate{Conn: "t"})
	if list := sends(out); len(list) != 1 || list[0].Remote != s.at {
		t.Errorf("without a NAT the peer stays where it was: %+v", list)
	}
}

func mustForgetRefused(t *testing.T) {
	w := visited(t)
	s := w.meet(1)
	before := len(s.g.Engine.Status(w.Now).IKE)
	s.spiI++
	other := w.Connection(ladder.Words{"ike": "aes256gcm16-prfsha512-ecp521"}).IKE
	replies := s.tell(s.clear(wire.Header{}, suite.Offer(other, nil), wire.KE{Group: wire.GroupECP521, Data: make([]byte, 132)}, wire.Nonce{Data: s.ni}))
	if len(replies) != 1 || len(s.g.Engine.Status(w.Now).IKE) != before {
		t.Errorf("%d answers, %d IKE SAs", len(replies), len(s.g.Engine.Status(w.Now).IKE))
	}
}

func mustEndAfterSyntax(t *testing.T) {
	s := visited(t).meet(1).prove()
	data := s.sealOctets(s.header(wire.ExchangeInformational, s.next), wire.PayloadNotify, []byte{0, 0, 0, 3})
	m, ok := s.answer(s.tell(data))
	if _, said := wire.FindNotify(m.Payloads, wire.NotifyInvalidSyntax); !ok || !said {
		t.Errorf("answer %v", m)
	}
	if len(children(s)) != 0 || s.state() != "" {
		t.Errorf("the IKE SA stands: %s", s.state())
	}
	if again := s.tell(data); len(again) != 1 {
		t.Error("a retransmission is not answered")
	}
}

func mustEndWhenFoundMalformed(t *testing.T) {
	s := visited(t).meet(1).prove()
	request := sends(s.g.Engine.Step(s.w.Now, session.Expire{Pair: children(s)[0].SPIIn, Cause: "bytes"}))
	h, err := wire.ParseHeader(request[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	h.Flags = wire.FlagInitiator | wire.FlagResponse
	if replies := s.tell(s.seal(h, wire.Notify{Type: wire.NotifyInvalidSyntax})); len(replies) != 0 {
		t.Errorf("it sends %d messages more", len(replies))
	}
	if len(children(s)) != 0 || s.state() != "" {
		t.Errorf("the IKE SA stands: %s", s.state())
	}
}

func mustBoundUnknown(t *testing.T) {
	s := visited(t).meet(1)
	h := s.header(wire.ExchangeInformational, 3)
	answers := 0
	for range 100 {
		h.ResponderSPI++
		for _, data := range s.tell(s.seal(h)) {
			m, err := wire.ParseMessage(data)
			if _, ok := wire.FindNotify(m.Payloads, wire.NotifyInvalidIKESPI); err != nil || !ok || m.Header.MessageID != 3 {
				t.Errorf("answer %v, %v", m, err)
			}
			answers++
		}
	}
	if answers == 0 || answers > 20 {
		t.Errorf("%d answers to 100 requests", answers)
	}
}

func mustMissChild(t *testing.T) {
	s := visited(t).meet(1).prove()
	unknown := []byte{0, 0, 0x77, 0x77}
	m, ok := s.ask(wire.ExchangeCreateChildSA, s.childSA(0x2000,
		wire.Notify{Protocol: wire.ProtocolESP, SPI: unknown, Type: wire.NotifyRekeySA}, wire.Nonce{Data: s.ni})...)
	n, refused := wire.FindNotify(m.Payloads, wire.NotifyChildSANotFound)
	if !ok || !refused || !slices.Equal(n.SPI, unknown) || n.Protocol != wire.ProtocolESP {
		t.Errorf("answer %v", m)
	}
}

func mustIgnoreReserved(t *testing.T) {
	s := visited(t).meet(1).prove()
	h := s.header(wire.ExchangeInformational, s.next)
	h.Flags |= 0xc7 | wire.FlagVersion
	if _, ok := s.answer(s.tell(s.seal(h))); !ok {
		t.Error("reserved flags are not ignored")
	}
}

func mustCheckLength(t *testing.T) {
	s := visited(t).meet(1).prove()
	good := s.seal(s.header(wire.ExchangeInformational, s.next))
	for _, data := range [][]byte{append(slices.Clone(good), 0), good[:len(good)-1]} {
		if replies := s.tell(data); len(replies) != 0 {
			t.Errorf("%d octets for %d were answered", len(data), len(good))
		}
	}
	if _, ok := s.answer(s.tell(good)); !ok {
		t.Error("the message as it was is not answered any more")
	}
}

func mustIgnoreStatus(t *testing.T) {
	s := visited(t).meet(1).prove()
	if m, ok := s.ask(wire.ExchangeInformational, wire.Notify{Type: 40961, Data: []byte("x")}); !ok || len(m.Payloads) != 0 {
		t.Errorf("answer %v", m)
	}
}

func mustFailOnUnknownError(t *testing.T) {
	s := visited(t).meet(1).prove()
	before := children(s)[0]
	request := sends(s.g.Engine.Step(s.w.Now, session.Expire{Pair: before.SPIIn, Cause: "bytes"}))
	h, err := wire.ParseHeader(request[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	h.Flags = wire.FlagInitiator | wire.FlagResponse
	s.tell(s.seal(h, wire.Notify{Type: 8191}))
	if now := children(s); len(now) != 1 || now[0].SPIIn != before.SPIIn || now[0].State != "installed" {
		t.Errorf("child SAs %+v", now)
	}
}

func mustCheckIntegrity(t *testing.T) {
	s := visited(t).meet(1).prove()
	good := s.seal(s.header(wire.ExchangeInformational, s.next), wire.Delete{Protocol: wire.ProtocolIKE})
	for i := range good {
		spoilt := slices.Clone(good)
		spoilt[i] ^= 0x10
		s.tell(spoilt)
	}
	if len(children(s)) != 1 {
		t.Fatal("a spoilt Delete was obeyed")
	}
	if _, ok := s.answer(s.tell(good)); !ok || len(children(s)) != 0 {
		t.Error("the Delete as it was is not obeyed")
	}
}
