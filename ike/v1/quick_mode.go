package v1

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

// Quick mode (RFC 2409 §5.5): an offer, an answer, and a proof that the
// initiator is there. Without the third message the responder could be made to
// send on an SA by a recording, so it waits for that.

const rekeyRetry = 30 * time.Second // after a rekey came to nothing

// quick is a child SA in the making, on either side.
type quick struct {
	x        *exchange
	conf     *session.Child
	pair     pair
	replaces *child

	spi    sadb.SPI
	ni, nr []byte
	ke     suite.KE // with perfect forward secrecy
	modes  []suite.V1Mode

	installed *child // responder: its outbound half waits for message 3
}

// modesOf are the encapsulation modes that we take for a child, best first.
func (s *SA) modesOf(conf *session.Child) []suite.V1Mode {
	transport := conf.Mode == sadb.Transport
	list := []suite.V1Mode{suite.V1ChooseMode(transport, s.encap(), s.draftNAT)}
	if s.encap() {
		list = append(list, suite.V1ChooseMode(transport, true, !s.draftNAT))
	}
	return list
}

// beginQuick sends message 1.
func (s *SA) beginQuick(now time.Time, t task) {
	q := &quick{conf: t.conf, pair: t.pair, replaces: t.replaces, modes: s.modesOf(t.conf)}
	if q.replaces == nil && s.done(t) {
		return
	}
	if q.replaces != nil {
		if q.replaces.state != childInstalled {
			return
		}
		if q.replaces.Waits() || s.granted(q.replaces) {
			q.replaces.SoftAt = now.Add(rekeyRetry)
			return
		}
		q.replaces.state = childRekeying
	}
	payloads, err := s.offerQuick(q)
	if err == nil {
		q.x, err = s.start(now, wire.V1ExchangeQuickMode)
	}
	if err != nil {
		s.childFailed(now, q, err.Error())
		return
	}
	q.x.quick, q.x.fail = q, func(now time.Time, reason string) { s.quickUnanswered(now, q, reason) }
	q.x.until = time.Time{}
	s.quick = q
	s.remember(q.x)
	check := func(m wire.V1Message) error {
		if err := s.hashed(q.x, q.ni)(m); err != nil {
			return err
		}
		return has(wire.PayloadV1SA, wire.PayloadV1Nonce)(m)
	}
	s.sayHashed(now, q.x, payloads, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) { s.quickAnswered(now, q, m) }})
}

// offerQuick makes SPI, nonce and key exchange, and the payloads of message 1.
func (s *SA) offerQuick(q *quick) (payloads []wire.Payload, err error) {
	if q.spi, err = s.env.SPIs.Allocate(s.conn.Owner()); err != nil {
		return nil, err
	}
	if q.ni, err = s.env.newNonce(); err != nil {
		return nil, err
	}
	life := suite.V1Lifetime{Time: q.conf.Lifetime.Time, Kilobytes: q.conf.Lifetime.Bytes >> 10}
	offer := suite.V1OfferESP(q.conf.ESP, session.SPIBytes(q.spi), q.modes[0], life)
	if len(offer.Proposals) == 0 {
		return nil, fmt.Errorf("no proposal can be had in IKEv1: %s (configuration key: children.esp)", proposals(q.conf.ESP))
	}
	payloads = []wire.Payload{offer, wire.V1Nonce{Data: q.ni}}
	if group := q.conf.ESP[0].Group; group != wire.GroupNone {
		if q.ke, err = suite.GenerateKE(group, s.env.Rand); err != nil {
			return nil, err
		}
		payloads = append(payloads, wire.V1KE{Data: q.ke.Public()})
	}
	local, err := toID(q.pair.local)
	if err != nil {
		return nil, err
	}
	remote, err := toID(q.pair.remote)
	if err != nil {
		return nil, err
	}
	payloads = append(payloads, local, remote)
	return append(payloads, s.originals(q.conf)...), nil
}

// originals are the addresses as each end sees them, which transport mode
// behind a NAT needs for its checksums (RFC 3947 §5.2).
func (s *SA) originals(conf *session.Child) []wire.Payload {
	if conf.Mode != sadb.Transport || !s.encap() {
		return nil
	}
	first, second := s.local.Addr(), s.remote.Addr()
	if !s.initiator {
		first, second = second, first
	}
	return []wire.Payload{wire.V1NATOA{Draft: s.draftNAT, Addr: first}, wire.V1NATOA{Draft: s.draftNAT, Addr: second}}
}

