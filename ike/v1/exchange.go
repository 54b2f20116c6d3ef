package v1

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// exchangeLife is how long a finished exchange still repeats its last message.
const exchangeLife = 30 * time.Second

// exchange is one exchange, of either side: what was said last, and what is to
// come next. Phase 1 has message ID 0.
type exchange struct {
	kind           wire.ExchangeType
	id             uint32
	initiator      bool
	chain          *suite.V1Chain // nil while nothing is encrypted
	seen           [sha256.Size]byte
	sent           [][]byte // the datagrams of our last message
	retransmission session.Retransmission
	until          time.Time // forgotten then
	next           step
	fail           func(now time.Time, reason string)
	quick          *quick
}

// step is what the next message of an exchange has to be. check proves that the
// peer sent it and changes nothing; take acts on it.
type step struct {
	check func(m wire.V1Message) error
	take  func(now time.Time, d session.Datagram, m wire.V1Message)
}

// Receive takes a message that carries our cookie. What does not authenticate
// changes nothing.
func (s *SA) Receive(now time.Time, d session.Datagram, h wire.Header) {
	d, h, ok := s.reassemble(now, d, h)
	switch {
	case !ok || s.state == Dead || s.state == Detached:
	case h.InitiatorSPI != s.spiI || s.spiR != 0 && h.ResponderSPI != s.spiR:
	case h.MessageID == 0 && (h.Exchange == wire.V1ExchangeMainMode || h.Exchange == wire.V1ExchangeAggressive):
		if x := s.find(h.Exchange, 0); x != nil {
			s.receive(now, x, d, h)
		}
	case h.Exchange == wire.V1ExchangeInformational && !h.V1Encrypted():
		s.clearInformational(now, d)
	case s.phase1 == nil && s.chain != nil && h.V1Encrypted() && h.MessageID != 0:
		s.receivePhase2(now, d, h)
	case s.state == HalfOpen && h.V1Encrypted():
		s.missed()
	}
	s.pump(now)
}

// missed: the initiator of aggressive mode is done when it has sent message 3, and
// nothing answers that. If phase 2 begins before it came, it got lost: message 2 once
// more has it repeated.
func (s *SA) missed() {
	if x := s.find(wire.V1ExchangeAggressive, 0); x != nil {
		s.resend(x)
	}
}

// receivePhase2 finds the exchange of a message, or lets the peer start one.
// Message IDs of its exchanges are used once (RFC 2408 §3.1), so that what was
// recorded means nothing when it is sent again.
func (s *SA) receivePhase2(now time.Time, d session.Datagram, h wire.Header) {
	if x := s.find(h.Exchange, h.MessageID); x != nil {
		s.receive(now, x, d, h)
		return
	}
	if _, old := s.used[h.MessageID]; old || len(s.used) >= maxUsed || !s.accepts(h.Exchange) {
		return
	}
	x, err := s.newExchange(now, h.Exchange, h.MessageID, false)
	if err != nil {
		s.internal(err)
		return
	}
	switch h.Exchange {
	case wire.V1ExchangeQuickMode:
		x.next = step{s.asked(x), func(now time.Time, d session.Datagram, m wire.V1Message) { s.answerQuick(now, x, m) }}
	case wire.V1ExchangeInformational:
		x.next = step{s.hashed(x), s.informational}
	case wire.V1ExchangeTransaction:
		x.next = step{s.hashed(x), func(now time.Time, d session.Datagram, m wire.V1Message) { s.answerTransaction(now, x, m) }}
	}
	if s.receive(now, x, d, h) && s.state != Dead && s.state != Detached {
		s.used[h.MessageID] = struct{}{}
		s.remember(x)
		s.wear(now)
	}
}

// wear has an ISAKMP SA replaced before so many message IDs are used that no more are
// taken: a long life of dead peer detection is enough for that.
func (s *SA) wear(now time.Time) {
	if len(s.used) >= maxUsed/2 && s.state == Established && !s.rekeyed {
		s.softAt = now
	}
}

// Repeat answers the first message of phase 1 when it comes again.
func (s *SA) Repeat(d session.Datagram) {
	for _, kind := range []wire.ExchangeType{wire.V1ExchangeMainMode, wire.V1ExchangeAggressive} {
		if x := s.find(kind, 0); x != nil && x.seen == digestOf(d) {
			s.resend(x)
		}
	}
}

