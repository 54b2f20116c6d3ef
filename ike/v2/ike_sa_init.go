package v2

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

// maxCookies is how often a responder may ask again for a cookie.
const maxCookies = 3

// handshake is what is needed only until IKE_AUTH is over.
type handshake struct {
	ke                suite.KE
	tried             []wire.Group // INVALID_KE_PAYLOAD must not go in circles
	cookie            []byte
	cookies           int
	nonceI, nonceR    []byte
	request, response []byte // IKE_SA_INIT as sent: AUTH covers them

	sentBy netip.Addr // the gateway that redirected us here

	intermediate bool                         // the peer takes IKE_INTERMEDIATE
	round        int                          // additional key exchanges that are made
	intAuth      suite.IntAuth                // of those, for AUTH
	authID       uint32                       // Message ID of the first IKE_AUTH
	hashes       wire.SignatureHashAlgorithms // under which the peer accepts signatures
	ppk          bool                         // both ends can use a postquantum preshared key
	mixed        *suite.IKEKeys               // with ours in them
	eap          *eapServer                   // responder: while the peer authenticates by EAP

	childless bool           // the peer can do without a first child SA in IKE_AUTH
	child     *session.Child // initiator: the first child SA
	flow      sadb.Flow
}

// Initiate starts a new IKE SA, which will bring a first child SA up. sentBy is the
// gateway that redirected us to this one, if one did.
func Initiate(env *Env, now time.Time, conn *session.Connection, local, remote netip.AddrPort, child *session.Child, flow sadb.Flow, sentBy netip.Addr) *SA {
	s := &SA{env: env, initiator: true, client: true, conn: conn, local: local, remote: remote, created: now}
	s.handshake = &handshake{child: child, flow: flow, sentBy: sentBy}
	if err := s.prepare(conn.IKE[0].Group); err != nil {
		s.internal(err)
		s.free(now)
		return s
	}
	s.move(InitSent)
	s.sendInit(now)
	return s
}

// prepare draws what IKE_SA_INIT needs of us: SPI, nonce and key exchange.
func (s *SA) prepare(group wire.Group) error {
	spi, err := session.NewIKESPI(s.env.Rand)
	if err != nil {
		return err
	}
	nonce, err := s.env.newNonce()
	if err != nil {
		return err
	}
	if s.initiator {
		s.spiI, s.handshake.nonceI = spi, nonce
	} else {
		s.spiR, s.handshake.nonceR = spi, nonce
	}
	return s.chooseGroup(group)
}

func (s *SA) chooseGroup(group wire.Group) (err error) {
	s.handshake.tried = append(s.handshake.tried, group)
	s.handshake.ke, err = suite.GenerateKE(group, s.env.Rand)
	return err
}

// sendInit sends the request, anew after a cookie or another group was asked for.
func (s *SA) sendInit(now time.Time) {
	var payloads []wire.Payload
	if s.handshake.cookie != nil {
		payloads = append(payloads, wire.Notify{Type: wire.NotifyCookie, Data: s.handshake.cookie})
	}
	payloads = append(payloads, suite.Offer(s.conn.IKE, nil))
	payloads = append(payloads, s.initPayloads(s.handshake.nonceI, s.local, s.remote)...)
	data := s.clear(wire.Flags(0), payloads)
	if data == nil {
		s.free(now)
		return
	}
	s.handshake.request = data
	s.nextID = 1
	s.request = &request{exchange: wire.ExchangeIKESAInit, messages: [][]byte{data}}
	s.request.retransmission.Start(now, s.schedule())
	s.transmit(s.request.messages)
}

// initPayloads are those that both ends send: key exchange, nonce, and the
// hashes by which the other end sees a NAT (RFC 7296 §2.23).
func (s *SA) initPayloads(nonce []byte, local, remote netip.AddrPort) []wire.Payload {
	return slices.Concat([]wire.Payload{
		wire.KE{Group: s.handshake.ke.Group(), Data: s.handshake.ke.Public()},
		wire.Nonce{Data: nonce},
	}, s.natPayloads(local, remote), s.announceFragmentation(), s.announceIntermediate(), s.announceAuth(), s.announceRedirect())
}

// clear writes an IKE_SA_INIT message, which nothing protects yet.
func (s *SA) clear(flags wire.Flags, payloads []wire.Payload) []byte {
	h := s.header(wire.ExchangeIKESAInit, flags, 0)
	data, err := wire.AppendMessage(nil, h, payloads)
	if err != nil {
		s.internal(err)
		return nil
	}
	s.trace("out", wire.Message{Header: h, Payloads: payloads})
	return data
}