// quickAnswered takes message 2: the inbound half is put in place, message 3
// goes out, and then the outbound half takes the traffic.
func (s *SA) quickAnswered(now time.Time, q *quick, m wire.V1Message) {
	s.quick = nil
	t, err := s.accept(q, m)
	if err != nil {
		s.childFailed(now, q, err.Error())
		s.forget(q.x)
		// The peer holds an SA that we do not want.
		s.notify(now, s.deleteOf(session.SPIBytes(t.In)))
		return
	}
	if life, ok := responderLife(m, 2); ok {
		t.life = shorter(t.life, life)
	}
	c, err := s.install(now, t)
	if err != nil {
		s.internal(err)
		s.childFailed(now, q, "internal fault")
		return
	}
	q.spi = 0
	hash, err := suite.V1Hash3(s.suite.Proposal.PRF, s.keys.A, q.x.id, q.ni, q.nr)
	if err != nil {
		s.internal(err)
	}
	q.x.until = now.Add(exchangeLife)
	s.say(now, q.x, []wire.Payload{wire.V1Hash{Data: hash}}, step{})
	c.replaces, c.SwitchAt = q.replaces, now.Add(switchTime)
}

// terms are those of the quick mode before the peer has said anything.
func (q *quick) terms() terms {
	return terms{ChildTerms: session.ChildTerms{Conf: q.conf, In: q.spi, Mode: q.conf.Mode}, pair: q.pair, replaces: q.replaces}
}

// accept checks the answer against what we asked for.
func (s *SA) accept(q *quick, m wire.V1Message) (terms, error) {
	t := q.terms()
	answer, _ := wire.Find[wire.V1SA](m.Payloads)
	nonce, _ := wire.Find[wire.V1Nonce](m.Payloads)
	q.nr = slices.Clone(nonce.Data)
	esp, err := suite.V1ConfirmESP(q.conf.ESP, q.modes, answer)
	if err != nil {
		return t, err
	}
	if ids := idsOf(m); len(ids) > 0 {
		got, err := pairOf(ids, true)
		if err != nil || got != q.pair {
			return t, fmt.Errorf("peer answers with selectors that we did not offer: %v instead of %v", got, q.pair)
		}
	}
	return s.derive(q, t, esp, m, true)
}

// derive makes the keys: one KEYMAT for each direction, under the SPI of who
// receives (RFC 2409 §5.5).
func (s *SA) derive(q *quick, t terms, esp suite.V1ESP, m wire.V1Message, initiator bool) (terms, error) {
	out, ok := session.ParseSPI(esp.SPI)
	if !ok {
		return t, fmt.Errorf("peer's ESP SPI is not one: %x", esp.SPI)
	}
	var shared suite.Secret
	if esp.Proposal.Group != wire.GroupNone {
		ke, ok := wire.Find[wire.V1KE](m.Payloads)
		if !ok || q.ke == nil || q.ke.Group() != esp.Proposal.Group {
			return t, fmt.Errorf("peer chose %v without a key exchange", esp.Proposal)
		}
		var err error
		if shared, err = q.ke.Shared(ke.Data); err != nil {
			return t, err
		}
		defer shared.Wipe()
	}
	t.Out, t.Suite, t.life = out, esp.Proposal, esp.Lifetime
	prf := s.suite.Proposal.PRF
	in, err := suite.V1DeriveChild(prf, s.keys.D, esp.Proposal, shared, session.SPIBytes(t.In), q.ni, q.nr)
	if err != nil {
		return t, err
	}
	other, err := suite.V1DeriveChild(prf, s.keys.D, esp.Proposal, shared, esp.SPI, q.ni, q.nr)
	t.KeyIn, t.KeyOut = sadb.Key(in), sadb.Key(other)
	return t, err
}