// accepts says which exchanges a peer may start in which state.
func (s *SA) accepts(kind wire.ExchangeType) bool {
	switch kind {
	case wire.V1ExchangeQuickMode:
		// When both ends opened phase 1 at once, each may have replaced the other's.
		return s.state == Established || s.state == Replaced
	case wire.V1ExchangeInformational, wire.V1ExchangeTransaction:
		return s.state == Established || s.state == Authenticating || s.state == Replaced
	}
	return false
}

// receive gives a message to its exchange, and reports whether it was accepted.
// The very octets of the last one are answered with what was answered then (RFC
// 2408 §5.1): that costs no decryption and nobody else can ask for it.
func (s *SA) receive(now time.Time, x *exchange, d session.Datagram, h wire.Header) bool {
	digest := sha256.Sum256(d.Data)
	if digest == x.seen {
		s.resend(x)
		return false
	}
	if x.next.take == nil {
		return false
	}
	m, err := s.open(now, x, d.Data, h)
	if err == nil && x.next.check != nil {
		err = x.next.check(m)
	}
	if err != nil {
		s.stray(now, d, err)
		return false
	}
	x.seen = digest
	x.retransmission.Stop()
	if h.V1Encrypted() {
		x.chain.Advance(d.Data)
	}
	if x.id != 0 && s.heard.IsZero() {
		s.heard = now
	}
	s.follow(d)
	if s.phase1 == nil {
		s.dpd.Alive(now) // it proves that the peer is there, D3
	}
	s.trace("in", m)
	take := x.next.take
	x.next = step{}
	take(now, d, m)
	return true
}

func (s *SA) open(now time.Time, x *exchange, data []byte, h wire.Header) (wire.V1Message, error) {
	switch {
	case !h.V1Encrypted() && x.id != 0, h.V1Encrypted() && x.chain == nil:
		return wire.V1Message{}, errors.New("encryption where there is none, or none where it must be")
	case h.V1Encrypted():
		m, err := wire.OpenV1Encrypted(data, x.chain)
		if err != nil && x.id == 0 && s.suite.Auth.PSK() {
			err = fmt.Errorf("do the pre-shared keys differ (configuration key: psk)? %w", err)
			if s.state == HalfOpen {
				s.env.Host.Refused(now, s.candidates[0].Name, "peer's proof does not decrypt: do the pre-shared keys differ (configuration key: psk)?")
			}
		}
		return m, err
	}
	return wire.ParseV1Message(data)
}

// hashed checks HASH(1) of a message, or the hash of the same form of an
// informational or transaction exchange (RFC 2409 §5.5, §5.7).
func (s *SA) hashed(x *exchange, nonce ...[]byte) func(m wire.V1Message) error {
	return func(m wire.V1Message) error {
		want, err := s.hash(x.id, append(slices.Clone(nonce), m.AfterFirst())...)
		if err != nil {
			return err
		}
		return sameHash(m, want)
	}
}

func (s *SA) hash(id uint32, parts ...[]byte) ([]byte, error) {
	return suite.V1HashPhase2(s.suite.Proposal.PRF, s.keys.A, id, parts...)
}

// sameHash compares with the payload that every protected message starts with.
func sameHash(m wire.V1Message, want []byte) error {
	if len(m.Payloads) == 0 {
		return errors.New("message without payloads")
	}
	got, ok := m.Payloads[0].(wire.V1Hash)
	if !ok || !hmac.Equal(got.Data, want) {
		return errors.New("hash differs")
	}
	return nil
}

// newExchange makes an exchange after phase 1.
func (s *SA) newExchange(now time.Time, kind wire.ExchangeType, id uint32, initiator bool) (*exchange, error) {
	chain, err := s.chain.Phase2(s.suite.Proposal.PRF, id)
	if err != nil {
		return nil, err
	}
	return &exchange{kind: kind, id: id, initiator: initiator, chain: chain, until: now.Add(exchangeLife)}, nil
}

// start makes an exchange of ours, with a message ID that is not in use.
func (s *SA) start(now time.Time, kind wire.ExchangeType) (*exchange, error) {
	b, err := session.Draw(s.env.Rand, 4)
	if err != nil {
		return nil, err
	}
	id := binary.BigEndian.Uint32(b) | 1
	s.used[id] = struct{}{} // the peer may not take it as well
	s.wear(now)
	return s.newExchange(now, kind, id, true)
}