// receiveInit takes the response as initiator, or a request that was repeated.
func (s *SA) receiveInit(now time.Time, d session.Datagram, h wire.Header) {
	if !h.Response() {
		if s.state == InitAnswered {
			s.Repeat(d)
		}
		return
	}
	if s.state != InitSent || s.request.exchange != wire.ExchangeIKESAInit || h.InitiatorSPI != s.spiI || h.MessageID != 0 || d.Remote.Addr() != s.remote.Addr() {
		return
	}
	m, err := wire.ParseMessage(d.Data)
	if err != nil {
		s.stray(now, d, err)
		return
	}
	s.trace("in", m)
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifyCookie); ok {
		s.sendCookie(now, n)
		return
	}
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifyRedirect); ok {
		s.redirected(now, d, n)
		return
	}
	if n, ok := refusal(m.Payloads); ok {
		s.initRefused(now, n)
		return
	}
	s.initAccepted(now, d, m)
}

// Repeat answers a retransmitted IKE_SA_INIT request.
func (s *SA) Repeat(d session.Datagram) {
	if s.state == InitAnswered && bytes.Equal(s.handshake.request, d.Data) {
		s.transmitTo(d.Local, d.Remote, [][]byte{s.handshake.response})
	}
}

// sendCookie repeats the request with the cookie in front: RFC 7296 §2.6, "with
// all other payloads unchanged".
func (s *SA) sendCookie(now time.Time, n wire.Notify) {
	if s.handshake.cookies++; s.handshake.cookies > maxCookies || len(n.Data) == 0 || len(n.Data) > 64 {
		return
	}
	s.handshake.cookie = slices.Clone(n.Data)
	s.sendInit(now)
}

// initRefused handles an error in answer to our request. Nothing proves who
// sent it but that it knows our SPI.
func (s *SA) initRefused(now time.Time, n wire.Notify) {
	if n.Type != wire.NotifyInvalidKEPayload {
		s.fail(now, fmt.Sprintf("peer refuses IKE_SA_INIT (%v): we offered ike: %s", n.Type, proposals(s.conn.IKE)))
		return
	}
	group, err := suite.InvalidKEGroup(n)
	offered := slices.ContainsFunc(s.conn.IKE, func(p suite.Proposal) bool { return p.Group == group })
	if err != nil || !offered || slices.Contains(s.handshake.tried, group) {
		s.fail(now, fmt.Sprintf("peer asks for group %v (%v): we offered ike: %s", group, n.Type, proposals(s.conn.IKE)))
		return
	}
	if err := s.chooseGroup(group); err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.sendInit(now)
}

// initAccepted takes the responder's choice, makes the keys and goes on to IKE_AUTH.
func (s *SA) initAccepted(now time.Time, d session.Datagram, m wire.Message) {
	sa, okSA := wire.Find[wire.SA](m.Payloads)
	ke, okKE := wire.Find[wire.KE](m.Payloads)
	nonce, okNonce := wire.Find[wire.Nonce](m.Payloads)
	if !okSA || !okKE || !okNonce || m.Header.ResponderSPI == 0 {
		s.stray(now, d, errors.New("IKE_SA_INIT response without SPI, SA, KE or Nonce"))
		return
	}
	chosen, _, err := suite.Confirm(s.conn.IKE, sa)
	if err != nil {
		s.fail(now, err.Error())
		return
	}
	if chosen.Group != s.handshake.ke.Group() || ke.Group != chosen.Group {
		s.fail(now, fmt.Sprintf("peer chose group %v and sent a key of %v, ours is of %v", chosen.Group, ke.Group, s.handshake.ke.Group()))
		return
	}
	s.spiR = m.Header.ResponderSPI
	s.handshake.nonceR = slices.Clone(nonce.Data)
	s.handshake.response = slices.Clone(d.Data)
	s.hear(m)
	if err := s.agree(chosen, ke.Data); err != nil {
		s.fail(now, err.Error())
		return
	}
	s.request = nil
	s.detectNAT(d, m)
	s.float(m)
	s.learnFragmentation(m)
	s.learnIntermediate(m)
	s.learnChildless(m)
	if s.rounds() > 0 && !s.handshake.intermediate {
		s.fail(now, fmt.Sprintf("peer chose %v without announcing IKE_INTERMEDIATE", chosen))
		return
	}
	s.nextRound(now)
}

// agree makes the keys from the key exchange (RFC 7296 §2.14).
func (s *SA) agree(chosen suite.Proposal, peer []byte) error {
	shared, err := s.handshake.ke.Shared(peer)
	if err != nil {
		return err
	}
	defer shared.Wipe()
	keys, err := suite.DeriveIKE(chosen, shared, s.handshake.nonceI, s.handshake.nonceR, s.spiI, s.spiR)
	if err != nil {
		return err
	}
	return s.useKeys(chosen, keys)
}

