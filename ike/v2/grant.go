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
