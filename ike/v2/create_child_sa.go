package v2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

const (
	maxChildren = 256              // child SAs of one IKE SA that a peer can make us hold
	rekeyRetry  = 30 * time.Second // after the peer refused to rekey a child SA
	redundancy  = 30 * time.Second // for the peer to delete what lost a rekey collision
)

// attempt is a child SA that we ask for, in IKE_AUTH or CREATE_CHILD_SA.
type attempt struct {
	conf     *session.Child
	flow     sadb.Flow
	replaces *child
	first    bool // in IKE_AUTH

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

// rekeyChild asks for a successor of a child SA (RFC 7296 §1.3.3).
func (s *SA) rekeyChild(now time.Time, c *child) {
	if c.state != childInstalled || c.expired() {
		return
	}
	c.state = childRekeying
	s.begin(now, &attempt{conf: c.conf, replaces: c}, c.conf.ESP[0].Group)
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
	if a.spi == 0 {
		if a.spi, err = s.env.SPIs.Allocate(-1); err != nil {
			return nil, err
		}
	}
	if a.replaces != nil {
		payloads = append(payloads, wire.Notify{Protocol: wire.ProtocolESP, SPI: spiBytes(a.replaces.in), Type: wire.NotifyRekeySA})
	}
	payloads = append(payloads, suite.Offer(a.proposals(), spiBytes(a.spi)))
	if !a.first {
		payloads = append(payloads, wire.Nonce{Data: a.nonce})
	}
	if a.ke != nil {
		payloads = append(payloads, wire.KE{Group: a.ke.Group(), Data: a.ke.Public()})
	}
	local, remote := a.selectors()
	return append(payloads, wire.TSi{Selectors: toWire(local)}, wire.TSr{Selectors: toWire(remote)}), nil
}

func (a *attempt) proposals() []suite.Proposal {
	if a.first {
		return suite.StripKE(a.conf.ESP)
	}
	return a.conf.ESP
}

// selectors are those of the configuration, behind those of the packet that
// asked, if any.
func (a *attempt) selectors() (local, remote []sadb.Selector) {
	local, remote = a.conf.Local, a.conf.Remote
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
	if n, ok := refusal(m.Payloads); ok {
		s.childRefused(now, a, n)
		return
	}
	t, err := s.accept(a, m, nonces)
	if err == nil && s.useless(a, t) {
		err = fmt.Errorf("peer narrows to %s to %s, which does not carry %v (configuration keys: children.local, children.remote)",
			formatSelectors(t.localTS), formatSelectors(t.remoteTS), a.flow)
	}
	if err != nil {
		s.childFailed(now, a, err.Error())
		// The peer holds an SA that we do not want.
		s.push(now, task{kind: taskAbandon, spi: a.spi})
		s.abort(now, a, rekeyRetry)
		return
	}
	if slices.Contains(a.stillborn, t.out) {
		s.abort(now, a, s.env.backOff())
		return
	}
	c, err := s.install(now, t)
	if err != nil {
		s.internal(err)
		s.abort(now, a, rekeyRetry)
		return
	}
	if a.replaces == nil || a.replaces.state != childRekeying {
		s.switchOver(now, c)
		return
	}
	s.replace(now, a.replaces, c)
}

// useless reports whether the answer is a child SA like one that stands, and
// does not carry the packet that asked: more of them would not help.
func (s *SA) useless(a *attempt, t terms) bool {
	fresh := &child{localTS: t.localTS, remoteTS: t.remoteTS}
	return a.replaces == nil && !fresh.carries(a.flow) && s.find(func(c *child) bool {
		return c.conf == a.conf && slices.Equal(c.localTS, t.localTS) && slices.Equal(c.remoteTS, t.remoteTS)
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
	out, ok := parseSPI(offered.SPI)
	if !ok {
		return terms{}, fmt.Errorf("peer's ESP SPI is not one: %x", offered.SPI)
	}
	local, remote := fromWire(tsi.Selectors), fromWire(tsr.Selectors)
	if !within(local, a.conf.Local) || !within(remote, a.conf.Remote) {
		return terms{}, fmt.Errorf("peer answers with selectors that we did not offer: %s to %s",
			formatSelectors(local), formatSelectors(remote))
	}
	var shared suite.Secret
	if a.ke != nil {
		if shared, err = s.pfs(a.ke, chosen, m.Payloads); err != nil {
			return terms{}, err
		}
	} else if chosen.Group != wire.GroupNone {
		return terms{}, fmt.Errorf("peer chose %v without a key exchange", chosen)
	}
	return s.terms(a.conf, a.replaces, chosen, a.spi, out, shared, nonces, true,
		narrow(local, a.conf.Local), narrow(remote, a.conf.Remote))
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

// terms derives the keys of a child SA and puts together what was agreed on.
func (s *SA) terms(conf *session.Child, replaces *child, chosen suite.Proposal, in, out sadb.SPI, shared suite.Secret,
	nonces [][]byte, initiator bool, local, remote []sadb.Selector) (terms, error) {
	defer shared.Wipe()
	keys, err := suite.DeriveChild(s.suite.PRF, s.keys.D, chosen, shared, nonces[0], nonces[1])
	if err != nil {
		return terms{}, err
	}
	keyIn, keyOut := keys.Split(initiator)
	return terms{
		conf: conf, replaces: replaces, suite: chosen, in: in, out: out, nonces: nonces,
		keyIn: sadb.Key(keyIn), keyOut: sadb.Key(keyOut), localTS: local, remoteTS: remote,
	}, nil
}

// replace makes our rekey take effect: outbound switches now, the old child SA
// is deleted by us. If the peer rekeyed the same child SA at the same moment,
// both compare nonces: RFC 7296 §2.8.1, "the SA created with the lowest of the
// four nonces SHOULD be closed by the endpoint that created it".
func (s *SA) replace(now time.Time, old, c *child) {
	old.state, old.softAt = childReplaced, time.Time{}
	rival := old.successor
	if rival != nil && bytes.Compare(c.lowest, rival.lowest) < 0 {
		c.redundant, c.spare = true, nil
		s.audit(slog.LevelInfo, "rekey collision: the peer's child SA stays", slog.String("child", c.conf.Name))
		s.push(now, task{kind: taskDeleteChild, child: c})
		return
	}
	if rival != nil {
		rival.redundant, rival.spare, rival.switchAt, rival.softAt = true, nil, time.Time{}, time.Time{}
		rival.hardAt = now.Add(redundancy)
		s.audit(slog.LevelInfo, "rekey collision: our child SA stays", slog.String("child", c.conf.Name))
	}
	s.switchOver(now, c)
	s.push(now, task{kind: taskDeleteChild, child: old})
}

// childRefused handles an error in answer to what we asked for.
func (s *SA) childRefused(now time.Time, a *attempt, n wire.Notify) {
	switch {
	case n.Type == wire.NotifyInvalidKEPayload && s.tryGroup(now, a, n):
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

// describeRefusal says what the peer did not like and which key it is about.
func (s *SA) describeRefusal(a *attempt, n wire.Notify) string {
	switch n.Type {
	case wire.NotifyTSUnacceptable:
		local, remote := a.selectors()
		return fmt.Sprintf("peer refuses our selectors (%v): we offered %s to %s (configuration keys: children.local, children.remote)",
			n.Type, formatSelectors(local), formatSelectors(remote))
	case wire.NotifyNoProposalChosen, wire.NotifyInvalidKEPayload:
		return fmt.Sprintf("peer refuses our proposals (%v): we offered %s (configuration key: children.esp)",
			n.Type, proposals(a.proposals()))
	}
	return fmt.Sprintf("peer refuses the child SA (%v)", n.Type)
}

func (s *SA) childFailed(now time.Time, a *attempt, reason string) {
	s.audit(slog.LevelWarn, "child SA failed", slog.String("child", a.conf.Name), slog.String("reason", reason))
	s.env.Host.Failed(now, s.conn.Name, a.conf.Name, reason)
}

// abort ends an attempt. A child SA that was to be replaced goes on, and is
// tried again after the given time, unless the peer's own rekey replaced it.
func (s *SA) abort(now time.Time, a *attempt, retry time.Duration) {
	s.env.SPIs.Free(a.spi)
	old := a.replaces
	switch {
	case old == nil || old.state != childRekeying:
	case old.successor != nil:
		old.state, old.softAt = childReplaced, time.Time{}
	default:
		old.state, old.softAt = childInstalled, sooner(now, retry, old.hardAt)
	}
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
	case s.state != Established || s.request != nil && s.rekeying:
		// RFC 7296 §2.25.2: this IKE SA is being replaced or deleted.
		s.respond(d, m, wire.Notify{Type: wire.NotifyTemporaryFailure})
	case sa.Proposals[0].Protocol == wire.ProtocolIKE:
		s.answerRekeyIKE(now, d, m, sa, nonce.Data)
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
	c, payloads := s.grant(now, grant{payloads: m.Payloads, replaces: old, nonces: [][]byte{slices.Clone(nonce), ours}})
	s.respond(d, m, payloads...)
	if c == nil {
		return
	}
	if old == nil {
		s.switchOver(now, c)
		return
	}
	c.switchAt = now.Add(switchTime)
	old.successor = c
	if old.state == childInstalled {
		old.state, old.softAt = childReplaced, time.Time{}
	}
}

// rekeyed finds the child SA that a request wants to replace, nil for none, or
// says why it cannot be.
func (s *SA) rekeyed(m wire.Message) (*child, *wire.Notify) {
	n, ok := wire.FindNotify(m.Payloads, wire.NotifyRekeySA)
	if !ok {
		return nil, nil
	}
	spi, ok := parseSPI(n.SPI)
	c := s.byOutbound(spi)
	switch {
	case ok && c == nil && s.asking != nil:
		// It may be the one whose answer has not reached us yet.
		return nil, &wire.Notify{Type: wire.NotifyTemporaryFailure}
	case !ok || c == nil || n.Protocol != wire.ProtocolESP:
		return nil, &wire.Notify{Protocol: n.Protocol, SPI: n.SPI, Type: wire.NotifyChildSANotFound}
	case c.state > childRekeying || c.successor != nil || c.expired():
		return nil, &wire.Notify{Type: wire.NotifyTemporaryFailure}
	}
	return c, nil
}

// grant is what a peer asks for.
type grant struct {
	payloads []wire.Payload
	first    bool // in IKE_AUTH
	replaces *child
	nonces   [][]byte
}

// grant decides on a child SA that the peer asks for and installs its inbound
// half. The payloads are the answer, in any case.
func (s *SA) grant(now time.Time, g grant) (*child, []wire.Payload) {
	t, answer, refused := s.decide(now, g)
	if refused != nil {
		return nil, []wire.Payload{*refused}
	}
	c, err := s.install(now, t)
	if err != nil {
		s.internal(err)
		s.env.SPIs.Free(t.in)
		return nil, []wire.Payload{wire.Notify{Type: wire.NotifyTemporaryFailure}}
	}
	return c, answer
}

// decide goes through what a request offers in the order in which it is
// refused: selectors, proposals, key exchange.
func (s *SA) decide(now time.Time, g grant) (terms, []wire.Payload, *wire.Notify) {
	sa, okSA := wire.Find[wire.SA](g.payloads)
	tsi, okI := wire.Find[wire.TSi](g.payloads)
	tsr, okR := wire.Find[wire.TSr](g.payloads)
	if !okSA || !okI || !okR {
		return terms{}, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	if len(s.children) >= maxChildren {
		return terms{}, nil, &wire.Notify{Type: wire.NotifyNoAdditionalSAs}
	}
	conf, local, remote := s.match(fromWire(tsr.Selectors), fromWire(tsi.Selectors), g.replaces)
	if conf == nil {
		s.refuseSelectors(now, tsi, tsr)
		return terms{}, nil, &wire.Notify{Type: wire.NotifyTSUnacceptable}
	}
	accepted := conf.ESP
	if g.first {
		accepted = suite.StripKE(accepted)
	}
	chosen, offered, err := suite.Select(accepted, sa.Proposals)
	if err != nil {
		s.refuseChild(now, conf.Name, err.Error()+" (configuration key: children.esp)")
		return terms{}, nil, &wire.Notify{Type: wire.NotifyNoProposalChosen}
	}
	return s.compose(g, conf, chosen, offered, local, remote)
}

// compose makes the key exchange, the SPI and the answer.
func (s *SA) compose(g grant, conf *session.Child, chosen suite.Proposal, offered wire.Proposal, local, remote []sadb.Selector) (terms, []wire.Payload, *wire.Notify) {
	busy := &wire.Notify{Type: wire.NotifyTemporaryFailure}
	out, ok := parseSPI(offered.SPI)
	if !ok {
		return terms{}, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	ke, shared, refused := s.exchangeKeys(chosen, g.payloads)
	if refused != nil {
		return terms{}, nil, refused
	}
	in, err := s.env.SPIs.Allocate(-1)
	if err != nil {
		s.internal(err)
		return terms{}, nil, busy
	}
	t, err := s.terms(conf, g.replaces, chosen, in, out, shared, g.nonces, false, local, remote)
	if err != nil {
		s.internal(err)
		s.env.SPIs.Free(in)
		return terms{}, nil, busy
	}
	answer := []wire.Payload{suite.Answer(chosen, offered, spiBytes(in))}
	if !g.first {
		answer = append(answer, wire.Nonce{Data: g.nonces[1]})
	}
	if ke != nil {
		answer = append(answer, wire.KE{Group: ke.Group(), Data: ke.Public()})
	}
	return t, append(answer, wire.TSi{Selectors: toWire(remote)}, wire.TSr{Selectors: toWire(local)}), nil
}

// exchangeKeys answers the peer's KE payload, if the chosen proposal has a group.
func (s *SA) exchangeKeys(chosen suite.Proposal, payloads []wire.Payload) (suite.KE, suite.Secret, *wire.Notify) {
	if chosen.Group == wire.GroupNone {
		return nil, nil, nil
	}
	theirs, ok := wire.Find[wire.KE](payloads)
	if !ok || theirs.Group != chosen.Group {
		n := suite.InvalidKE(chosen.Group)
		return nil, nil, &n
	}
	ke, err := suite.GenerateKE(chosen.Group, s.env.Rand)
	if err != nil {
		s.internal(err)
		return nil, nil, &wire.Notify{Type: wire.NotifyTemporaryFailure}
	}
	shared, err := ke.Shared(theirs.Data)
	if err != nil {
		return nil, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	return ke, shared, nil
}

// match finds the configured child that a peer's selectors mean: the one that
// is replaced, else one that they name exactly, else the first that has
// anything in common with them.
func (s *SA) match(local, remote []sadb.Selector, replaces *child) (*session.Child, []sadb.Selector, []sadb.Selector) {
	var found *session.Child
	var foundLocal, foundRemote []sadb.Selector
	for i := range s.conn.Children {
		conf := &s.conn.Children[i]
		l, r := narrow(local, conf.Local), narrow(remote, conf.Remote)
		if len(l) == 0 || len(r) == 0 || len(l) > wire.MaxSelectors || len(r) > wire.MaxSelectors {
			continue
		}
		whole := slices.Equal(l, conf.Local) && slices.Equal(r, conf.Remote)
		if replaces != nil && replaces.conf == conf {
			return conf, l, r
		}
		if whole && replaces == nil {
			return conf, l, r
		}
		if found == nil {
			found, foundLocal, foundRemote = conf, l, r
		}
	}
	return found, foundLocal, foundRemote
}

// refuseSelectors says what was offered and what we accept.
func (s *SA) refuseSelectors(now time.Time, tsi wire.TSi, tsr wire.TSr) {
	accepted := ""
	for i, conf := range s.conn.Children {
		if i > 0 {
			accepted += ", "
		}
		accepted += fmt.Sprintf("%s: %s to %s", conf.Name, formatSelectors(conf.Local), formatSelectors(conf.Remote))
	}
	s.refuseChild(now, "", fmt.Sprintf("no child has these selectors: peer offered local %s to remote %s; we accept %s (configuration keys: children.local, children.remote)",
		formatSelectors(fromWire(tsr.Selectors)), formatSelectors(fromWire(tsi.Selectors)), accepted))
}

func (s *SA) refuseChild(now time.Time, child, reason string) {
	s.audit(slog.LevelWarn, "child SA refused", slog.String("child", child), slog.String("reason", reason))
	s.env.Host.Refused(now, s.conn.Name, reason)
}

func spiBytes(spi sadb.SPI) []byte { return binary.BigEndian.AppendUint32(nil, uint32(spi)) }

// parseSPI reads an ESP SPI: RFC 4303 §2.1 reserves 0 to 255.
func parseSPI(b []byte) (sadb.SPI, bool) {
	if len(b) != 4 {
		return 0, false
	}
	spi := binary.BigEndian.Uint32(b)
	return sadb.SPI(spi), spi > 255
}

// backOff is how long to leave a busy peer alone: two ends that refuse each
// other must not come back at the same moment (RFC 7296 §2.25).
func (e *Env) backOff() time.Duration {
	var b [1]byte
	if _, err := io.ReadFull(e.Rand, b[:]); err != nil {
		return rekeyRetry
	}
	return 2*time.Second + time.Duration(b[0])*16*time.Millisecond
}
