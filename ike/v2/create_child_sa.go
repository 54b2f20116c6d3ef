package v2

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

const (
	rekeyRetry = 30 * time.Second // after the peer refused to rekey a child SA
	redundancy = 30 * time.Second // for the peer to delete what lost a rekey collision
)

// attempt is a child SA that we ask for, in IKE_AUTH or CREATE_CHILD_SA.
type attempt struct {
	conf      *session.Child
	flow      sadb.Flow
	replaces  *child
	first     bool // in IKE_AUTH
	childless bool // in an IKE_AUTH without a child SA: it follows
	pair      bool // the peer wants one pair of addresses, or we do

	spi   sadb.SPI
	nonce []byte
	ke    suite.KE // with perfect forward secrecy
	tried []wire.Group

	stillborn []sadb.SPI // the peer deleted them before its answer came
}

// createChild asks for a new child SA (RFC 7296 §1.3.1).
func (s *SA) createChild(now time.Time, conf *session.Child, flow sadb.Flow) {
	s.begin(now, &attempt{conf: conf, flow: flow}, conf.ESP[0].Group)
}

// begin sends the request with a key exchange of the given group, if any.
func (s *SA) begin(now time.Time, a *attempt, group wire.Group) {
	payloads, err := s.prepareChild(a, group)
	if err != nil {
		s.internal(err)
		s.abort(now, a, rekeyRetry)
		return
	}
	s.asking = a
	s.send(now, wire.ExchangeCreateChildSA, payloads, func(now time.Time, m wire.Message) {
		s.asking = nil
		nonce, _ := wire.Find[wire.Nonce](m.Payloads)
		s.childAnswered(now, a, m, [][]byte{a.nonce, slices.Clone(nonce.Data)})
	})
}

func (s *SA) prepareChild(a *attempt, group wire.Group) (payloads []wire.Payload, err error) {
	if a.nonce, err = s.env.newNonce(); err != nil {
		return nil, err
	}
	if a.ke = nil; group != wire.GroupNone {
		a.tried = append(a.tried, group)
		if a.ke, err = suite.GenerateKE(group, s.env.Rand); err != nil {
			return nil, err
		}
	}
	return s.ask(a)
}

// ask writes the payloads that ask for a child SA.
func (s *SA) ask(a *attempt) (payloads []wire.Payload, err error) {
	if a.first {
		payloads = s.configRequest()
	}
	if a.childless {
		return payloads, nil
	}
	if a.spi == 0 {
		if a.spi, err = s.env.SPIs.Allocate(s.conn.Owner()); err != nil {
			return nil, err
		}
	}
	if a.replaces != nil {
		payloads = append(payloads, wire.Notify{Protocol: wire.ProtocolESP, SPI: session.SPIBytes(a.replaces.In), Type: wire.NotifyRekeySA})
	}
	if a.conf.Mode == sadb.Transport {
		payloads = append(payloads, wire.Notify{Type: wire.NotifyUseTransportMode})
	}
	payloads = append(payloads, suite.Offer(a.proposals(), session.SPIBytes(a.spi)))
	if !a.first {
		payloads = append(payloads, wire.Nonce{Data: a.nonce})
	}
	if a.ke != nil {
		payloads = append(payloads, wire.KE{Group: a.ke.Group(), Data: a.ke.Public()})
	}
	local, remote := s.selectors(a)
	return append(payloads, wire.TSi{Selectors: toWire(local)}, wire.TSr{Selectors: toWire(remote)}), nil
}

func (a *attempt) proposals() []suite.Proposal {
	if a.first {
		return suite.StripKE(a.conf.ESP)
	}
	return a.conf.ESP
}

// selectors are those of the configuration, behind those of the packet that
// asked, if any; where only one pair of addresses is wanted, those of the packet.
func (s *SA) selectors(a *attempt) (local, remote []sadb.Selector) {
	if a.replaces != nil {
		// What was narrowed once would be narrowed again.
		return a.replaces.LocalTS, a.replaces.RemoteTS
	}
	local, remote = s.localOf(a.conf), s.remoteOf(a.conf)
	if len(local) == 0 && a.first {
		return anywhere(remote), remote
	}
	if l, r, ok := s.onePair(a); ok {
		return l, r
	}
	if !a.flow.Src.IsValid() || !a.flow.Dst.IsValid() {
		return local, remote
	}
	l, r := ofFlow(a.flow)
	if !within([]sadb.Selector{l}, local) || !within([]sadb.Selector{r}, remote) {
		return local, remote
	}
	if !slices.Contains(local, l) && len(local) < wire.MaxSelectors {
		local = append([]sadb.Selector{l}, local...)
	}
	if !slices.Contains(remote, r) && len(remote) < wire.MaxSelectors {
		remote = append([]sadb.Selector{r}, remote...)
	}
	return local, remote
}

