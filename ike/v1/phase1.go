package v1

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

// phase1 is what is needed only until phase 1 is over. Main and aggressive mode
// say the same things in a different order.
type phase1 struct {
	known suite.V1Exchange // what the keys and hashes are made of
	offer wire.V1SA        // initiator: as sent
	ke    suite.KE
	ours  []byte // body of our ID payload
}

// Initiate starts phase 1, which brings up the child SA that was asked for; with
// a nil child it only makes a new ISAKMP SA for those that stand.
func Initiate(env *Env, now time.Time, conn *session.Connection, local, remote netip.AddrPort, child *session.Child, flow sadb.Flow) *SA {
	s := newSA(env, now, local, remote)
	s.initiator, s.conn = true, conn
	s.phase1 = &phase1{}
	if child != nil {
		s.Want(now, child, flow)
	}
	if err := s.begin(now); err != nil {
		s.fail(now, err.Error())
	}
	return s
}

func newSA(env *Env, now time.Time, local, remote netip.AddrPort) *SA {
	return &SA{env: env, local: local, remote: remote, began: now, created: now,
		vendors: map[wire.V1Vendor]bool{}, used: map[uint32]struct{}{}}
}

// begin sends the first message of the mode that the connection wants.
func (s *SA) begin(now time.Time) (err error) {
	if s.spiI, err = session.NewIKESPI(s.env.Rand); err != nil {
		return err
	}
	p := s.phase1
	p.known.SPIi = s.spiI
	offered := s.conn.IKE
	if s.conn.V1.Aggressive {
		// RFC 2409 §5.4: the key exchange comes with the offer, so that the group
		// cannot be negotiated.
		offered = suite.V1SameGroup(offered)
	}
	p.offer = suite.V1OfferIKE(offered, s.conn.V1.Auths(true)[0], ikeLife(s.conn))
	if len(p.offer.Proposals[0].Transforms) == 0 {
		return errors.New("no proposal of the connection can be had in IKEv1 (configuration key: ike)")
	}
	if p.known.SA, err = wire.V1Body(p.offer); err != nil {
		return err
	}
	s.move(Opening)
	if s.aggressive = s.conn.V1.Aggressive; s.aggressive {
		return s.beginAggressive(now, offered[0].Group)
	}
	s.beginMain(now)
	return nil
}

// ikeLife is the lifetime that phase 1 negotiates.
func ikeLife(conn *session.Connection) suite.V1Lifetime {
	if conn.Lifetime > 0 {
		return suite.V1Lifetime{Time: conn.Lifetime}
	}
	return suite.V1Lifetime{Time: session.DefaultIKELifetime}
}

// Respond answers the first message of a peer that opens an ISAKMP SA. It
// returns nil if the peer is refused.
func Respond(env *Env, now time.Time, d session.Datagram, m wire.V1Message) *SA {
	s := newSA(env, now, d.Local, d.Remote)
	s.spiI = m.Header.InitiatorSPI
	s.trace("in", m)
	offer, ok := wire.Find[wire.V1SA](m.Payloads)
	if !ok {
		s.stray(now, d, fmt.Errorf("%v without SA", m.Header.Exchange))
		return nil
	}
	s.hear(m)
	answer, ok := s.choose(now, m, offer)
	if !ok {
		s.refuseClear(now, wire.V1NotifyNoProposalChosen)
		return nil
	}
	var err error
	if s.spiR, err = session.NewIKESPI(env.Rand); err != nil {
		s.internal(err)
		return nil
	}
	s.phase1 = &phase1{known: suite.V1Exchange{SPIi: s.spiI, SPIr: s.spiR, SA: slices.Clone(m.Body(wire.PayloadV1SA))}}
	s.move(HalfOpen)
	s.expireAt = now.Add(halfOpenLife)
	if s.aggressive = m.Header.Exchange == wire.V1ExchangeAggressive; s.aggressive {
		err = s.answerAggressive(now, d, m, answer)
	} else {
		s.answerMain(now, d, answer)
	}
	if err != nil {
		s.stray(now, d, err)
		s.free(now)
		return nil
	}
	return s
}