// idsOf are the ID payloads of quick mode: the initiator's, then the responder's.
func idsOf(m wire.V1Message) (ids []wire.V1ID) {
	for _, p := range m.Payloads {
		if id, ok := p.(wire.V1ID); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// pairOf reads both selectors as we see them.
func pairOf(ids []wire.V1ID, initiator bool) (pair, error) {
	if len(ids) != 2 {
		return pair{}, fmt.Errorf("%d ID payloads in quick mode", len(ids))
	}
	i, err := fromID(ids[0])
	if err != nil {
		return pair{}, err
	}
	r, err := fromID(ids[1])
	if err != nil {
		return pair{}, err
	}
	if initiator {
		return pair{i, r}, nil
	}
	return pair{r, i}, nil
}

// answerQuick takes message 1 and sends message 2. The inbound half stands
// before that, so that the initiator may send at once.
func (s *SA) answerQuick(now time.Time, x *exchange, m wire.V1Message) {
	q := &quick{x: x}
	x.quick = q
	answer, t, refusal, reason := s.grant(now, q, m)
	if refusal != 0 {
		s.refuseQuick(now, q, refusal, reason)
		return
	}
	s.yield(now, m)
	c, err := s.install(now, t)
	if err != nil {
		s.internal(err)
		s.dropQuick(q)
		return
	}
	q.spi, q.installed = 0, c
	want, err := suite.V1Hash3(s.suite.Proposal.PRF, s.keys.A, x.id, q.ni, q.nr)
	if err != nil {
		s.internal(err)
	}
	x.until = time.Time{}
	x.fail = func(now time.Time, reason string) { s.quickUnanswered(now, q, reason) }
	check := func(m wire.V1Message) error { return sameHash(m, want) }
	s.sayHashed(now, x, answer, step{check, func(now time.Time, d session.Datagram, m wire.V1Message) {
		x.until, x.sent, x.quick = now.Add(exchangeLife), nil, nil
		s.switchOver(now, c)
	}}, q.ni)
}

// grant decides on what the peer asks for: selectors, then proposals, then keys.
func (s *SA) grant(now time.Time, q *quick, m wire.V1Message) (answer []wire.Payload, t terms, refusal wire.V1NotifyType, reason string) {
	offer, okSA := wire.Find[wire.V1SA](m.Payloads)
	nonce, okNonce := wire.Find[wire.V1Nonce](m.Payloads)
	if !okSA || !okNonce || len(s.children) >= maxChildren {
		return nil, t, wire.V1NotifyPayloadMalformed, "peer sends QUICK_MODE without SA or NONCE, or asks for too many child SAs"
	}
	ids := idsOf(m)
	q.pair = s.hosts()
	if len(ids) > 0 {
		var err error
		if q.pair, err = pairOf(ids, false); err != nil {
			return nil, t, wire.V1NotifyInvalidIDInformation, err.Error()
		}
	}
	if q.conf = s.match(q.pair); q.conf == nil {
		q.conf, q.pair = s.matchSeen(q.pair)
	}
	if q.conf == nil {
		q.conf, q.pair = s.unity(q.pair)
	}
	if q.conf == nil {
		return nil, t, wire.V1NotifyInvalidIDInformation,
			fmt.Sprintf("no child has the selectors that the peer asks for, %v; we accept %s (configuration keys: children.local, children.remote)", q.pair, s.accepted())
	}
	esp, chosen, err := suite.V1SelectESP(q.conf.ESP, s.modesOf(q.conf), offer)
	if err != nil {
		return nil, t, wire.V1NotifyNoProposalChosen, err.Error() + " (configuration keys: children.esp, children.mode)"
	}
	q.ni = slices.Clone(nonce.Data)
	answer, t, err = s.compose(q, esp, chosen, m)
	if err != nil {
		return nil, t, wire.V1NotifyInvalidKeyInformation, err.Error()
	}
	for _, id := range ids {
		answer = append(answer, id)
	}
	answer = append(answer, s.originals(q.conf)...)
	if life := told(q.conf, esp.Lifetime); life != (suite.V1Lifetime{}) {
		answer = append(answer, lifeNotify(2, wire.ProtocolESP, session.SPIBytes(q.spi), life))
	}
	return answer, t, 0, ""
}

// compose makes our SPI, nonce and key exchange.
func (s *SA) compose(q *quick, esp suite.V1ESP, chosen wire.V1Proposal, m wire.V1Message) (answer []wire.Payload, t terms, err error) {
	if q.nr, err = s.env.newNonce(); err != nil {
		return nil, t, err
	}
	if esp.Proposal.Group != wire.GroupNone {
		if q.ke, err = suite.GenerateKE(esp.Proposal.Group, s.env.Rand); err != nil {
			return nil, t, err
		}
	}
	if q.spi, err = s.env.SPIs.Allocate(s.conn.Owner()); err != nil {
		return nil, t, err
	}
	t = q.terms()
	if t, err = s.derive(q, t, esp, m, false); err != nil {
		return nil, t, err
	}
	answer = []wire.Payload{suite.V1AnswerESP(chosen, session.SPIBytes(q.spi)), wire.V1Nonce{Data: q.nr}}
	if q.ke != nil {
		answer = append(answer, wire.V1KE{Data: q.ke.Public()})
	}
	return answer, t, nil
}

// match finds the child whose selectors hold what the peer asks for. There is
// no narrowing in IKEv1: the peer asks for what it gets.
func (s *SA) match(p pair) *session.Child {
	for i := range s.conn.Children {
		conf := &s.conn.Children[i]
		if slices.ContainsFunc(s.leased(pairs(conf)), func(c pair) bool { return c.contains(p) }) {
			return conf
		}
	}
	return nil
}

// accepted writes what the connection's children are for.
func (s *SA) accepted() string {
	var list []string
	for i := range s.conn.Children {
		for _, p := range s.leased(pairs(&s.conn.Children[i])) {
			list = append(list, fmt.Sprintf("%s: %v", s.conn.Children[i].Name, p))
		}
	}
	return strings.Join(list[:min(len(list), 8)], ", ")
}

// refuseQuick tells the peer why not, inside the ISAKMP SA.
func (s *SA) refuseQuick(now time.Time, q *quick, t wire.V1NotifyType, reason string) {
	s.dropQuick(q)
	s.notify(now, wire.V1Notify{DOI: wire.DOIIPsec, Protocol: wire.ProtocolESP, Type: t})
	s.audit(slog.LevelWarn, "child SA refused", slog.String("reason", reason))
	s.env.Host.Refused(now, s.conn.Name, reason)
}

// dropQuick gives back what a quick mode that came to nothing holds.
func (s *SA) dropQuick(q *quick) {
	if q.spi != 0 {
		s.env.SPIs.Free(q.spi)
		q.spi = 0
	}
	if q.installed != nil && q.installed.Waits() {
		s.remove(q.installed)
	}
	q.installed, q.x.quick = nil, nil
	if s.quick == q {
		s.quick = nil
	}
}

// quickUnanswered ends a quick mode whose next message never came. A peer that
// does not answer ours is not there.
func (s *SA) quickUnanswered(now time.Time, q *quick, reason string) {
	switch {
	case !q.x.initiator:
		s.dropQuick(q)
	case s.state == Established:
		s.dropQuick(q)
		s.bury(now, reason)
	default: // the peer may have forgotten this ISAKMP SA, and know the next
		s.withdraw(now, q)
		if heir := s.heir(now); heir != nil {
			heir.push(task{q.conf, q.pair, q.replaces})
			heir.pump(now)
			s.env.Host.Changed(now, heir)
		}
	}
}

// quickRefused is a notification about our outstanding quick mode.
func (s *SA) quickRefused(now time.Time, t wire.V1NotifyType) {
	q := s.quick
	s.forget(q.x)
	if old := q.replaces; old != nil && t == wire.V1NotifyPayloadMalformed {
		// strongSwan says so when quick mode overtakes the end of phase 1.
		s.dropQuick(q)
		old.state, old.SoftAt = childInstalled, now.Add(time.Second)
		return
	}
	reason := fmt.Sprintf("peer refuses the child SA (%v)", t)
	switch t {
	case wire.V1NotifyInvalidIDInformation:
		reason = fmt.Sprintf("peer refuses our selectors (%v): we offered %v (configuration keys: children.local, children.remote)", t, q.pair)
	case wire.V1NotifyNoProposalChosen:
		reason = fmt.Sprintf("peer refuses our proposals (%v): we offered %s in %v mode (configuration keys: children.esp, children.mode)",
			t, proposals(q.conf.ESP), q.modes[0])
	}
	s.childFailed(now, q, reason)
}

// childFailed ends an attempt of ours. A child SA that was to be replaced goes on.
func (s *SA) childFailed(now time.Time, q *quick, reason string) {
	if q.spi != 0 {
		s.env.SPIs.Free(q.spi)
		q.spi = 0
	}
	if s.quick == q {
		s.quick = nil
	}
	if q.x != nil {
		q.x.quick = nil
	}
	if old := q.replaces; old != nil && old.state == childRekeying {
		old.state, old.SoftAt = childInstalled, now.Add(rekeyRetry)
	}
	s.audit(slog.LevelWarn, "child SA failed", slog.String("child", q.conf.Name), slog.String("reason", reason))
	s.env.Host.Failed(now, s.conn.Name, q.conf.Name, reason)
}