// childAnswered takes the responder's answer to what we asked for.
func (s *SA) childAnswered(now time.Time, a *attempt, m wire.Message, nonces [][]byte) {
	if a.first {
		s.takeConfiguration(m)
	}
	if a.childless {
		s.push(now, task{kind: taskCreateChild, conf: a.conf, flow: a.flow})
		return
	}
	if n, ok := refusal(m.Payloads); ok {
		s.childRefused(now, a, n)
		return
	}
	t, err := s.accept(a, m, nonces)
	if err == nil && s.useless(a, t) {
		err = fmt.Errorf("peer narrows to %s to %s, which does not carry %v (configuration keys: children.local, children.remote)",
			session.FormatSelectors(t.LocalTS), session.FormatSelectors(t.RemoteTS), a.flow)
	}
	if err != nil {
		s.childFailed(now, a, err.Error())
		// The peer holds an SA that we do not want.
		s.push(now, task{kind: taskAbandon, spi: a.spi})
		s.abort(now, a, rekeyRetry)
		return
	}
	if _, more := wire.FindNotify(m.Payloads, wire.NotifyAdditionalTSPossible); more {
		s.audit(slog.LevelInfo, "peer would carry more in another child SA", slog.String("child", a.conf.Name))
	}
	if len(t.Suite.AdditionalKEs()) > 0 {
		s.followChild(now, a, t, m)
		return
	}
	s.concludeChild(now, a, t)
}

// concludeChild makes the child SA stand, now that every key exchange is made.
func (s *SA) concludeChild(now time.Time, a *attempt, t terms) {
	if slices.Contains(a.stillborn, t.Out) {
		s.abort(now, a, s.env.backOff())
		return
	}
	err := s.deriveChild(&t)
	var c *child
	if err == nil {
		c, err = s.install(now, t)
	}
	if err != nil {
		s.internal(err)
		s.abort(now, a, rekeyRetry)
		return
	}
	if a.replaces == nil || a.replaces.state != childRekeying {
		s.switchOver(c)
		return
	}
	s.replace(now, a.replaces, c)
}

// useless reports whether the answer is a child SA like one that stands, and
// does not carry the packet that asked: more of them would not help.
func (s *SA) useless(a *attempt, t terms) bool {
	fresh := session.ChildSA{Conn: s.conn, Conf: a.conf, LocalTS: t.LocalTS, RemoteTS: t.RemoteTS}
	return a.replaces == nil && !fresh.Carries(a.flow) && s.find(func(c *child) bool {
		return c.Conf == a.conf && c.SameSelectors(&fresh)
	}) != nil
}

// accept checks the answer against what we asked for: the suite must be one of
// ours (RFC 7296 §2.7), the selectors a subset of ours (§2.9).
func (s *SA) accept(a *attempt, m wire.Message, nonces [][]byte) (terms, error) {
	sa, okSA := wire.Find[wire.SA](m.Payloads)
	tsi, okI := wire.Find[wire.TSi](m.Payloads)
	tsr, okR := wire.Find[wire.TSr](m.Payloads)
	if !okSA || !okI || !okR || len(nonces[1]) == 0 {
		return terms{}, fmt.Errorf("peer answers without SA, Nonce, TSi or TSr")
	}
	chosen, offered, err := suite.Confirm(a.proposals(), sa)
	if err != nil {
		return terms{}, err
	}
	out, ok := session.ParseSPI(offered.SPI)
	if !ok {
		return terms{}, fmt.Errorf("peer's ESP SPI is not one: %x", offered.SPI)
	}
	if len(s.localOf(a.conf)) == 0 {
		return terms{}, errors.New("peer assigns no inside address (configuration key: virtual_ip)")
	}
	if _, transport := wire.FindNotify(m.Payloads, wire.NotifyUseTransportMode); a.conf.Mode == sadb.Transport && !transport {
		// RFC 7296 §1.3.1: "If this is unacceptable to the initiator, the initiator
		// MUST delete the SA."
		return terms{}, errors.New("peer declines transport mode (configuration key: children.mode)")
	}
	local, remote := fromWire(tsi.Selectors), fromWire(tsr.Selectors)
	if a.conf.Mode == sadb.Transport {
		local, remote = s.asSeen(local, remote)
	}
	if !within(local, s.localOf(a.conf)) || !within(remote, s.remoteOf(a.conf)) {
		return terms{}, fmt.Errorf("peer answers with selectors that we did not offer: %s to %s",
			session.FormatSelectors(local), session.FormatSelectors(remote))
	}
	var shared suite.Secret
	if a.ke != nil {
		if shared, err = s.pfs(a.ke, chosen, m.Payloads); err != nil {
			return terms{}, err
		}
	} else if chosen.Group != wire.GroupNone {
		return terms{}, fmt.Errorf("peer chose %v without a key exchange", chosen)
	}
	return terms{
		replaces: a.replaces, nonces: nonces, initiator: true, shared: []suite.Secret{shared},
		ChildTerms: session.ChildTerms{Conf: a.conf, Suite: chosen, In: a.spi, Out: out,
			LocalTS: narrow(local, s.localOf(a.conf)), RemoteTS: narrow(remote, s.remoteOf(a.conf))},
	}, nil
}