// choose finds the first connection that the peer may mean, in the mode that it
// uses, and whose proposals fit. With main mode it says who it is much later.
func (s *SA) choose(now time.Time, m wire.V1Message, offer wire.V1SA) (wire.V1SA, bool) {
	aggressive := m.Header.Exchange == wire.V1ExchangeAggressive
	var first string
	var nearest *session.Connection
	for _, conn := range s.env.Host.Candidates(s.local.Addr(), s.remote.Addr()) {
		reason := ""
		chosen, proposal, err := suite.V1SelectIKE(conn.IKE, conn.V1.Auths(false), offer)
		switch {
		case conn.V1.User != "":
			reason = "peer begins, and we are its XAUTH client: only a client begins (configuration keys: local.auth, easyvpn)"
		case conn.V1.Aggressive != aggressive:
			reason = fmt.Sprintf("peer uses %v, we do not on this connection (configuration key: mode)", m.Header.Exchange)
		case err != nil:
			reason = err.Error() + " (configuration keys: ike, auth)"
		case aggressive && !s.meant(conn, m):
			reason = "peer's identity is another (configuration key: remote.id)"
		case len(s.candidates) == 0:
			s.suite = chosen
			s.candidates = append(s.candidates, conn)
			offer = wire.V1SA{Proposals: []wire.V1Proposal{proposal}}
		case slices.Contains(conn.IKE, s.suite.Proposal) && slices.Contains(conn.V1.Auths(false), s.suite.Auth):
			s.candidates = append(s.candidates, conn)
		}
		if first == "" && reason != "" {
			first, nearest = reason, conn
		}
	}
	if len(s.candidates) > 0 {
		return offer, true
	}
	var attrs []slog.Attr
	if nearest != nil {
		s.env.Host.Refused(now, nearest.Name, first)
		attrs = append(attrs, slog.String("conn", nearest.Name))
	}
	if first == "" {
		first = "no IKEv1 connection has this peer's address (configuration keys: remote.addresses, version)"
	}
	if s.env.Host.MayLog(now) {
		s.audit(slog.LevelWarn, "negotiation refused", append(attrs, slog.String("reason", first))...)
	}
	return wire.V1SA{}, false
}

// meant reports whether the identity in an aggressive first message is the one
// that a connection expects.
func (s *SA) meant(conn *session.Connection, m wire.V1Message) bool {
	id, ok := wire.Find[wire.V1ID](m.Payloads)
	return ok && (conn.Remote.ID.IsZero() || conn.Remote.ID.Equal(identityOf(id)))
}

// hear notes what the peer can do.
func (s *SA) hear(m wire.V1Message) {
	for _, p := range m.Payloads {
		if id, ok := p.(wire.V1VendorID); ok {
			if v, ok := id.Vendor(); ok {
				s.vendors[v] = true
			}
		}
	}
}

// announce says what we can do. A responder names only the NAT traversal that
// it takes: RFC 3947 §3.1.
func (s *SA) announce(xauth bool) []wire.Payload {
	list := []wire.V1Vendor{wire.V1VendorNATT, wire.V1VendorNATTDraft03, wire.V1VendorNATTDraft02LF, wire.V1VendorNATTDraft02}
	if !s.initiator {
		list = slices.DeleteFunc(list, func(v wire.V1Vendor) bool { return !s.vendors[v] })
		list = list[:min(len(list), 1)]
	}
	list = append(list, wire.V1VendorDPD, wire.V1VendorFragmentation)
	if xauth {
		list = append(list, wire.V1VendorXAuth, wire.V1VendorUnity)
	}
	var payloads []wire.Payload
	for _, v := range list {
		payloads = append(payloads, v.Payload())
	}
	return payloads
}

