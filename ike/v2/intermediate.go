package v2

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// announceIntermediate is in IKE_SA_INIT when we want more than one key
// exchange; the responder answers only an announcement (RFC 9242 §3.1).
func (s *SA) announceIntermediate() []wire.Payload {
	wanted := s.initiator && slices.ContainsFunc(s.conn.IKE, func(p suite.Proposal) bool { return len(p.AdditionalKEs()) > 0 })
	if !wanted && !s.handshake.intermediate {
		return nil
	}
	return []wire.Payload{wire.Notify{Type: wire.NotifyIntermediateSupported}}
}

// learnIntermediate takes the peer's announcement.
func (s *SA) learnIntermediate(m wire.Message) {
	_, s.handshake.intermediate = wire.FindNotify(m.Payloads, wire.NotifyIntermediateSupported)
}

// classical are the proposals without additional key exchanges: for a peer that
// did not announce IKE_INTERMEDIATE there are no others.
func classical(list []suite.Proposal) []suite.Proposal {
	return slices.DeleteFunc(slices.Clone(list), func(p suite.Proposal) bool { return len(p.AdditionalKEs()) > 0 })
}

// nextRound starts the next additional key exchange (RFC 9370 §2.2.2), or
// IKE_AUTH after the last.
func (s *SA) nextRound(now time.Time) {
	groups := s.suite.AdditionalKEs()
	if s.handshake.round == len(groups) {
		s.handshake.authID = s.nextID
		s.sendAuth(now)
		return
	}
	ke, err := suite.GenerateKE(groups[s.handshake.round], s.env.Rand)
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	payloads := []wire.Payload{wire.KE{Group: ke.Group(), Data: ke.Public()}}
	request, err := wire.IntermediateOctets(s.header(wire.ExchangeIKEIntermediate, 0, s.nextID), payloads)
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.send(now, wire.ExchangeIKEIntermediate, payloads, func(now time.Time, m wire.Message) {
		if reason := s.roundAnswered(ke, request, m); reason != "" {
			s.fail(now, reason)
			return
		}
		s.nextRound(now)
	})
}

// roundAnswered mixes the result into the keys, or says what is wrong.
func (s *SA) roundAnswered(ke suite.KE, request []byte, m wire.Message) string {
	if n, ok := refusal(m.Payloads); ok {
		return fmt.Sprintf("peer refuses the additional key exchange %v (%v)", ke.Group(), n.Type)
	}
	theirs, ok := wire.Find[wire.KE](m.Payloads)
	if !ok || theirs.Group != ke.Group() {
		return fmt.Sprintf("peer answers IKE_INTERMEDIATE without a key of %v", ke.Group())
	}
	shared, err := ke.Shared(theirs.Data)
	if err == nil {
		err = s.mix(shared, request, m.IntermediateOctets())
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// mix makes the keys of the next round from those of this one, which also
// authenticate its two messages (RFC 9242 §3.3.2).
func (s *SA) mix(shared suite.Secret, request, response []byte) error {
	defer shared.Wipe()
	h, old := s.handshake, s.keys
	if err := h.intAuth.Add(s.suite.PRF, old, request, response); err != nil {
		return err
	}
	keys, err := suite.UpdateIKE(s.suite, old, shared, h.nonceI, h.nonceR, s.spiI, s.spiR)
	if err != nil {
		return err
	}
	h.round++
	if err := s.useKeys(s.suite, keys); err != nil {
		return err
	}
	old.Wipe()
	return nil
}

// rounds is how many additional key exchanges are still to come.
func (s *SA) rounds() int { return len(s.suite.AdditionalKEs()) - s.handshake.round }

// answerIntermediate makes the responder's half of one additional key exchange.
// The answer still goes out under the keys that the request came under.
func (s *SA) answerIntermediate(now time.Time, d session.Datagram, m wire.Message) {
	group := s.suite.AdditionalKEs()[s.handshake.round]
	theirs, ok := wire.Find[wire.KE](m.Payloads)
	if !ok || theirs.Group != group {
		s.refuseRound(now, d, m, fmt.Sprintf("peer sends IKE_INTERMEDIATE without a key of %v", group))
		return
	}
	public, shared, err := suite.RespondKE(group, theirs.Data, s.env.Rand)
	if err != nil {
		s.refuseRound(now, d, m, err.Error())
		return
	}
	payloads := []wire.Payload{wire.KE{Group: group, Data: public}}
	response, err := wire.IntermediateOctets(s.header(wire.ExchangeIKEIntermediate, wire.FlagResponse, m.Header.MessageID), payloads)
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.respond(d, m, payloads...)
	if err := s.mix(shared, m.IntermediateOctets(), response); err != nil {
		s.internal(err)
		s.free(now)
	}
}

// refuseRound ends the handshake: what is wrong with a key cannot be repaired.
func (s *SA) refuseRound(now time.Time, d session.Datagram, m wire.Message, reason string) {
	s.respond(d, m, wire.Notify{Type: wire.NotifyInvalidSyntax})
	if s.env.Host.MayLog(now) {
		s.audit(slog.LevelWarn, "negotiation refused", slog.String("reason", reason))
	}
	s.close(now)
}
