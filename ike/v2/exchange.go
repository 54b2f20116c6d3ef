package v2

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// request is an exchange of ours that waits for its answer. There is one at a
// time: we never ask for a window beyond 1 (RFC 7296 §2.3).
type request struct {
	exchange       wire.ExchangeType
	id             uint32
	messages       [][]byte // one, or its fragments
	retransmission session.Retransmission
	answer         func(now time.Time, m wire.Message)
	doubted        bool // in IKE_AUTH: somebody says that the peer does not know the IKE SA
	query          bool // asks whether the peer lives: what is not answered is counted
	empty          bool // asks nothing but that: nothing comes of its answer
}

// answered is the peer's last request and our answer, which is all that a
// window of 1 asks us to remember: RFC 7296 §2.1, "the responder MUST remember
// each response until it receives a request whose sequence number is larger".
type answered struct {
	digest   [sha256.Size]byte
	response [][]byte
	fatal    bool // it was INVALID_SYNTAX
}

// Receive takes a message that carries our SPI. What does not authenticate
// changes nothing.
func (s *SA) Receive(now time.Time, d session.Datagram, h wire.Header) {
	switch {
	case s.state == Dead || h.Initiator() == s.initiator:
		// A message of our own direction was reflected to us.
	case h.Exchange == wire.ExchangeIKESAInit:
		s.receiveInit(now, d, h)
	case h.InitiatorSPI != s.spiI || h.ResponderSPI != s.spiR:
	case s.state == Closed && !h.Response() && h.MessageID+1 == s.expectID:
		s.repeat(d, h)
	case s.protect == nil:
	case h.Response():
		s.receiveResponse(now, d, h)
	default:
		s.receiveRequest(now, d, h)
	}
	s.pump(now)
}

// receiveRequest handles a request by its place in the window (RFC 7296 §2.3).
func (s *SA) receiveRequest(now time.Time, d session.Datagram, h wire.Header) {
	if h.MessageID+1 == s.expectID {
		s.repeat(d, h)
		return
	}
	if h.MessageID != s.expectID || !s.accepts(h.Exchange) {
		return
	}
	m, err := s.open(d, h, &s.fragments.requests)
	if s.silent(now, d, err) || s.exhausted(now, s.expectID) {
		return
	}
	s.chosenByPeer(now, m)
	s.expectID++
	s.wear(now, s.expectID)
	s.answered = answered{digest: s.digest(d, h)}
	s.dpd.Alive(now)
	s.follow(d)
	s.quiet(now)
	s.trace("in", m)
	if err != nil {
		s.audit(slog.LevelWarn, "malformed request", slog.String("error", err.Error()))
		s.respond(d, m, refuseSyntax(err))
	} else {
		s.answer(now, d, m)
	}
	if s.answered.fatal && s.state < Closed {
		s.ruin(now, "peer sends a malformed "+h.Exchange.String()+" request")
	}
}

// answer obeys a request.
func (s *SA) answer(now time.Time, d session.Datagram, m wire.Message) {
	switch m.Header.Exchange {
	case wire.ExchangeIKEIntermediate:
		s.answerIntermediate(now, d, m)
	case wire.ExchangeIKEAuth:
		if s.handshake.authID == 0 {
			s.handshake.authID = m.Header.MessageID
		}
		s.answerAuth(now, d, m)
	case wire.ExchangeCreateChildSA:
		s.answerCreateChild(now, d, m)
	case wire.ExchangeIKEFollowupKE:
		s.answerFollowup(now, d, m)
	case wire.ExchangeInformational:
		if s.state == InitAnswered {
			s.answerEAPGivenUp(now, d, m)
			return
		}
		s.answerInformational(now, d, m)
	}
}

