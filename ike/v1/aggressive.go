package v1

import (
	"errors"
	"fmt"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// Aggressive mode (RFC 2409 §5): three messages, identities in the clear, so
// that a responder can look for the key by name. With a pre-shared key whoever
// asks gets a hash to try guesses on: it is refused unless allowed (O3).

// beginAggressive sends message 1: everything at once.
func (s *SA) beginAggressive(now time.Time, group wire.Group) error {
	id, err := s.identify(s.conn)
	if err != nil {
		return err
	}
	payloads, err := s.exchangeKeys(group)
	if err != nil {
		return err
	}
	x := &exchange{kind: wire.V1ExchangeAggressive, initiator: true, fail: s.fail}
	s.remember(x)
	payloads = append([]wire.Payload{s.phase1.offer}, append(payloads, id)...)
	payloads = append(payloads, s.announce(s.conn.V1.Auths(true)[0].XAuth())...)
	check := has(wire.PayloadV1SA, wire.PayloadV1KE, wire.PayloadV1Nonce, wire.PayloadV1ID)
	s.say(now, x, payloads, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) { s.aggressiveAnswered(now, x, d, m) }})
	return nil
}

// answerAggressive takes message 1 and sends message 2: our keys, who we are and
// the proof of it.
func (s *SA) answerAggressive(now time.Time, d session.Datagram, m wire.V1Message, answer wire.V1SA) error {
	if err := has(wire.PayloadV1KE, wire.PayloadV1Nonce, wire.PayloadV1ID)(m); err != nil {
		return err
	}
	s.learn(m)
	theirs := append([]byte(nil), m.Body(wire.PayloadV1ID)...)
	id, _ := wire.Find[wire.V1ID](m.Payloads)
	conn := s.candidates[0]
	payloads, err := s.exchangeKeys(s.suite.Proposal.Group)
	if err == nil {
		err = s.agree()
	}
	if err != nil {
		return err
	}
	proof, err := s.proof(conn)
	if err != nil {
		return err
	}
	nat, err := s.discover(d.Local, d.Remote)
	if err != nil {
		return err
	}
	payloads = append([]wire.Payload{answer}, append(payloads, proof...)...)
	payloads = append(append(payloads, s.announce(s.suite.Auth.XAuth())...), nat...)
	x := &exchange{kind: wire.V1ExchangeAggressive, seen: digestOf(d)}
	s.remember(x)
	check := func(m wire.V1Message) error { return s.proves(now, m, theirs) }
	s.say(now, x, payloads, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) {
		s.aggressiveDone(now, x, d, m, identityOf(id))
	}})
	x.retransmission.Stop()
	x.chain = s.chain
	return nil
}

// aggressiveAnswered takes message 2 and sends message 3: our proof. Nothing
// but the responder's proof makes message 2 its own, so a wrong one is dropped
// and the true one may still come.
func (s *SA) aggressiveAnswered(now time.Time, x *exchange, d session.Datagram, m wire.V1Message) {
	if reason, fatal := s.weigh(now, m); reason != "" {
		if fatal {
			s.fail(now, reason)
			return
		}
		s.stray(now, d, errors.New(reason))
		s.wipe()
		s.spiR = 0
		s.await(now, x)
		return
	}
	s.hear(m)
	s.detectNAT(d, m)
	s.float()
	x.chain = s.chain
	proof, err := s.prove(s.conn)
	if err != nil {
		s.fail(now, err.Error())
		return
	}
	nat, err := s.discover(s.local, s.remote)
	if err != nil {
		s.internal(err)
	}
	payloads := append(proof, nat...)
	if s.env.Host.Alone(s) {
		payloads = append(payloads, s.contact())
	}
	s.say(now, x, payloads, step{})
	x.until = now.Add(exchangeLife)
	s.responderLifetime(now, 1, m)
	s.complete(now, m)
}

// await goes back to waiting for the answer that was taken for another.
func (s *SA) await(now time.Time, x *exchange) {
	check := has(wire.PayloadV1SA, wire.PayloadV1KE, wire.PayloadV1Nonce, wire.PayloadV1ID)
	x.seen = [32]byte{}
	x.next = step{check, func(now time.Time, d session.Datagram, m wire.V1Message) { s.aggressiveAnswered(now, x, d, m) }}
	x.retransmission.Start(now, s.schedule())
}

// weigh checks message 2 and makes the keys. A peer that answers with something
// that we did not offer is not worth waiting for; one that proves nothing may
// not be the peer.
func (s *SA) weigh(now time.Time, m wire.V1Message) (reason string, fatal bool) {
	answer, _ := wire.Find[wire.V1SA](m.Payloads)
	id, _ := wire.Find[wire.V1ID](m.Payloads)
	chosen, err := suite.V1ConfirmIKE(s.phase1.offer, answer, s.conn.IKE)
	if err != nil {
		return err.Error(), true
	}
	s.suite, s.spiR = chosen, m.Header.ResponderSPI
	s.learn(m)
	if err := s.agree(); err != nil {
		return err.Error(), false
	}
	if err := s.proves(now, m, m.Body(wire.PayloadV1ID)); err != nil {
		return err.Error(), false
	}
	if reason := s.settle(identityOf(id)); reason != "" {
		return reason, true
	}
	return "", false
}

// aggressiveDone takes message 3. The ISAKMP SA stands.
func (s *SA) aggressiveDone(now time.Time, x *exchange, d session.Datagram, m wire.V1Message, id session.Identity) {
	if reason := s.settle(id); reason != "" {
		s.refuse(now, wire.V1NotifyInvalidIDInformation, fmt.Sprintf("%s in aggressive mode", reason))
		return
	}
	x.until, x.sent = now.Add(exchangeLife), nil
	s.detectNAT(d, m)
	s.local, s.remote = d.Local, d.Remote
	s.complete(now, m)
}
