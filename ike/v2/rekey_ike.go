package v2

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// rekeyIKE asks for a successor of this IKE SA (RFC 7296 §1.3.2, §2.18).
func (s *SA) rekeyIKE(now time.Time) {
	s.beginRekey(now, s.suite.Group, nil)
}

// rekeyProposals are without additional key exchanges: the new keys come from
// SK_d as well, which holds those that were made (RFC 7296 §2.18).
func (s *SA) rekeyProposals() []suite.Proposal {
	var list []suite.Proposal
	for _, p := range s.conn.IKE {
		if p = p.Classical(); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

func (s *SA) beginRekey(now time.Time, group wire.Group, tried []wire.Group) {
	spi, err := session.NewIKESPI(s.env.Rand)
	if err != nil {
		s.internal(err)
		return
	}
	nonce, err := s.env.newNonce()
	if err != nil {
		s.internal(err)
		return
	}
	ke, err := suite.GenerateKE(group, s.env.Rand)
	if err != nil {
		s.internal(err)
		return
	}
	tried = append(tried, group)
	s.rekeying, s.heir = true, spi
	payloads := []wire.Payload{
		suite.Offer(s.rekeyProposals(), binary.BigEndian.AppendUint64(nil, uint64(spi))),
		wire.Nonce{Data: nonce},
		wire.KE{Group: group, Data: ke.Public()},
	}
	s.send(now, wire.ExchangeCreateChildSA, payloads, func(now time.Time, m wire.Message) {
		s.rekeying = false
		s.rekeyAnswered(now, m, spi, nonce, ke, tried)
	})
}

// rekeyAnswered makes the successor stand and deletes this IKE SA.
func (s *SA) rekeyAnswered(now time.Time, m wire.Message, spi wire.SPI, nonce []byte, ke suite.KE, tried []wire.Group) {
	if n, ok := refusal(m.Payloads); ok {
		group, err := suite.InvalidKEGroup(n)
		offered := slices.ContainsFunc(s.conn.IKE, func(p suite.Proposal) bool { return p.Group == group })
		if n.Type == wire.NotifyInvalidKEPayload && err == nil && offered && !slices.Contains(tried, group) {
			s.beginRekey(now, group, tried)
			return
		}
		if s.yield(now) {
			return
		}
		if n.Type == wire.NotifyTemporaryFailure {
			s.softAt = sooner(now, s.env.backOff(), s.hardAt)
			return
		}
		s.rekeyFailed(now, "peer refuses ("+n.Type.String()+"): we offered ike: "+proposals(s.conn.IKE))
		return
	}
	sa, okSA := wire.Find[wire.SA](m.Payloads)
	theirKE, okKE := wire.Find[wire.KE](m.Payloads)
	theirNonce, okNonce := wire.Find[wire.Nonce](m.Payloads)
	if !okSA || !okKE || !okNonce {
		s.rekeyFailed(now, "peer answers without SA, KE or Nonce")
		return
	}
	chosen, answer, err := suite.Confirm(s.rekeyProposals(), sa)
	peer, ok := parseIKESPI(answer.SPI)
	if err != nil || !ok || theirKE.Group != chosen.Group || ke.Group() != chosen.Group {
		s.rekeyFailed(now, "peer's choice is not one of ours")
		return
	}
	next, err := s.successor(now, true, chosen, spi, peer, ke, theirKE.Data, nonce, theirNonce.Data)
	if err != nil {
		s.rekeyFailed(now, err.Error())
		return
	}
	s.choose(now, next)
}

// rekeyFailed leaves things as they are and tries again later.
func (s *SA) rekeyFailed(now time.Time, reason string) {
	if s.yield(now) {
		return
	}
	s.audit(slog.LevelWarn, "IKE SA rekey failed", slog.String("reason", reason))
	s.softAt = sooner(now, rekeyRetry, s.hardAt)
}

// answerRekeyIKE grants a successor of this IKE SA. While another exchange of
// ours is under way, which may be about a child SA, the peer is to come back later;
// while we ask for a successor ourselves it is answered as usual, and which of
// the two stays is settled when our own answer comes (RFC 7296 §2.25.2, §2.8.2).
func (s *SA) answerRekeyIKE(now time.Time, d session.Datagram, m wire.Message, sa wire.SA, nonce []byte) {
	if s.request != nil && !s.rekeying && !s.request.empty {
		s.respond(d, m, wire.Notify{Type: wire.NotifyTemporaryFailure})
		return
	}
	chosen, offered, err := suite.Select(s.rekeyProposals(), sa.Proposals)
	if err != nil {
		s.audit(slog.LevelWarn, "IKE SA rekey refused", slog.String("reason", err.Error()+" (configuration key: ike)"))
		s.respond(d, m, wire.Notify{Type: wire.NotifyNoProposalChosen})
		return
	}
	theirKE, ok := wire.Find[wire.KE](m.Payloads)
	if !ok || theirKE.Group != chosen.Group {
		s.respond(d, m, suite.InvalidKE(chosen.Group))
		return
	}
	next, payloads, refused := s.grantRekey(now, chosen, offered, theirKE, nonce)
	if refused != nil {
		s.respond(d, m, *refused)
		return
	}
	s.respond(d, m, payloads...)
	if s.rekeying {
		s.compete(now, next)
		return
	}
	s.handOver(now, next)
	s.expireAt = now.Add(replacedLife)
}

func (s *SA) grantRekey(now time.Time, chosen suite.Proposal, offered wire.Proposal, theirs wire.KE, nonce []byte) (*SA, []wire.Payload, *wire.Notify) {
	peer, ok := parseIKESPI(offered.SPI)
	if !ok {
		return nil, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	spi, err := session.NewIKESPI(s.env.Rand)
	if err != nil {
		return nil, nil, s.busy(err)
	}
	ours, err := s.env.newNonce()
	if err != nil {
		return nil, nil, s.busy(err)
	}
	ke, err := suite.GenerateKE(chosen.Group, s.env.Rand)
	if err != nil {
		return nil, nil, s.busy(err)
	}
	next, err := s.successor(now, false, chosen, spi, peer, ke, theirs.Data, nonce, ours)
	if err != nil {
		s.audit(slog.LevelWarn, "IKE SA rekey refused", slog.String("reason", err.Error()))
		return nil, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	return next, []wire.Payload{
		suite.Answer(chosen, offered, binary.BigEndian.AppendUint64(nil, uint64(spi))),
		wire.Nonce{Data: ours},
		wire.KE{Group: ke.Group(), Data: ke.Public()},
	}, nil
}

// busy reports a fault of ours, and asks the peer to come back later.
func (s *SA) busy(err error) *wire.Notify {
	s.internal(err)
	return &wire.Notify{Type: wire.NotifyTemporaryFailure}
}

// successor makes the IKE SA that follows this one. Who asked for it is its
// original initiator; its message ids start at 0 (RFC 7296 §2.18).
func (s *SA) successor(now time.Time, initiator bool, chosen suite.Proposal, ours, theirs wire.SPI,
	ke suite.KE, peer []byte, nonceI, nonceR []byte) (*SA, error) {
	next := &SA{
		env: s.env, initiator: initiator, conn: s.conn, peerID: s.peerID,
		local: s.local, remote: s.remote, natLocal: s.natLocal, natRemote: s.natRemote, natFaked: s.natFaked,
		mobility: s.mobility, spiI: ours, spiR: theirs,
	}
	next.mobility.seen = nil // hashes hold the SPIs
	next.lowest = slices.MinFunc([][]byte{slices.Clone(nonceI), slices.Clone(nonceR)}, bytes.Compare)
	if !initiator {
		next.spiI, next.spiR = theirs, ours
	}
	shared, err := ke.Shared(peer)
	if err != nil {
		return nil, err
	}
	defer shared.Wipe()
	keys, err := suite.RederiveIKE(chosen, s.suite.PRF, s.keys.D, shared, nonceI, nonceR, next.spiI, next.spiR)
	if err != nil {
		return nil, err
	}
	return next, next.useKeys(chosen, keys)
}

// handOver moves everything that lives on to the successor.
func (s *SA) handOver(now time.Time, next *SA) {
	s.rival, next.elder = nil, nil
	next.children, s.children = s.children, nil
	next.inside, s.inside = s.inside, inside{}
	next.tasks, s.tasks = slices.DeleteFunc(s.tasks, func(t task) bool { return t.kind == taskRekeyIKE }), nil
	for _, c := range next.children {
		s.env.Host.Own(c.In, next)
	}
	next.retireAt, next.yields = s.retireAt, s.yields
	next.reauthAt, next.authEnds = s.reauthAt, s.authEnds
	s.still()
	s.move(Replaced)
	known := next.state == Established // it competed
	if !known {
		next.move(Established)
	}
	next.live(now, "IKE SA rekeyed")
	if len(s.env.CrashSecret) > 0 {
		next.push(now, task{kind: taskCrashToken})
	}
	next.pump(now)
	s.env.Host.Adopt(now, next)
}

// parseIKESPI reads the SPI of an IKE proposal in a rekey.
func parseIKESPI(b []byte) (wire.SPI, bool) {
	if len(b) != 8 {
		return 0, false
	}
	spi := wire.SPI(binary.BigEndian.Uint64(b))
	return spi, spi != 0
}
