package v1

import (
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// The transaction exchange (draft-dukes-ike-mode-cfg-02 §3): REQUEST and REPLY,
// or SET and ACK. XAUTH and mode config are said in it.

// transact starts one and hands over the answer, which must be of the kind that
// belongs to it. Its message ID ties it to the question: strongSwan's replies do
// not repeat the identifier.
func (s *SA) transact(now time.Time, kind wire.ConfigType, list []wire.Attribute, take func(now time.Time, a wire.V1Attributes)) {
	x, err := s.start(now, wire.V1ExchangeTransaction)
	if err != nil {
		s.internal(err)
		return
	}
	x.fail, x.until = s.fail, time.Time{}
	s.remember(x)
	ask := wire.V1Attributes{Type: kind, Identifier: uint16(x.id >> 8), Attributes: list}
	check := func(m wire.V1Message) error {
		if err := s.hashed(x)(m); err != nil {
			return err
		}
		return has(wire.PayloadV1Attributes)(m)
	}
	s.sayHashed(now, x, []wire.Payload{ask}, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) {
		x.until, x.sent = now.Add(exchangeLife), nil
		answer, _ := wire.Find[wire.V1Attributes](m.Payloads)
		if answer.Type == kind+1 {
			take(now, answer)
		}
	}})
}

// answerTransaction answers one of the peer's. More of it may follow under the
// same message ID: some say the whole of XAUTH under one.
func (s *SA) answerTransaction(now time.Time, x *exchange, m wire.V1Message) {
	ask, ok := wire.Find[wire.V1Attributes](m.Payloads)
	if !ok {
		return
	}
	var answer []wire.Attribute
	var after func(now time.Time)
	switch {
	case isXAuth(ask) && ask.Type == wire.ConfigRequest:
		answer, ok = s.replyUser(ask)
	case isXAuth(ask) && ask.Type == wire.ConfigSet:
		answer, after, ok = s.userStatus(ask)
	case ask.Type == wire.ConfigRequest:
		answer, ok = s.replyConfig(now, ask)
	case ask.Type == wire.ConfigSet:
		answer, after, ok = s.pushed(ask)
	default:
		ok = false
	}
	if !ok {
		return
	}
	x.until = now.Add(exchangeLife)
	again := step{s.hashed(x), func(now time.Time, d session.Datagram, m wire.V1Message) { s.answerTransaction(now, x, m) }}
	s.sayHashed(now, x, []wire.Payload{wire.V1Attributes{Type: ask.Type + 1, Identifier: ask.Identifier, Attributes: answer}}, again)
	x.retransmission.Stop()
	if after != nil {
		after(now)
	}
}

func octets(t uint16, value []byte) wire.Attribute { return wire.Attribute{Type: t, Value: value} }

func isXAuth(a wire.V1Attributes) bool {
	for _, at := range a.Attributes {
		if at.Type >= wire.V1XAuthType && at.Type <= wire.V1XAuthAnswer {
			return true
		}
	}
	return false
}