// exchangeKeys makes our key exchange and nonce.
func (s *SA) exchangeKeys(group wire.Group) (payloads []wire.Payload, err error) {
	p := s.phase1
	if p.ke, err = suite.GenerateKE(group, s.env.Rand); err != nil {
		return nil, err
	}
	nonce, err := s.env.newNonce()
	if err != nil {
		return nil, err
	}
	if s.initiator {
		p.known.PublicI, p.known.NonceI = p.ke.Public(), nonce
	} else {
		p.known.PublicR, p.known.NonceR = p.ke.Public(), nonce
	}
	return []wire.Payload{wire.V1KE{Data: p.ke.Public()}, wire.V1Nonce{Data: nonce}}, nil
}

// learn takes the peer's key exchange and nonce.
func (s *SA) learn(m wire.V1Message) {
	ke, _ := wire.Find[wire.V1KE](m.Payloads)
	nonce, _ := wire.Find[wire.V1Nonce](m.Payloads)
	p := s.phase1
	if s.initiator {
		p.known.PublicR, p.known.NonceR = slices.Clone(ke.Data), slices.Clone(nonce.Data)
	} else {
		p.known.PublicI, p.known.NonceI = slices.Clone(ke.Data), slices.Clone(nonce.Data)
	}
}

// agree makes the keys. In main mode nothing but the peer's address tells a
// responder which pre-shared key it is (RFC 2409 §5.4).
func (s *SA) agree() (err error) {
	p := s.phase1
	peer := p.known.PublicR
	if !s.initiator {
		peer = p.known.PublicI
	}
	if p.known.Shared, err = p.ke.Shared(peer); err != nil {
		return err
	}
	conn := s.conn
	if conn == nil {
		conn = s.candidates[0]
	}
	p.known.PSK = conn.PSK
	p.known.SPIr = s.spiR
	if s.keys, err = suite.V1DeriveIKE(s.suite.Proposal, s.suite.Auth, p.known); err != nil {
		return err
	}
	s.chain, err = suite.NewV1Chain(s.suite.Proposal, s.keys, p.known.PublicI, p.known.PublicR)
	return err
}

// has refuses a message in which a payload is missing.
func has(types ...wire.PayloadType) func(m wire.V1Message) error {
	return func(m wire.V1Message) error {
		for _, t := range types {
			if !slices.ContainsFunc(m.Payloads, func(p wire.Payload) bool { return p.PayloadType() == t }) {
				return fmt.Errorf("%v without %v", m.Header.Exchange, t)
			}
		}
		return nil
	}
}

// identify makes our ID payload.
func (s *SA) identify(conn *session.Connection) (wire.V1ID, error) {
	id := wire.V1ID{Type: wire.IDType(conn.Local.ID.Type), Data: conn.Local.ID.Data}
	var err error
	s.phase1.ours, err = wire.V1Body(id)
	return id, err
}

func identityOf(id wire.V1ID) session.Identity {
	return session.Identity{Type: uint8(id.Type), Data: slices.Clone(id.Data)}
}

// prove makes the payloads by which we show who we are: HASH, or CERT and SIG.
func (s *SA) prove(conn *session.Connection) ([]wire.Payload, error) {
	hash, err := suite.V1Hash(s.suite.Proposal.PRF, s.keys.SKEYID, s.phase1.known, s.initiator, s.phase1.ours)
	if err != nil || !s.suite.Auth.Signs(s.initiator) {
		return []wire.Payload{wire.V1Hash{Data: hash}}, err
	}
	return s.sign(conn, hash)
}

// proves checks the peer's proof for its identity, whose body is given.
func (s *SA) proves(now time.Time, m wire.V1Message, id []byte) error {
	want, err := suite.V1Hash(s.suite.Proposal.PRF, s.keys.SKEYID, s.phase1.known, !s.initiator, id)
	if err != nil {
		return err
	}
	if !s.suite.Auth.Signs(!s.initiator) {
		got, ok := wire.Find[wire.V1Hash](m.Payloads)
		if !ok || !hmac.Equal(got.Data, want) {
			return errors.New("peer's HASH does not verify: the pre-shared keys differ (configuration key: psk)")
		}
		return nil
	}
	return s.verifySignature(now, m, id, want)
}