// remember keeps an exchange for what is still to come of it. When there are
// too many the oldest finished one is forgotten.
func (s *SA) remember(x *exchange) {
	if len(s.exchanges) >= maxExchanges {
		if i := slices.IndexFunc(s.exchanges, func(x *exchange) bool { return x.next.take == nil }); i >= 0 {
			s.exchanges = slices.Delete(s.exchanges, i, i+1)
		}
	}
	if !slices.Contains(s.exchanges, x) {
		s.exchanges = append(s.exchanges, x)
	}
}

func (s *SA) forget(x *exchange) {
	s.exchanges = slices.DeleteFunc(s.exchanges, func(o *exchange) bool { return o == x })
}

func (s *SA) find(kind wire.ExchangeType, id uint32) *exchange {
	for _, x := range s.exchanges {
		if x.kind == kind && x.id == id {
			return x
		}
	}
	return nil
}

// say sends the next message of an exchange. An answer that does not come makes
// us send it again by the schedule, and in the end fails the exchange.
func (s *SA) say(now time.Time, x *exchange, payloads []wire.Payload, answer step) bool {
	h := wire.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR, Exchange: x.kind, MessageID: x.id}
	var data []byte
	var err error
	if x.chain != nil {
		data, err = wire.AppendV1Encrypted(nil, h, payloads, x.chain)
		h.Flags = wire.V1FlagEncrypted
	} else {
		data, err = wire.AppendV1Message(nil, h, payloads)
	}
	if err != nil {
		s.internal(err)
		return false
	}
	if x.chain != nil {
		x.chain.Advance(data)
	}
	s.trace("out", wire.V1Message{Header: h, Payloads: payloads})
	x.sent = s.split(data)
	x.next = answer
	if answer.take != nil {
		x.retransmission.Start(now, s.schedule())
	}
	s.transmit(x)
	return true
}

// sayHashed sends a message of phase 2, whose first payload is the hash over
// the others.
func (s *SA) sayHashed(now time.Time, x *exchange, payloads []wire.Payload, answer step, nonce ...[]byte) bool {
	rest, err := wire.AppendV1Chain(nil, payloads)
	if err != nil {
		s.internal(err)
		return false
	}
	hash, err := s.hash(x.id, append(slices.Clone(nonce), rest)...)
	if err != nil {
		s.internal(err)
		return false
	}
	return s.say(now, x, append([]wire.Payload{wire.V1Hash{Data: hash}}, payloads...), answer)
}

// transmit sends the last message of an exchange, resend once more.
func (s *SA) transmit(x *exchange) {
	for _, data := range x.sent {
		s.env.Out.Put(session.Send{Local: s.local, Remote: s.remote, Data: data})
	}
}

func (s *SA) resend(x *exchange) { s.transmit(x) }

// schedule is how a message is repeated that the peer has to answer.
func (s *SA) schedule() session.Schedule {
	if s.state == Established || s.conn == nil {
		return session.DefaultSchedule()
	}
	return s.conn.OpeningSchedule()
}

// retransmit sends again what was not answered, gives up what never will be,
// and forgets what is over.
func (s *SA) retransmit(now time.Time) {
	for _, x := range slices.Clone(s.exchanges) {
		again, dead := x.retransmission.Step(now)
		switch {
		case again:
			s.resend(x)
		case dead:
			tries := x.retransmission.Sent()
			x.retransmission.Stop()
			s.forget(x)
			if x.fail != nil {
				x.fail(now, fmt.Sprintf("peer does not answer %v after %d tries", x.kind, tries))
			}
		case session.Passed(now, x.until) && x.retransmission.Due().IsZero():
			s.forget(x)
			if x.quick != nil {
				s.dropQuick(x.quick)
			}
		}
		if s.state == Dead {
			return
		}
	}
}

// fail ends an ISAKMP SA that came to nothing, or whose peer is gone.
func (s *SA) fail(now time.Time, reason string) {
	established := s.state >= Established
	if established {
		s.audit(slog.LevelWarn, "tunnel down", slog.String("peer_id", s.peerID.String()), slog.String("reason", reason))
	} else {
		s.audit(slog.LevelWarn, "negotiation failed", slog.String("reason", reason))
	}
	s.free(now)
	if s.conn != nil {
		s.env.Host.Failed(now, s.conn.Name, "", reason)
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
func (s *SA) trace(direction string, m wire.V1Message) {
	if s.env.Trace {
		s.audit(slog.LevelDebug, "IKE message", slog.String("direction", direction), slog.String("message", m.String()))
	}
}