// pfs is the shared secret of the key exchange in CREATE_CHILD_SA, nil if the
// chosen proposal has none.
func (s *SA) pfs(ke suite.KE, chosen suite.Proposal, payloads []wire.Payload) (suite.Secret, error) {
	if chosen.Group == wire.GroupNone {
		return nil, nil
	}
	theirs, ok := wire.Find[wire.KE](payloads)
	if !ok || theirs.Group != chosen.Group || ke.Group() != chosen.Group {
		return nil, fmt.Errorf("peer's key exchange is not of the chosen group %v", chosen.Group)
	}
	return ke.Shared(theirs.Data)
}

// deriveChild makes the keys of a child SA from all the key exchanges that there
// were for it (RFC 7296 §2.17, RFC 9370 §2.2.4).
func (s *SA) deriveChild(t *terms) error {
	keys, err := suite.DeriveChild(s.suite.PRF, s.keys.D, t.Suite, t.shared[0], t.nonces[0], t.nonces[1], t.shared[1:]...)
	for _, secret := range t.shared {
		secret.Wipe()
	}
	if err != nil {
		return err
	}
	in, out := keys.Split(t.initiator)
	t.KeyIn, t.KeyOut = sadb.Key(in), sadb.Key(out)
	return nil
}

// childRefused handles an error in answer to what we asked for.
func (s *SA) childRefused(now time.Time, a *attempt, n wire.Notify) {
	switch {
	case n.Type == wire.NotifyInvalidKEPayload && s.tryGroup(now, a, n):
		return
	case n.Type == wire.NotifySinglePairRequired && s.tryPair(now, a):
		return
	case n.Type == wire.NotifyTemporaryFailure && a.replaces != nil:
		// RFC 7296 §2.25: the peer is busy with the same SA.
		s.abort(now, a, s.env.backOff())
		return
	case n.Type == wire.NotifyChildSANotFound && a.replaces != nil:
		s.abort(now, a, rekeyRetry)
		if old := a.replaces; old.state == childInstalled {
			s.remove(old)
			s.push(now, task{kind: taskCreateChild, conf: a.conf})
		}
		return
	}
	s.childFailed(now, a, s.describeRefusal(a, n))
	s.abort(now, a, rekeyRetry)
}

// tryGroup asks again with the group that the peer wants, if we offered it and
// did not try it yet.
func (s *SA) tryGroup(now time.Time, a *attempt, n wire.Notify) bool {
	group, err := suite.InvalidKEGroup(n)
	offered := slices.ContainsFunc(a.proposals(), func(p suite.Proposal) bool { return p.Group == group })
	if err != nil || a.first || !offered || slices.Contains(a.tried, group) {
		return false
	}
	s.begin(now, a, group)
	return true
}

// tryPair asks again for just the two addresses of the packet that asked: RFC
// 7296 §2.9, the peer takes no more in one child SA.
func (s *SA) tryPair(now time.Time, a *attempt) bool {
	if a.pair || !a.flow.Src.IsValid() || !a.flow.Dst.IsValid() {
		return false
	}
	a.pair = true
	if a.first {
		a = &attempt{conf: a.conf, flow: a.flow, spi: a.spi, pair: true}
	}
	s.begin(now, a, a.conf.ESP[0].Group)
	return true
}