func (s *SA) useKeys(chosen suite.Proposal, keys *suite.IKEKeys) (err error) {
	s.suite, s.keys = chosen, keys
	s.protect, err = suite.NewProtector(chosen, keys, s.initiator, s.env.Rand)
	return err
}

// Respond answers a request of a peer that opens an IKE SA. It returns nil if
// the peer is refused.
func Respond(env *Env, now time.Time, d session.Datagram, m wire.Message) *SA {
	s := &SA{env: env, local: d.Local, remote: d.Remote, spiI: m.Header.InitiatorSPI, created: now}
	s.trace("in", m)
	sa, okSA := wire.Find[wire.SA](m.Payloads)
	ke, okKE := wire.Find[wire.KE](m.Payloads)
	nonce, okNonce := wire.Find[wire.Nonce](m.Payloads)
	if !okSA || !okKE || !okNonce {
		s.stray(now, d, errors.New("IKE_SA_INIT request without SA, KE or Nonce"))
		return nil
	}
	if s.redirects(now, m, nonce.Data) {
		return nil
	}
	s.handshake = &handshake{nonceI: slices.Clone(nonce.Data), request: slices.Clone(d.Data)}
	s.learnIntermediate(m)
	s.hear(m)
	chosen, offered, ok := s.chooseSuite(now, sa)
	if !ok {
		s.refuseInit(now, wire.Notify{Type: wire.NotifyNoProposalChosen})
		return nil
	}
	if ke.Group != chosen.Group {
		s.refuseInit(now, suite.InvalidKE(chosen.Group))
		return nil
	}
	err := s.prepare(chosen.Group)
	if err == nil {
		err = s.agree(chosen, ke.Data)
	}
	if err != nil {
		s.stray(now, d, err)
		return nil
	}
	s.detectNAT(d, m)
	s.learnFragmentation(m)
	s.answerInit(now, d, suite.Answer(chosen, offered, nil))
	return s
}

// answerInit sends the response and waits, half open, for IKE_AUTH.
func (s *SA) answerInit(now time.Time, d session.Datagram, sa wire.SA) {
	payloads := slices.Concat([]wire.Payload{sa}, s.initPayloads(s.handshake.nonceR, d.Local, d.Remote), s.announceChildless())
	data := s.clear(wire.FlagResponse, payloads)
	if data == nil {
		s.free(now)
		return
	}
	s.handshake.response = data
	s.answered = answered{digest: sha256.Sum256(d.Data), response: [][]byte{data}}
	s.expectID = 1
	s.expireAt = now.Add(halfOpenLife)
	s.move(InitAnswered)
	s.env.Out.Put(session.Send{Local: d.Local, Remote: d.Remote, Data: data})
}

// chooseSuite finds the first connection that the peer may mean and whose
// proposals fit. Which one it means it says only in IKE_AUTH.
func (s *SA) chooseSuite(now time.Time, sa wire.SA) (suite.Proposal, wire.Proposal, bool) {
	s.candidates = s.env.Host.Candidates(s.local.Addr(), s.remote.Addr())
	var first error
	for _, conn := range s.candidates {
		ours := conn.IKE
		if !s.handshake.intermediate {
			ours = classical(ours)
		}
		chosen, offered, err := suite.Select(ours, sa.Proposals)
		if err == nil {
			return chosen, offered, true
		}
		if first == nil {
			first = err
			s.env.Host.Refused(now, conn.Name, err.Error()+" (configuration key: ike)")
		}
	}
	if s.env.Host.MayLog(now) {
		reason := "no connection has this peer's address (configuration key: remote.addresses)"
		if first != nil {
			s.conn = s.candidates[0]
			reason = first.Error() + " (configuration key: ike)"
		}
		s.audit(slog.LevelWarn, "negotiation refused", slog.String("reason", reason))
	}
	return suite.Proposal{}, wire.Proposal{}, false
}

// refuseInit answers in the clear, within limits, and keeps no state.
func (s *SA) refuseInit(now time.Time, n wire.Notify) {
	if !s.env.Host.MayAnswer(now) {
		return
	}
	if data := s.clear(wire.FlagResponse, []wire.Payload{n}); data != nil {
		s.env.Out.Put(session.Send{Local: s.local, Remote: s.remote, Data: data})
	}
}

// proposals writes a list of them for the operator.
func proposals(list []suite.Proposal) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}