// ruin ends an IKE SA after INVALID_SYNTAX: RFC 7296 §2.21.3, "this error
// notification is considered fatal in both peers, meaning that the IKE SA is
// deleted without needing an explicit Delete payload".
func (s *SA) ruin(now time.Time, reason string) {
	event, end := "tunnel down", s.close
	switch s.state {
	case InitAnswered:
		event = "negotiation failed"
	case InitSent, AuthSent:
		event, end = "negotiation failed", s.free
	}
	s.audit(slog.LevelWarn, event, slog.String("reason", reason))
	end(now)
	if s.conn != nil {
		s.env.Host.Failed(now, s.conn.Name, "", reason)
	}
}

// accepts says which exchanges a peer may start in which state.
func (s *SA) accepts(exchange wire.ExchangeType) bool {
	switch exchange {
	case wire.ExchangeIKEIntermediate:
		return s.state == InitAnswered && s.rounds() > 0
	case wire.ExchangeIKEAuth:
		return s.state == InitAnswered && s.rounds() == 0 && s.waiting == nil
	case wire.ExchangeCreateChildSA, wire.ExchangeIKEFollowupKE:
		return s.state == Established || s.state == Replaced || s.state == Deleting
	case wire.ExchangeInformational:
		if s.state == InitAnswered {
			return s.handshake.eap != nil && s.waiting == nil
		}
		return s.state == Established || s.state == Replaced || s.state == Deleting
	}
	return false
}

// repeat answers a retransmission with the same octets as before.
func (s *SA) repeat(d session.Datagram, h wire.Header) {
	if s.answered.response != nil && s.repeated(d, h) {
		s.transmitTo(d.Local, d.Remote, s.answered.response)
	}
}

// silent reports whether a message could not be opened and is to have no effect.
func (s *SA) silent(now time.Time, d session.Datagram, err error) bool {
	if errors.Is(err, wire.ErrUnauthenticated) {
		s.stray(now, d, err)
		return true
	}
	return errors.Is(err, errIncomplete)
}

// receiveResponse takes the answer to our one outstanding request.
func (s *SA) receiveResponse(now time.Time, d session.Datagram, h wire.Header) {
	r := s.request
	if r == nil || h.MessageID != r.id || h.Exchange != r.exchange {
		return
	}
	if s.crashed(d) {
		s.free(now)
		return
	}
	m, err := s.open(d, h, &s.fragments.answers)
	if s.silent(now, d, err) {
		s.rumour(now, d)
		return
	}
	s.request = nil
	s.dpd.Alive(now)
	if r.query {
		s.dpd.Answered(now)
	}
	s.follow(d)
	s.quiet(now)
	s.arrived(now, d)
	s.trace("in", m)
	if err != nil {
		s.fail(now, "malformed response to "+r.exchange.String()+": "+err.Error())
		return
	}
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyInvalidSyntax); ok {
		s.ruin(now, "peer finds our "+r.exchange.String()+" request malformed (INVALID_SYNTAX)")
		return
	}
	r.answer(now, m)
}

// send starts an exchange. The answer comes to the given function.
func (s *SA) send(now time.Time, exchange wire.ExchangeType, payloads []wire.Payload, answer func(time.Time, wire.Message)) {
	id := s.nextID
	if s.exhausted(now, id) {
		return
	}
	messages := s.seal(exchange, 0, id, payloads)
	if messages == nil {
		return
	}
	s.nextID++
	s.wear(now, s.nextID)
	s.request = &request{exchange: exchange, id: id, messages: messages, answer: answer}
	s.request.retransmission.Start(now, s.schedule())
	s.transmit(messages)
	s.quiet(now)
}

// transmit sends a message, or all its fragments, to the peer.
func (s *SA) transmit(messages [][]byte) { s.transmitTo(s.local, s.remote, messages) }

func (s *SA) transmitTo(local, remote netip.AddrPort, messages [][]byte) {
	for _, data := range messages {
		s.env.Out.Put(session.Send{Local: local, Remote: remote, Data: data})
	}
}