// describeRefusal says what the peer did not like and which key it is about.
func (s *SA) describeRefusal(a *attempt, n wire.Notify) string {
	switch n.Type {
	case wire.NotifyTSUnacceptable:
		local, remote := s.selectors(a)
		return fmt.Sprintf("peer refuses our selectors (%v): we offered %s to %s (configuration keys: children.local, children.remote)",
			n.Type, session.FormatSelectors(local), session.FormatSelectors(remote))
	case wire.NotifyNoProposalChosen, wire.NotifyInvalidKEPayload:
		return fmt.Sprintf("peer refuses our proposals (%v): we offered %s (configuration key: children.esp)",
			n.Type, proposals(a.proposals()))
	case wire.NotifyInternalAddressFailure:
		return fmt.Sprintf("peer has no inside address for us (%v)", n.Type)
	case wire.NotifyFailedCPRequired:
		return fmt.Sprintf("peer wants us to ask for an inside address (%v): write virtual_ip: request", n.Type)
	case wire.NotifySinglePairRequired:
		return fmt.Sprintf("peer takes one pair of addresses in a child SA (%v): it comes up with traffic", n.Type)
	}
	return fmt.Sprintf("peer refuses the child SA (%v)", n.Type)
}

func (s *SA) childFailed(now time.Time, a *attempt, reason string) {
	s.audit(slog.LevelWarn, "child SA failed", slog.String("child", a.conf.Name), slog.String("reason", reason))
	s.env.Host.Failed(now, s.conn.Name, a.conf.Name, reason)
}

// abandon deletes an SA at the peer that we never installed.
func (s *SA) abandon(now time.Time, spi sadb.SPI) {
	s.send(now, wire.ExchangeInformational,
		[]wire.Payload{wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{uint32(spi)}}},
		func(time.Time, wire.Message) {})
}

// answerCreateChild tells the three uses of CREATE_CHILD_SA apart (RFC 7296 §1.3).
func (s *SA) answerCreateChild(now time.Time, d session.Datagram, m wire.Message) {
	sa, okSA := wire.Find[wire.SA](m.Payloads)
	nonce, okNonce := wire.Find[wire.Nonce](m.Payloads)
	switch {
	case !okSA || !okNonce:
		s.respond(d, m, wire.Notify{Type: wire.NotifyInvalidSyntax})
	case s.state != Established || s.rival != nil:
		// RFC 7296 §2.25.2: this IKE SA is being replaced or deleted.
		s.respond(d, m, wire.Notify{Type: wire.NotifyTemporaryFailure})
	case sa.Proposals[0].Protocol == wire.ProtocolIKE:
		s.answerRekeyIKE(now, d, m, sa, nonce.Data)
	case s.rekeying || s.succeeding() != nil:
		s.respond(d, m, wire.Notify{Type: wire.NotifyTemporaryFailure})
	default:
		s.answerChild(now, d, m, nonce.Data)
	}
}

// answerChild grants a child SA, new or in place of one. The inbound half
// stands before the response goes out; the outbound half of a successor waits
// for the Delete of the old one (RFC 7296 §2.8), so no packet is lost.
func (s *SA) answerChild(now time.Time, d session.Datagram, m wire.Message, nonce []byte) {
	old, refused := s.rekeyed(m)
	if refused != nil {
		s.respond(d, m, *refused)
		return
	}
	ours, err := s.env.newNonce()
	if err != nil {
		s.internal(err)
		s.respond(d, m, wire.Notify{Type: wire.NotifyTemporaryFailure})
		return
	}
	g := grant{payloads: m.Payloads, replaces: old, nonces: [][]byte{slices.Clone(nonce), ours}}
	t, payloads, refused := s.decide(now, g)
	if refused != nil {
		s.respond(d, m, *refused)
		return
	}
	if groups := t.Suite.AdditionalKEs(); len(groups) > 0 {
		s.awaitChild(now, d, m, t, payloads)
		return
	}
	c, err := s.grantChild(now, t)
	if err != nil {
		s.respond(d, m, *s.busy(err))
		return
	}
	s.respond(d, m, payloads...)
	s.granted(now, old, c)
}

// granted lets a child SA that the peer asked for carry traffic when it may.
func (s *SA) granted(now time.Time, old, c *child) {
	if old == nil || old.state >= childDeleting {
		s.takeOver(now, c)
		return
	}
	c.SwitchAt = now.Add(switchTime)
	old.successor = c
	if old.state == childInstalled {
		old.state, old.SoftAt = childReplaced, time.Time{}
	}
}
