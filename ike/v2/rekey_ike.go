package v2

import (
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

// succession is a successor of the IKE SA that an exchange agrees on. Who asked for
// it is its original initiator.
type succession struct {
	initiator      bool
	suite          suite.Proposal
	ours, theirs   wire.SPI
	nonceI, nonceR []byte
	shared         []suite.Secret
}

func (n *succession) nonces() [][]byte { return [][]byte{n.nonceI, n.nonceR} }

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
		suite.Offer(s.conn.IKE, binary.BigEndian.AppendUint64(nil, uint64(spi))),
		wire.Nonce{Data: nonce},
		wire.KE{Group: group, Data: ke.Public()},
	}
	s.send(now, wire.ExchangeCreateChildSA, payloads, func(now time.Time, m wire.Message) {
		s.rekeying = false
		if n, ok := refusal(m.Payloads); ok {
			s.rekeyRefused(now, n, tried)
			return
		}
		s.rekeyAnswered(now, m, succession{initiator: true, ours: spi, nonceI: nonce}, ke)
	})
}

// rekeyRefused handles an error in answer to what we asked for.
func (s *SA) rekeyRefused(now time.Time, n wire.Notify, tried []wire.Group) {
	group, err := suite.InvalidKEGroup(n)
	offered := slices.ContainsFunc(s.conn.IKE, func(p suite.Proposal) bool { return p.Group == group })
	if n.Type == wire.NotifyInvalidKEPayload && err == nil && offered && !slices.Contains(tried, group) {
		s.beginRekey(now, group, tried)
		return
	}
	if n.Type == wire.NotifyTemporaryFailure {
		s.postpone(now)
		return
	}
	s.rekeyFailed(now, "peer refuses ("+n.Type.String()+"): we offered ike: "+proposals(s.conn.IKE))
}

// rekeyAnswered goes on with the additional key exchanges, if there are any.
func (s *SA) rekeyAnswered(now time.Time, m wire.Message, n succession, ke suite.KE) {
	sa, okSA := wire.Find[wire.SA](m.Payloads)
	theirKE, okKE := wire.Find[wire.KE](m.Payloads)
	theirNonce, okNonce := wire.Find[wire.Nonce](m.Payloads)
	if !okSA || !okKE || !okNonce {
		s.rekeyFailed(now, "peer answers without SA, KE or Nonce")
		return
	}
	chosen, answer, err := suite.Confirm(s.conn.IKE, sa)
	peer, ok := parseIKESPI(answer.SPI)
	if err != nil || !ok || theirKE.Group != chosen.Group || ke.Group() != chosen.Group {
		s.rekeyFailed(now, "peer's choice is not one of ours")
		return
	}
	shared, err := ke.Shared(theirKE.Data)
	if err != nil {
		s.rekeyFailed(now, err.Error())
		return
	}
	n.suite, n.theirs, n.nonceR, n.shared = chosen, peer, slices.Clone(theirNonce.Data), []suite.Secret{shared}
	if len(chosen.AdditionalKEs()) > 0 {
		s.followIKE(now, n, m)
		return
	}
	s.concludeIKE(now, n)
}

// followIKE makes the additional key exchanges of our successor, unless that of the
// peer stays (RFC 9370 §2.2.4).
func (s *SA) followIKE(now time.Time, n succession, m wire.Message) {
	if s.outbid(lowest(n.nonces())) {
		s.audit(slog.LevelInfo, "rekey collision: the peer's IKE SA stays")
		s.postpone(now)
		return
	}
	if s.void(func(o *series) bool { return o.ike }) {
		s.audit(slog.LevelInfo, "rekey collision: our IKE SA stays")
	}
	s.rekeying = true
	s.followUp(now, rounds{n.suite.AdditionalKEs(), n.shared}, m, func(now time.Time, shared []suite.Secret) {
		s.rekeying, n.shared = false, shared
		s.concludeIKE(now, n)
	}, func(now time.Time, refused wire.NotifyType, reason string) {
		s.rekeying = false
		if s.passing(now, refused) {
			s.postpone(now)
			return
		}
		s.rekeyFailed(now, reason)
	})
}

// concludeIKE makes our successor stand and deletes this IKE SA.
func (s *SA) concludeIKE(now time.Time, n succession) {
	next, err := s.successor(n)
	if err != nil {
		s.rekeyFailed(now, err.Error())
		return
	}
	s.choose(now, next)
}

// postpone lets the peer's successor take over, or tries again when the peer has
// had time to do what it is busy with.
func (s *SA) postpone(now time.Time) {
	if !s.yield(now) && s.state == Established {
		s.softAt = sooner(now, s.env.backOff(), s.hardAt)
	}
}

