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

// sendAuth proves who we are and asks for the first child SA (RFC 7296 §1.2).
func (s *SA) sendAuth(now time.Time) {
	if reason := s.preparePPK(); reason != "" {
		s.fail(now, reason)
		return
	}
	id := identity(s.conn.Local.ID)
	proof, err := s.prove(s.conn, id)
	if err != nil {
		s.fail(now, err.Error())
		return
	}
	s.move(AuthSent)
	payloads := []wire.Payload{wire.IDi{Identity: id}}
	if s.env.Host.Alone(s) {
		payloads = append(payloads, wire.Notify{Type: wire.NotifyInitialContact})
	}
	payloads = append(payloads, proof.certs...)
	payloads = append(payloads, certificateRequest([]*session.Connection{s.conn})...)
	if !s.conn.Remote.ID.IsZero() {
		payloads = append(payloads, wire.IDr{Identity: identity(s.conn.Remote.ID)})
	}
	payloads = append(append(payloads, proof.auth), s.mobikePayloads()...)
	payloads = append(payloads, s.crashToken()...)
	payloads = append(payloads, proof.ppk...)
	a, ask, err := s.firstChild()
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.asking = a
	s.send(now, wire.ExchangeIKEAuth, append(payloads, ask...), s.authAnswered)
}

// firstChild asks for the child SA of IKE_AUTH: it has no key exchange of its
// own and takes the nonces of IKE_SA_INIT.
func (s *SA) firstChild() (*attempt, []wire.Payload, error) {
	a := &attempt{conf: s.handshake.child, flow: s.handshake.flow, first: true, nonce: s.handshake.nonceI,
		childless: s.conn.Childless && s.handshake.childless}
	payloads, err := s.ask(a)
	return a, payloads, err
}

// authAnswered checks the responder's proof. Without one, or with a wrong one,
// there is no IKE SA.
func (s *SA) authAnswered(now time.Time, m wire.Message) {
	id, okID := wire.Find[wire.IDr](m.Payloads)
	auth, okAuth := wire.Find[wire.AUTH](m.Payloads)
	if !okID || !okAuth {
		s.fail(now, s.authRefused(m))
		return
	}
	if reason := s.confirmPPK(m); reason != "" {
		s.refuseAnswer(now, reason)
		return
	}
	p := s.shown(m, id.Identity, auth)
	reason := s.distrust(now, s.conn, &p)
	if reason != "" {
		s.refuseAnswer(now, reason)
		return
	}
	s.unrevoked(now, s.conn, p.chain, func(now time.Time, reason string) {
		if reason != "" {
			s.refuseAnswer(now, reason)
			return
		}
		s.accepted(now, m, p)
	})
}

// refuseAnswer: RFC 7296 §2.21.2, the initiator tells so in an INFORMATIONAL of
// its own.
func (s *SA) refuseAnswer(now time.Time, reason string) {
	s.sendOnce(wire.ExchangeInformational, wire.Notify{Type: wire.NotifyAuthenticationFailed})
	s.fail(now, reason)
}

// accepted takes the child SA, now that the responder has proved who it is.
func (s *SA) accepted(now time.Time, m wire.Message, p proof) {
	a := s.asking
	nonces := [][]byte{s.handshake.nonceI, s.handshake.nonceR}
	s.asking = nil
	if s.redirectedKnown(now, a, m) {
		return
	}
	s.learnMobike(now, m.Payloads)
	s.learnCrashToken(m.Payloads)
	s.establish(now, session.Identity{Type: uint8(p.id.Type), Data: p.id.Data})
	s.heedAuthLifetime(now, m.Payloads)
	s.childAnswered(now, a, m, nonces)
}

// authRefused says what the peer did not like.
func (s *SA) authRefused(m wire.Message) string {
	n, ok := refusal(m.Payloads)
	switch {
	case !ok:
		return "peer answers IKE_AUTH without IDr or AUTH"
	case n.Type == wire.NotifyAuthenticationFailed:
		return fmt.Sprintf("peer refuses our authentication (%v): compare %s, local.id (%v) and remote.id (%v) on both ends",
			n.Type, authKeys(s.conn), s.conn.Local.ID, s.conn.Remote.ID)
	}
	return fmt.Sprintf("peer refuses IKE_AUTH (%v)", n.Type)
}

// octets are what AUTH of the initiator or of the responder covers.
func (s *SA) octets(keys *suite.IKEKeys, initiator bool, id wire.Identity) ([]byte, error) {
	h := s.handshake
	if initiator {
		return suite.SignedOctets(s.suite.PRF, h.request, h.nonceR, keys.PI, id, h.intAuth.Octets(h.authID)...)
	}
	return suite.SignedOctets(s.suite.PRF, h.response, h.nonceI, keys.PR, id, h.intAuth.Octets(h.authID)...)
}

func identity(id session.Identity) wire.Identity {
	return wire.Identity{Type: wire.IDType(id.Type), Data: id.Data}
}

// establish makes the IKE SA stand.
func (s *SA) establish(now time.Time, peer session.Identity) {
	s.peerID = session.Identity{Type: peer.Type, Data: slices.Clone(peer.Data)}
	s.handshake, s.candidates = nil, nil
	s.expireAt = time.Time{}
	s.move(Established)
	s.limitAuth(now)
	s.live(now, "IKE SA established")
	s.env.Host.Established(now, s)
}