// possible are the connections that the peer may mean.
func (s *SA) possible() []*session.Connection {
	if s.conn != nil {
		return []*session.Connection{s.conn}
	}
	return s.candidates
}

// settle finds the connection of a peer that proved who it is, or says what is
// wrong.
func (s *SA) settle(id session.Identity) string {
	var best string
	for _, conn := range s.possible() {
		switch {
		case !conn.Remote.ID.IsZero() && !conn.Remote.ID.Equal(id):
			if best == "" {
				best = fmt.Sprintf("peer says it is %v, we expect %v (configuration key: remote.id)", id, conn.Remote.ID)
			}
		case s.suite.Auth.PSK() && !slices.Equal(conn.PSK, session.Secret(s.phase1.known.PSK)):
		default:
			s.conn, s.peerID = conn, id
			return ""
		}
	}
	if best == "" {
		best = fmt.Sprintf("no connection accepts peer %v with this key (configuration keys: remote.id, psk)", id)
	}
	return best
}

// refuse ends phase 1 with a peer that proved to be somebody else than expected.
func (s *SA) refuse(now time.Time, t wire.V1NotifyType, reason string) {
	s.notify(now, wire.V1Notify{DOI: wire.DOIIPsec, Protocol: wire.ProtocolIKE, SPI: s.cookies(), Type: t})
	if s.initiator {
		s.fail(now, reason)
		return
	}
	s.audit(slog.LevelWarn, "negotiation refused", slog.String("reason", reason))
	if len(s.candidates) > 0 {
		s.env.Host.Refused(now, s.candidates[0].Name, reason)
	}
	s.free(now)
}

// complete ends phase 1. What follows is up to the way of authentication.
func (s *SA) complete(now time.Time, m wire.V1Message) {
	s.anew = s.initialContact(m)
	s.phase1.known.Shared.Wipe()
	s.phase1, s.candidates, s.expireAt = nil, nil, time.Time{}
	switch {
	case s.suite.Auth.XAuth():
		s.move(Authenticating)
		s.expireAt = now.Add(halfOpenLife)
		if !s.initiator {
			s.askUser(now)
		}
	case s.wantsConfig():
		s.move(Authenticating)
		s.expireAt = now.Add(halfOpenLife)
		s.seekConfig(now)
	default:
		s.establish(now)
	}
}

// establish makes the ISAKMP SA stand, and lets it take over the children of
// those with the same peer.
func (s *SA) establish(now time.Time) {
	if s.anew {
		s.forgetOthers(now)
	}
	s.expireAt = time.Time{}
	s.move(Established)
	s.watchPeer(now)
	life := ikeLife(s.conn).Time
	offered := s.suite.Lifetime.Time
	if offered > 0 {
		life = min(life, offered)
	}
	s.live(now, life)
	s.audit(slog.LevelInfo, "ISAKMP SA established", slog.String("peer_id", s.peerID.String()),
		slog.String("suite", s.suite.Proposal.String()), slog.String("auth", s.suite.Auth.String()),
		slog.Bool("nat_local", s.natLocal), slog.Bool("nat_remote", s.natRemote),
		slog.String("spi_i", s.spiI.String()), slog.String("spi_r", s.spiR.String()))
	if !s.initiator && life != offered {
		s.notify(now, lifeNotify(1, wire.ProtocolIKE, s.cookies(), suite.V1Lifetime{Time: life}))
	}
	s.adopt(now)
	s.silent(now)
}

// live starts the lifetime of the ISAKMP SA.
func (s *SA) live(now time.Time, hard time.Duration) {
	soft, err := session.Soft(s.env.Rand, sadb.Lifetime{Time: hard})
	if err != nil {
		s.internal(err)
	}
	s.created, s.softAt, s.hardAt = now, now.Add(soft.Time), now.Add(hard)
}

// proposals writes a list of them for the operator.
func proposals(list []suite.Proposal) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}
