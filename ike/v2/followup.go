package v2

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

// RFC 9370 §2.2.4: where a proposal has additional key exchanges, CREATE_CHILD_SA
// makes only the first, and one IKE_FOLLOWUP_KE each of the others. What is asked
// for stands when the last is over. ADDITIONAL_KEY_EXCHANGE, which means something
// to the responder alone, links them.

// maxUnfound is how often in a row the peer may have lost what we ask it to go on
// with: one that does so "after several retries" is a fatal error, and the IKE SA is
// deleted (RFC 9370 §2.2.4).
const maxUnfound = 3

// rounds are the key exchanges of one IKE SA or child SA that is being made.
type rounds struct {
	groups []wire.Group // still to come
	shared []suite.Secret
}

// followUp makes the next of them as initiator. The message is the answer to the
// exchange before; failed hears what the peer refused with, 0 for what we do not
// like ourselves.
func (s *SA) followUp(now time.Time, r rounds, m wire.Message, done func(time.Time, []suite.Secret), failed func(time.Time, wire.NotifyType, string)) {
	link, ok := wire.FindNotify(m.Payloads, wire.NotifyAdditionalKeyExchange)
	if !ok {
		failed(now, 0, "peer agrees on additional key exchanges and answers without ADDITIONAL_KEY_EXCHANGE")
		return
	}
	ke, err := suite.GenerateKE(r.groups[0], s.env.Rand)
	if err != nil {
		s.internal(err)
		failed(now, 0, err.Error())
		return
	}
	request := []wire.Payload{
		wire.KE{Group: ke.Group(), Data: ke.Public()},
		wire.Notify{Type: wire.NotifyAdditionalKeyExchange, Data: slices.Clone(link.Data)},
	}
	s.send(now, wire.ExchangeIKEFollowupKE, request, func(now time.Time, m wire.Message) {
		if n, ok := refusal(m.Payloads); ok {
			failed(now, n.Type, fmt.Sprintf("peer refuses the additional key exchange %v (%v)", ke.Group(), n.Type))
			return
		}
		theirs, ok := wire.Find[wire.KE](m.Payloads)
		if !ok || theirs.Group != ke.Group() {
			failed(now, 0, fmt.Sprintf("peer answers IKE_FOLLOWUP_KE without a key of %v", ke.Group()))
			return
		}
		shared, err := ke.Shared(theirs.Data)
		if err != nil {
			failed(now, 0, err.Error())
			return
		}
		s.unfound = 0
		r := rounds{r.groups[1:], append(r.shared, shared)}
		if len(r.groups) == 0 {
			done(now, r.shared)
			return
		}
		s.followUp(now, r, m, done, failed)
	})
}

// followsUp reports whether CREATE_CHILD_SA is over and its series under way:
// RFC 9370 §2.2.4, a peer that now asks for the same gets TEMPORARY_FAILURE.
func (s *SA) followsUp() bool {
	return s.request != nil && s.request.exchange == wire.ExchangeIKEFollowupKE
}

// followChild makes the additional key exchanges of a child SA that we asked for,
// unless the peer rekeys the same one and ours has the lowest nonce: "the initiator
// of this exchange just stops the rekeying process" (RFC 9370 §2.2.4).
func (s *SA) followChild(now time.Time, a *attempt, t terms, m wire.Message) {
	if a.replaces != nil {
		rival := s.rivalOf(a.replaces)
		if rival != nil && bytes.Compare(lowest(t.nonces), rival) < 0 {
			s.audit(slog.LevelInfo, "rekey collision: the peer's child SA stays", slog.String("child", a.conf.Name))
			s.abort(now, a, s.env.backOff())
			return
		}
		if s.void(func(o *series) bool { return o.replaces == a.replaces }) {
			s.audit(slog.LevelInfo, "rekey collision: our child SA stays", slog.String("child", a.conf.Name))
		}
	}
	s.asking = a
	s.followUp(now, rounds{t.Suite.AdditionalKEs(), t.shared}, m, func(now time.Time, shared []suite.Secret) {
		s.asking, t.shared = nil, shared
		s.concludeChild(now, a, t)
	}, func(now time.Time, n wire.NotifyType, reason string) {
		s.asking = nil
		retry := rekeyRetry
		if s.passing(now, n) {
			retry = s.env.backOff()
		} else {
			s.childFailed(now, a, reason)
		}
		s.abort(now, a, retry)
	})
}

// rivalOf is the lower nonce of the peer's own rekey of a child SA, nil without one.
func (s *SA) rivalOf(c *child) []byte {
	if c.successor != nil {
		return c.successor.lowest
	}
	if i := slices.IndexFunc(s.series, func(o *series) bool { return o.replaces == c }); i >= 0 {
		return lowest(s.series[i].nonces)
	}
	return nil
}

// passing reports whether what a peer refused with goes away when it is asked again.
// One that loses its state every time is given up.
func (s *SA) passing(now time.Time, n wire.NotifyType) bool {
	if n != wire.NotifyStateNotFound {
		return n == wire.NotifyTemporaryFailure
	}
	if s.unfound++; s.unfound >= maxUnfound {
		s.audit(slog.LevelWarn, "peer loses the state of every rekey (STATE_NOT_FOUND): the IKE SA is deleted")
		s.push(now, task{kind: taskDeleteIKE})
	}
	return true
}

func lowest(nonces [][]byte) []byte { return slices.MinFunc(nonces, bytes.Compare) }