// sendOnce starts an exchange whose answer does not matter any more.
func (s *SA) sendOnce(exchange wire.ExchangeType, payloads ...wire.Payload) {
	if s.protect == nil {
		return
	}
	if messages := s.seal(exchange, 0, s.nextID, payloads); messages != nil {
		s.nextID++
		s.transmit(messages)
	}
}

// respond answers a request, to where it came from (RFC 7296 §2.11).
func (s *SA) respond(d session.Datagram, m wire.Message, payloads ...wire.Payload) {
	messages := s.seal(m.Header.Exchange, wire.FlagResponse, m.Header.MessageID, payloads)
	if messages == nil {
		return
	}
	s.answered.response = messages
	_, s.answered.fatal = wire.FindNotify(payloads, wire.NotifyInvalidSyntax)
	s.transmitTo(d.Local, d.Remote, messages)
}

func (s *SA) seal(exchange wire.ExchangeType, flags wire.Flags, id uint32, payloads []wire.Payload) [][]byte {
	h := s.header(exchange, flags, id)
	messages, err := s.cut(h, payloads)
	if err != nil {
		s.internal(err)
		return nil
	}
	s.trace("out", wire.Message{Header: h, Payloads: payloads})
	return messages
}

func (s *SA) header(exchange wire.ExchangeType, flags wire.Flags, id uint32) wire.Header {
	if s.initiator {
		flags |= wire.FlagInitiator
	}
	return wire.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR,
		Exchange: exchange, Flags: flags, MessageID: id}
}

// retransmit sends the outstanding request again, or gives the peer up.
func (s *SA) retransmit(now time.Time) {
	if s.request == nil {
		return
	}
	again, dead := s.request.retransmission.Step(now)
	if s.request.query && (again || dead) {
		s.missed()
	}
	if again {
		s.transmit(s.request.messages)
		s.detour()
	}
	if dead {
		s.fail(now, "peer does not answer "+s.request.exchange.String())
	}
}

// fail ends an IKE SA that cannot go on. Its children go first.
func (s *SA) fail(now time.Time, reason string) {
	was, conn := s.state, s.conn
	if was == Established {
		s.bury(now, reason)
	} else {
		s.free(now)
	}
	switch was {
	case Replaced, Deleting:
		// Its successor lives, or nobody wants it any more.
		return
	case Established:
	default:
		s.audit(slog.LevelWarn, "negotiation failed", slog.String("reason", reason))
	}
	if conn != nil {
		s.env.Host.Failed(now, conn.Name, "", reason)
	}
}

// stray notes a message that nobody proved to have sent.
func (s *SA) stray(now time.Time, d session.Datagram, err error) {
	if s.env.Host.MayLog(now) {
		s.audit(slog.LevelInfo, "IKE message dropped",
			slog.String("from", d.Remote.String()), slog.String("reason", err.Error()))
	}
}

// trace shows one message without its data.
func (s *SA) trace(direction string, m wire.Message) {
	if s.env.Trace {
		s.audit(slog.LevelDebug, "IKE message", slog.String("direction", direction), slog.String("message", m.String()))
	}
}

// refuseSyntax is the answer to an authenticated request that cannot be parsed.
func refuseSyntax(err error) wire.Notify {
	var critical *wire.UnsupportedCriticalError
	if errors.As(err, &critical) {
		return wire.Notify{Type: wire.NotifyUnsupportedCriticalPayload, Data: []byte{byte(critical.Type)}}
	}
	return wire.Notify{Type: wire.NotifyInvalidSyntax}
}

// refusal is the first error notification of an answer. An unknown error counts:
// RFC 7296 §3.10.1, "an implementation receiving a Notify payload with one of
// these types that it does not recognize in a response MUST assume that the
// corresponding request has failed entirely".
func refusal(payloads []wire.Payload) (wire.Notify, bool) {
	for _, p := range payloads {
		if n, ok := p.(wire.Notify); ok && n.Type.IsError() {
			return n, true
		}
	}
	return wire.Notify{}, false
}
