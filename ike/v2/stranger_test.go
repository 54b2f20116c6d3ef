package v2_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// stranger speaks IKEv2 by hand to a gateway, with the right keys and, unlike our
// own engine, anything it likes under them.
type stranger struct {
	w        world
	g        *ladder.Gateway
	at, to   netip.AddrPort
	spiI     wire.SPI
	spiR     wire.SPI
	ni, nr   []byte
	proposal suite.Proposal
	ke       suite.KE
	keys     *suite.IKEKeys
	protect  wire.Protector
	request  []byte
	response []byte
	next     uint32 // message id of the next request
	theirs   uint32 // of the gateway's next request
	rnd      *rand.ChaCha8
}

// world is one that strangers come to.
type world struct{ *ladder.World }

// visited is a gateway that takes strangers with the shared key.
func visited(t testing.TB) world {
	w := ladder.New(t, version)
	w.Configure(w.Add("r8", 8, nil), w.Connection(ladder.Words{
		"addr": "192.0.2.2", "peerid": "any", "ts": "10.8.8.8/32=0.0.0.0/0", "fragment": "1280"}))
	return world{w}
}

// stranger is somebody who has not said a word yet.
func (w world) stranger(seed int) *stranger {
	g := w.Gateways["r8"]
	s := &stranger{w: w, g: g, at: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(100 + seed>>8), byte(seed)}), 500), to: netip.MustParseAddrPort("192.0.2.2:500"),
		rnd: rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 99}), next: 1, proposal: g.Conns[0].IKE[0]}
	s.spiI = wire.SPI(s.rnd.Uint64() | 1)
	s.ni = make([]byte, 32)
	s.rnd.Read(s.ni)
	return s
}

// meet opens an IKE SA as far as anybody can.
func (w world) meet(seed int) *stranger {
	s := w.stranger(seed)
	var err error
	if s.ke, err = suite.GenerateKE(s.proposal.Group, s.rnd); err != nil {
		w.T.Fatal(err)
	}
	payloads := []wire.Payload{suite.Offer(s.g.Conns[0].IKE, nil), wire.KE{Group: s.ke.Group(), Data: s.ke.Public()}, wire.Nonce{Data: s.ni},
		wire.Notify{Type: wire.NotifyFragmentationSupported}}
	m := s.open(payloads)
	if cookie, ok := wire.FindNotify(m.Payloads, wire.NotifyCookie); ok {
		m = s.open(append([]wire.Payload{cookie}, payloads...))
	}
	s.agreed(m)
	return s
}

// agreed makes the keys from the answer to IKE_SA_INIT.
func (s *stranger) agreed(m wire.Message) {
	theirs, ok := wire.Find[wire.KE](m.Payloads)
	nonce, _ := wire.Find[wire.Nonce](m.Payloads)
	if !ok {
		s.w.T.Fatalf("IKE_SA_INIT answered %v", m)
	}
	s.spiR, s.nr = m.Header.ResponderSPI, nonce.Data
	shared, err := s.ke.Shared(theirs.Data)
	if err == nil {
		s.keys, err = suite.DeriveIKE(s.proposal, shared, s.ni, s.nr, s.spiI, s.spiR)
	}
	if err == nil {
		s.protect, err = suite.NewProtector(s.proposal, s.keys, true, s.rnd)
	}
	if err != nil {
		s.w.T.Fatal(err)
	}
}

// open sends IKE_SA_INIT and returns the answer.
func (s *stranger) open(payloads []wire.Payload) wire.Message {
	s.request = s.clear(wire.Header{}, payloads...)
	replies := s.tell(s.request)
	if len(replies) != 1 {
		s.w.T.Fatalf("IKE_SA_INIT got %d answers", len(replies))
	}
	s.response = replies[0]
	m, err := wire.ParseMessage(s.response)
	if err != nil {
		s.w.T.Fatal(err)
	}
	return m
}

// clear makes an IKE_SA_INIT request; what h has is kept.
func (s *stranger) clear(h wire.Header, payloads ...wire.Payload) []byte {
	h.InitiatorSPI, h.Exchange, h.Flags = s.spiI, wire.ExchangeIKESAInit, h.Flags|wire.FlagInitiator
	data, err := wire.AppendMessage(nil, h, payloads)
	if err != nil {
		s.w.T.Fatal(err)
	}
	return data
}