// live starts the lifetime of an IKE SA that stands.
func (s *SA) live(now time.Time, event string) {
	hard := s.conn.Lifetime
	if hard == 0 {
		hard = session.DefaultIKELifetime
	}
	soft, err := session.Soft(s.env.Rand, sadb.Lifetime{Time: hard})
	if err != nil {
		s.internal(err)
	}
	s.created, s.softAt, s.hardAt = now, now.Add(soft.Time), now.Add(hard)
	s.dpd = session.NewLiveness(s.conn.DPD, now)
	s.quiet(now)
	s.planProbe(now)
	s.audit(slog.LevelInfo, event, slog.String("peer_id", s.peerID.String()),
		slog.String("suite", s.suite.String()), slog.Bool("nat_local", s.natLocal), slog.Bool("nat_remote", s.natRemote),
		slog.String("spi_i", s.spiI.String()), slog.String("spi_r", s.spiR.String()))
}

// answerAuth checks the initiator's proof and answers with ours and the first
// child SA. One that sends no proof at all asks for EAP (RFC 7296 §2.16).
func (s *SA) answerAuth(now time.Time, d session.Datagram, m wire.Message) {
	if s.handshake.eap != nil {
		s.answerEAP(now, d, m)
		return
	}
	id, okID := wire.Find[wire.IDi](m.Payloads)
	auth, okAuth := wire.Find[wire.AUTH](m.Payloads)
	if !okID {
		s.refuseAuth(now, d, m, "peer sends IKE_AUTH without IDi")
		return
	}
	if !okAuth {
		s.beginEAP(now, d, m, id.Identity)
		return
	}
	p := s.shown(m, id.Identity, auth)
	conn, reason := s.identify(m, id.Identity, func(conn *session.Connection) string {
		return s.verify(now, conn, &p, m)
	})
	if conn == nil {
		s.refuseAuth(now, d, m, reason)
		return
	}
	s.unrevoked(now, conn, p.chain, func(now time.Time, reason string) {
		s.conn = conn
		if reason != "" {
			s.refuseAuth(now, d, m, reason)
			return
		}
		s.admit(now, d, m, p)
	})
}

// admit lets the initiator in: it has proved who it is.
func (s *SA) admit(now time.Time, d session.Datagram, m wire.Message, p proof) {
	s.takeKeys(p.keys)
	ours := identity(s.conn.Local.ID)
	proof, err := s.prove(s.conn, ours)
	if err != nil {
		s.refuseAuth(now, d, m, err.Error())
		return
	}
	lead := append([]wire.Payload{wire.IDr{Identity: ours}}, proof.certs...)
	lead = append(lead, proof.auth)
	if p.ppk {
		lead = append(lead, wire.Notify{Type: wire.NotifyPPKIdentity})
	}
	s.welcome(now, d, m, session.Identity{Type: uint8(p.id.Type), Data: p.id.Data}, m.Payloads, lead)
}

// welcome establishes the IKE SA and answers with the first child SA behind the
// given payloads. A child SA that fails leaves the IKE SA standing (RFC 7296 §1.3).
func (s *SA) welcome(now time.Time, d session.Datagram, m wire.Message, peer session.Identity, asked, lead []wire.Payload) {
	nonces := [][]byte{s.handshake.nonceI, s.handshake.nonceR}
	s.learnMobike(now, asked)
	s.learnCrashToken(asked)
	s.establish(now, peer)
	if _, ok := wire.FindNotify(asked, wire.NotifyInitialContact); ok {
		s.env.Host.InitialContact(now, s)
	}
	if s.redirectsKnown(now, d, m, lead) {
		return
	}
	c, payloads := s.grantFirst(now, grant{payloads: asked, first: true, nonces: nonces})
	if s.conn.Reauth > 0 {
		lead = append(lead, wire.AuthLifetime(s.conn.Reauth/time.Second).Notify())
	}
	s.respond(d, m, slices.Concat(lead, s.answerAnnounced(), s.crashToken(), payloads)...)
	if c != nil {
		s.takeOver(now, c)
	}
}

// identify finds the connection that the peer means and, by what check says,
// can be let in to.
func (s *SA) identify(m wire.Message, id wire.Identity, check func(*session.Connection) string) (*session.Connection, string) {
	wanted, named := wire.Find[wire.IDr](m.Payloads)
	got := session.Identity{Type: uint8(id.Type), Data: id.Data}
	var best string
	for _, conn := range s.candidates {
		us := session.Identity{Type: uint8(wanted.Type), Data: wanted.Data}
		if named && !conn.Local.ID.Equal(us) {
			if best == "" {
				s.conn, best = conn, fmt.Sprintf("peer %v wants to talk to %v, we are %v (configuration key: local.id)", got, us, conn.Local.ID)
			}
			continue
		}
		if !slices.Contains(conn.IKE, s.suite) {
			continue
		}
		reason := check(conn)
		if reason == "" {
			return conn, ""
		}
		if s.conn == nil || conn.Remote.ID.Equal(got) {
			s.conn, best = conn, reason
		}
	}
	if best == "" {
		best = fmt.Sprintf("no connection accepts peer %v with %v (configuration keys: remote.id, ike)", got, s.suite)
	}
	return nil, best
}

// refuseAuth answers with AUTHENTICATION_FAILED, whatever was wrong: a stranger
// learns no more than that (RFC 7296 §2.21.2).
func (s *SA) refuseAuth(now time.Time, d session.Datagram, m wire.Message, reason string) {
	s.respond(d, m, wire.Notify{Type: wire.NotifyAuthenticationFailed})
	s.noteRefusal(now, reason)
	s.close(now)
}

// noteRefusal tells the operator why a peer is not let in.
func (s *SA) noteRefusal(now time.Time, reason string) {
	if s.env.Host.MayLog(now) {
		s.audit(slog.LevelWarn, "negotiation refused", slog.String("reason", reason))
	}
	if s.conn != nil {
		s.env.Host.Refused(now, s.conn.Name, reason)
	}
}
