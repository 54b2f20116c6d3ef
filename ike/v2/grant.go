package v2

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

// maxChildren bounds the child SAs of one IKE SA that a peer can make us hold.
const maxChildren = 256

// grant is what a peer asks for.
type grant struct {
	payloads []wire.Payload
	first    bool // in IKE_AUTH
	replaces *child
	nonces   [][]byte
}

// grantFirst decides on the child SA that the peer asks for in IKE_AUTH and installs
// its inbound half. The payloads are the answer, in any case.
func (s *SA) grantFirst(now time.Time, g grant) (*child, []wire.Payload) {
	config, refused := s.configReply(g.payloads)
	if refused != nil {
		s.refuseChild(now, "", "no inside address is free (configuration key: pool.addresses)")
		return nil, []wire.Payload{*refused}
	}
	if s.wantsNoChild(g.payloads) {
		return nil, config
	}
	t, answer, refused := s.decide(now, g)
	if refused != nil {
		return nil, append(config, *refused)
	}
	c, err := s.grantChild(now, t)
	if err != nil {
		return nil, []wire.Payload{*s.busy(err)}
	}
	return c, append(config, answer...)
}

// grantChild installs the inbound half of what was decided on.
func (s *SA) grantChild(now time.Time, t terms) (*child, error) {
	err := s.deriveChild(&t)
	var c *child
	if err == nil {
		c, err = s.install(now, t)
	}
	if err != nil {
		s.env.SPIs.Free(t.In)
	}
	return c, err
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
	o := s.offer(g.payloads, fromWire(tsr.Selectors), fromWire(tsi.Selectors))
	conf, local, remote := s.match(o, g.replaces)
	if conf == nil {
		return terms{}, nil, s.refuseSelectors(now, o)
	}
	if conf.SinglePair {
		if local, remote = o.pair(local, remote, g.replaces); local == nil {
			return terms{}, nil, &wire.Notify{Type: wire.NotifySinglePairRequired}
		}
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
	t, answer, refused := s.compose(g, conf, chosen, offered, local, remote)
	if refused != nil {
		return terms{}, nil, refused
	}
	return t, append(answer, s.answerSelectors(o, conf, local, remote, g.replaces)...), nil
}

// compose makes the key exchange, the SPI and the answer, but for its selectors.
func (s *SA) compose(g grant, conf *session.Child, chosen suite.Proposal, offered wire.Proposal, local, remote []sadb.Selector) (terms, []wire.Payload, *wire.Notify) {
	out, ok := session.ParseSPI(offered.SPI)
	if !ok {
		return terms{}, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	ke, shared, refused := s.exchangeKeys(chosen, g.payloads)
	if refused != nil {
		return terms{}, nil, refused
	}
	in, err := s.env.SPIs.Allocate(s.conn.Owner())
	if err != nil {
		return terms{}, nil, s.busy(err)
	}
	t := terms{replaces: g.replaces, nonces: g.nonces, shared: []suite.Secret{shared},
		ChildTerms: session.ChildTerms{Conf: conf, Suite: chosen, In: in, Out: out, LocalTS: local, RemoteTS: remote}}
	var answer []wire.Payload
	if conf.Mode == sadb.Transport {
		answer = append(answer, wire.Notify{Type: wire.NotifyUseTransportMode})
	}
	answer = append(answer, suite.Answer(chosen, offered, session.SPIBytes(in)))
	if !g.first {
		answer = append(answer, wire.Nonce{Data: g.nonces[1]})
	}
	if ke != nil {
		answer = append(answer, wire.KE{Group: ke.Group(), Data: ke.Public()})
	}
	return t, answer, nil
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
// is replaced, else the one that carries the packet at the peer, whose selectors
// come first (RFC 7296 §2.9), else one that they name exactly, else the first
// that has anything in common with them.
func (s *SA) match(o offer, replaces *child) (*session.Child, []sadb.Selector, []sadb.Selector) {
	var found *session.Child
	var foundLocal, foundRemote []sadb.Selector
	best := 0
	for i := range s.conn.Children {
		conf := &s.conn.Children[i]
		local, remote, ok := o.ends(conf)
		l, r := narrow(local, s.localOf(conf)), narrow(remote, s.remoteOf(conf))
		if !ok || len(l) == 0 || len(r) == 0 || len(l) > wire.MaxSelectors || len(r) > wire.MaxSelectors {
			continue
		}
		fits := 1
		if slices.Equal(l, s.localOf(conf)) && slices.Equal(r, s.remoteOf(conf)) {
			fits++
		}
		if within(local[:1], s.localOf(conf)) && within(remote[:1], s.remoteOf(conf)) {
			fits += 2
		}
		if replaces != nil && replaces.Conf == conf {
			fits += 4
		}
		if fits > best {
			found, foundLocal, foundRemote, best = conf, l, r, fits
		}
	}
	return found, foundLocal, foundRemote
}

// refuseSelectors says what was offered and what we accept.
func (s *SA) refuseSelectors(now time.Time, o offer) *wire.Notify {
	if n := s.refuseMode(now, o); n != nil {
		return n
	}
	accepted := ""
	for i, conf := range s.conn.Children {
		if i > 0 {
			accepted += ", "
		}
		accepted += fmt.Sprintf("%s: %s to %s", conf.Name, session.FormatSelectors(s.localOf(&conf)), session.FormatSelectors(s.remoteOf(&conf)))
	}
	s.refuseChild(now, "", fmt.Sprintf("no child has these selectors: peer offered local %s to remote %s; we accept %s (configuration keys: children.local, children.remote)",
		session.FormatSelectors(o.local), session.FormatSelectors(o.remote), accepted))
	return &wire.Notify{Type: wire.NotifyTSUnacceptable}
}

func (s *SA) refuseChild(now time.Time, child, reason string) {
	s.audit(slog.LevelWarn, "child SA refused", slog.String("child", child), slog.String("reason", reason))
	s.env.Host.Refused(now, s.conn.Name, reason)
}