// tell delivers a datagram and returns what comes back to us.
func (s *stranger) tell(data []byte) (replies [][]byte) {
	for _, o := range s.g.Engine.Step(s.w.Now, session.Datagram{Local: s.to, Remote: s.at, Data: slices.Clone(data)}) {
		if o, ok := o.(session.Send); ok && o.Remote == s.at {
			replies = append(replies, o.Data)
		}
	}
	return replies
}

func (s *stranger) header(exchange wire.ExchangeType, id uint32) wire.Header {
	return wire.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR, Exchange: exchange, Flags: wire.FlagInitiator, MessageID: id}
}

// seal protects payloads under any header.
func (s *stranger) seal(h wire.Header, payloads ...wire.Payload) []byte {
	data, err := wire.AppendEncrypted(nil, h, payloads, s.protect)
	if err != nil {
		s.w.T.Fatal(err)
	}
	return data
}

// sealOctets protects octets that need not be payloads.
func (s *stranger) sealOctets(h wire.Header, first wire.PayloadType, plaintext []byte) []byte {
	plaintext = append(slices.Clone(plaintext), 0) // Pad Length: AES-GCM needs no padding
	body := 4 + len(plaintext) + s.protect.Overhead()
	data, err := wire.AppendMessage(nil, h, []wire.Payload{wire.SK{First: first}})
	if err != nil {
		s.w.T.Fatal(err)
	}
	binary.BigEndian.PutUint32(data[24:], uint32(wire.HeaderSize+body))
	binary.BigEndian.PutUint16(data[wire.HeaderSize+2:], uint16(body))
	if data, err = s.protect.Seal(data, slices.Clone(data), plaintext); err != nil {
		s.w.T.Fatal(err)
	}
	return data
}

// ask makes the next request and returns the answer, opened.
func (s *stranger) ask(exchange wire.ExchangeType, payloads ...wire.Payload) (wire.Message, bool) {
	data := s.seal(s.header(exchange, s.next), payloads...)
	s.next++
	return s.answer(s.tell(data))
}

// answer opens the first response among datagrams.
func (s *stranger) answer(replies [][]byte) (wire.Message, bool) {
	for _, data := range replies {
		if h, err := wire.ParseHeader(data); err != nil || !h.Response() {
			continue
		}
		m, err := wire.OpenEncrypted(data, s.protect)
		if err != nil {
			s.w.T.Fatalf("answer does not open: %v", err)
		}
		return m, true
	}
	return wire.Message{}, false
}

// prove completes IKE_AUTH with the shared key and a first child SA.
func (s *stranger) prove() *stranger {
	s.w.T.Helper()
	id := wire.Identity{Type: wire.IDFQDN, Data: []byte("stranger")}
	octets, err := suite.SignedOctets(s.proposal.PRF, s.request, s.nr, s.keys.PI, id)
	if err != nil {
		s.w.T.Fatal(err)
	}
	auth, err := suite.PSKAuth(s.proposal.PRF, s.g.Conns[0].PSK, octets)
	if err != nil {
		s.w.T.Fatal(err)
	}
	m, ok := s.ask(wire.ExchangeIKEAuth, s.childSA(0x1000, wire.IDi{Identity: id}, wire.AUTH{Method: wire.AuthSharedKey, Data: auth})...)
	if _, proved := wire.Find[wire.AUTH](m.Payloads); !ok || !proved || len(s.w.Gateways["r8"].Engine.Status(s.w.Now).Children) != 1 {
		s.w.T.Fatalf("IKE_AUTH answered %v", m)
	}
	return s
}

// childSA asks for a child SA behind the given payloads.
func (s *stranger) childSA(spi uint32, before ...wire.Payload) []wire.Payload {
	c := s.g.Conns[0].Children[0]
	ts := func(a string) []wire.TrafficSelector {
		addr := netip.MustParseAddr(a)
		return []wire.TrafficSelector{{Type: wire.TSIPv4AddrRange, EndPort: 65535, Start: addr, End: addr}}
	}
	return append(before, suite.Offer(c.ESP, binary.BigEndian.AppendUint32(nil, spi)), wire.TSi{Selectors: ts("10.6.6.6")}, wire.TSr{Selectors: ts("10.8.8.8")})
}

// state is that of the gateway's only IKE SA, "" when there is none.
func (s *stranger) state() string {
	for _, st := range s.g.Engine.Status(s.w.Now).IKE {
		return st.State
	}
	return ""
}
