package v1

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// Main mode (RFC 2409 §5): proposals, then keys, then identities, the last two
// messages encrypted. It hides who talks, and ties a pre-shared key to an address.

// beginMain sends message 1.
func (s *SA) beginMain(now time.Time) {
	x := &exchange{kind: wire.V1ExchangeMainMode, initiator: true, fail: s.fail}
	s.remember(x)
	payloads := append([]wire.Payload{s.phase1.offer}, s.announce(s.conn.V1.Auths(true)[0].XAuth())...)
	s.say(now, x, payloads, step{has(wire.PayloadV1SA), func(now time.Time, d session.Datagram, m wire.V1Message) { s.mainChosen(now, x, m) }})
}

// answerMain sends message 2: the chosen transform.
func (s *SA) answerMain(now time.Time, d session.Datagram, answer wire.V1SA) {
	x := &exchange{kind: wire.V1ExchangeMainMode, seen: digestOf(d)}
	s.remember(x)
	payloads := append([]wire.Payload{answer}, s.announce(s.suite.Auth.XAuth())...)
	s.say(now, x, payloads, step{has(wire.PayloadV1KE, wire.PayloadV1Nonce), func(now time.Time, d session.Datagram, m wire.V1Message) { s.mainKeys(now, x, d, m) }})
	x.retransmission.Stop() // the initiator's part
}

// mainChosen takes message 2 and sends message 3: our key exchange.
func (s *SA) mainChosen(now time.Time, x *exchange, m wire.V1Message) {
	answer, _ := wire.Find[wire.V1SA](m.Payloads)
	chosen, err := suite.V1ConfirmIKE(s.phase1.offer, answer, s.conn.IKE)
	if err != nil {
		s.fail(now, err.Error())
		return
	}
	s.suite, s.spiR = chosen, m.Header.ResponderSPI
	s.hear(m)
	payloads, err := s.exchangeKeys(chosen.Proposal.Group)
	if err == nil {
		var nat []wire.Payload
		nat, err = s.discover(s.local, s.remote)
		payloads = append(payloads, nat...)
	}
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.say(now, x, append(payloads, s.certRequest()...),
		step{has(wire.PayloadV1KE, wire.PayloadV1Nonce), func(now time.Time, d session.Datagram, m wire.V1Message) { s.mainProve(now, x, d, m) }})
}

// certRequest asks for a certificate if there is to be a signature. An empty
// authority takes one from any.
func (s *SA) certRequest() []wire.Payload {
	if !s.suite.Auth.Signs(!s.initiator) {
		return nil
	}
	return []wire.Payload{wire.V1CertRequest{Encoding: wire.CertX509Signature}}
}

// mainKeys takes message 3 and sends message 4: the responder's key exchange.
// From here on everything is encrypted.
func (s *SA) mainKeys(now time.Time, x *exchange, d session.Datagram, m wire.V1Message) {
	s.learn(m)
	payloads, err := s.exchangeKeys(s.suite.Proposal.Group)
	if err == nil {
		err = s.agree()
	}
	var nat []wire.Payload
	if err == nil {
		s.hear(m)
		nat, err = s.discover(d.Local, d.Remote)
		s.detectNAT(d, m)
	}
	if err != nil {
		s.stray(now, d, err)
		s.free(now)
		return
	}
	payloads = append(append(payloads, nat...), s.certRequest()...)
	check := func(m wire.V1Message) error { return s.provesMain(now, m) }
	s.say(now, x, payloads, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) { s.mainIdentified(now, x, m) }})
	x.retransmission.Stop()
	x.chain = s.chain
}

// mainProve takes message 4 and sends message 5, from port 4500 if there is a
// NAT (RFC 3947 §4): who we are, and the proof of it.
func (s *SA) mainProve(now time.Time, x *exchange, d session.Datagram, m wire.V1Message) {
	s.learn(m)
	if err := s.agree(); err != nil {
		s.fail(now, err.Error())
		return
	}
	s.hear(m)
	s.detectNAT(d, m)
	s.float()
	x.chain = s.chain
	payloads, err := s.proof(s.conn)
	if err != nil {
		s.fail(now, err.Error())
		return
	}
	if s.env.Host.Alone(s) {
		payloads = append(payloads, s.contact())
	}
	check := func(m wire.V1Message) error { return s.provesMain(now, m) }
	x.fail = func(now time.Time, reason string) {
		s.fail(now, reason+fmt.Sprintf(": compare psk, local.id (%v) and remote.id (%v) on both ends", s.conn.Local.ID, s.conn.Remote.ID))
	}
	s.say(now, x, payloads, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) { s.mainDone(now, x, m) }})
}

// proof is our ID payload and what proves it.
func (s *SA) proof(conn *session.Connection) ([]wire.Payload, error) {
	id, err := s.identify(conn)
	if err != nil {
		return nil, err
	}
	proof, err := s.prove(conn)
	return append([]wire.Payload{id}, proof...), err
}

// provesMain checks message 5 or 6.
func (s *SA) provesMain(now time.Time, m wire.V1Message) error {
	if err := has(wire.PayloadV1ID)(m); err != nil {
		return err
	}
	if !m.Header.V1Encrypted() {
		return errors.New("identity in the clear")
	}
	return s.proves(now, m, m.Body(wire.PayloadV1ID))
}

// mainIdentified takes message 5 and sends message 6. The ISAKMP SA stands.
func (s *SA) mainIdentified(now time.Time, x *exchange, m wire.V1Message) {
	id, _ := wire.Find[wire.V1ID](m.Payloads)
	if reason := s.settle(identityOf(id)); reason != "" {
		s.refuse(now, wire.V1NotifyInvalidIDInformation, reason)
		return
	}
	payloads, err := s.proof(s.conn)
	if err != nil {
		s.refuse(now, wire.V1NotifyAuthenticationFailed, err.Error())
		return
	}
	if !s.say(now, x, payloads, step{}) {
		s.free(now)
		return
	}
	x.until = now.Add(exchangeLife)
	s.complete(now, m)
}

// mainDone takes message 6. The ISAKMP SA stands.
func (s *SA) mainDone(now time.Time, x *exchange, m wire.V1Message) {
	id, _ := wire.Find[wire.V1ID](m.Payloads)
	if reason := s.settle(identityOf(id)); reason != "" {
		s.refuse(now, wire.V1NotifyInvalidIDInformation, reason)
		return
	}
	x.until = now.Add(exchangeLife)
	x.sent = nil // nothing answers message 6
	s.responderLifetime(now, 1, m)
	s.complete(now, m)
}

// cookies name the ISAKMP SA in notifications.
func (s *SA) cookies() []byte {
	return slices.Concat(spi8(s.spiI), spi8(s.spiR))
}