// rekeyFailed leaves things as they are and tries again later.
func (s *SA) rekeyFailed(now time.Time, reason string) {
	if s.yield(now) || s.state != Established {
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
	if s.request != nil && !s.rekeying && !s.request.empty || s.rekeying && s.followsUp() {
		s.respond(d, m, wire.Notify{Type: wire.NotifyTemporaryFailure})
		return
	}
	chosen, offered, err := suite.Select(s.conn.IKE, sa.Proposals)
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
	n, payloads, refused := s.grantRekey(chosen, offered, theirKE, nonce)
	if refused != nil {
		s.respond(d, m, *refused)
		return
	}
	if groups := chosen.AdditionalKEs(); len(groups) > 0 {
		s.await(now, d, m, &series{rounds: rounds{groups, n.shared}, nonces: n.nonces(), ike: true,
			finish: func(now time.Time, shared []suite.Secret) (func(), error) {
				n.shared = shared
				next, err := s.successor(n)
				return func() { s.succeedBy(now, next) }, err
			}}, payloads)
		return
	}
	next, err := s.successor(n)
	if err != nil {
		s.respond(d, m, *s.busy(err))
		return
	}
	s.respond(d, m, payloads...)
	s.succeedBy(now, next)
}

// succeedBy takes the successor that the peer asked for.
func (s *SA) succeedBy(now time.Time, next *SA) {
	if s.rekeying {
		s.compete(now, next)
		return
	}
	s.handOver(now, next)
	s.expireAt = now.Add(replacedLife)
}

func (s *SA) grantRekey(chosen suite.Proposal, offered wire.Proposal, theirs wire.KE, nonce []byte) (n succession, payloads []wire.Payload, refused *wire.Notify) {
	peer, ok := parseIKESPI(offered.SPI)
	if !ok {
		return n, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	spi, err := session.NewIKESPI(s.env.Rand)
	if err != nil {
		return n, nil, s.busy(err)
	}
	ours, err := s.env.newNonce()
	if err != nil {
		return n, nil, s.busy(err)
	}
	public, shared, err := suite.RespondKE(chosen.Group, theirs.Data, s.env.Rand)
	if err != nil {
		s.audit(slog.LevelWarn, "IKE SA rekey refused", slog.String("reason", err.Error()))
		return n, nil, &wire.Notify{Type: wire.NotifyInvalidSyntax}
	}
	n = succession{suite: chosen, ours: spi, theirs: peer, nonceI: slices.Clone(nonce), nonceR: ours, shared: []suite.Secret{shared}}
	return n, []wire.Payload{
		suite.Answer(chosen, offered, binary.BigEndian.AppendUint64(nil, uint64(spi))),
		wire.Nonce{Data: ours},
		wire.KE{Group: chosen.Group, Data: public},
	}, nil
}

// busy reports a fault of ours, and asks the peer to come back later.
func (s *SA) busy(err error) *wire.Notify {
	s.internal(err)
	return &wire.Notify{Type: wire.NotifyTemporaryFailure}
}

// successor makes the IKE SA that follows this one; its message ids start at 0
// (RFC 7296 §2.18).
func (s *SA) successor(n succession) (*SA, error) {
	next := &SA{
		env: s.env, initiator: n.initiator, conn: s.conn, peerID: s.peerID,
		local: s.local, remote: s.remote, natLocal: s.natLocal, natRemote: s.natRemote, natFaked: s.natFaked,
		mobility: s.mobility, spiI: n.ours, spiR: n.theirs, lowest: slices.Clone(lowest(n.nonces())),
		client: s.client, follows: s.follows,
		fragments: fragments{on: s.fragments.on}, // announced once and for all, in IKE_SA_INIT
	}
	next.mobility.seen = nil // hashes hold the SPIs
	if !n.initiator {
		next.spiI, next.spiR = n.theirs, n.ours
	}
	keys, err := suite.RederiveIKE(n.suite, s.suite.PRF, s.keys.D, n.shared[0], n.nonceI, n.nonceR, next.spiI, next.spiR, n.shared[1:]...)
	for _, secret := range n.shared {
		secret.Wipe()
	}
	if err != nil {
		return nil, err
	}
	return next, next.useKeys(n.suite, keys)
}

// handOver moves everything that lives on to the successor.
func (s *SA) handOver(now time.Time, next *SA) {
	s.rival, next.elder = nil, nil
	s.voidAll()
	next.children, s.children = s.children, nil
	next.inside, s.inside = s.inside, inside{}
	next.tasks, s.tasks = slices.DeleteFunc(s.tasks, func(t task) bool { return t.kind == taskRekeyIKE }), nil
	for _, c := range next.children {
		s.env.Host.Own(c.In, next)
	}
	next.retireAt, next.yields = s.retireAt, s.yields
	next.reauthAt, next.authEnds, next.awayAt = s.reauthAt, s.authEnds, s.awayAt
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
