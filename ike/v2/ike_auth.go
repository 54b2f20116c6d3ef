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
	id := identity(s.conn.Local.ID)
	auth, err := s.sign(s.conn, id)
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.move(AuthSent)
	payloads := []wire.Payload{wire.IDi{Identity: id}}
	if s.env.Host.Alone(s) {
		payloads = append(payloads, wire.Notify{Type: wire.NotifyInitialContact})
	}
	if !s.conn.Remote.ID.IsZero() {
		payloads = append(payloads, wire.IDr{Identity: identity(s.conn.Remote.ID)})
	}
	payloads = append(append(payloads, auth), s.mobikePayloads()...)
	payloads = append(payloads, s.crashToken()...)
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
	a := &attempt{conf: s.handshake.child, flow: s.handshake.flow, first: true, nonce: s.handshake.nonceI}
	payloads, err := s.ask(a)
	return a, payloads, err
}

// authAnswered checks the responder's proof. Without one, or with a wrong one,
// there is no IKE SA.
func (s *SA) authAnswered(now time.Time, m wire.Message) {
	a := s.asking
	id, okID := wire.Find[wire.IDr](m.Payloads)
	auth, okAuth := wire.Find[wire.AUTH](m.Payloads)
	if !okID || !okAuth {
		s.fail(now, s.authRefused(m))
		return
	}
	if reason := s.distrust(s.conn, id.Identity, s.conn.Remote.ID, auth); reason != "" {
		// RFC 7296 §2.21.2: the initiator tells so in an INFORMATIONAL of its own.
		s.sendOnce(wire.ExchangeInformational, wire.Notify{Type: wire.NotifyAuthenticationFailed})
		s.fail(now, reason)
		return
	}
	nonces := [][]byte{s.handshake.nonceI, s.handshake.nonceR}
	s.asking = nil
	s.learnMobike(now, m.Payloads)
	s.learnCrashToken(m.Payloads)
	s.establish(now, id.Identity)
	s.childAnswered(now, a, m, nonces)
}

// authRefused says what the peer did not like.
func (s *SA) authRefused(m wire.Message) string {
	n, ok := refusal(m.Payloads)
	switch {
	case !ok:
		return "peer answers IKE_AUTH without IDr or AUTH"
	case n.Type == wire.NotifyAuthenticationFailed:
		return fmt.Sprintf("peer refuses our authentication (%v): compare psk, local.id (%v) and remote.id (%v) on both ends",
			n.Type, s.conn.Local.ID, s.conn.Remote.ID)
	}
	return fmt.Sprintf("peer refuses IKE_AUTH (%v)", n.Type)
}

// distrust checks identity and AUTH of the peer and says what is wrong, if
// anything. An empty identity in the configuration accepts any.
func (s *SA) distrust(conn *session.Connection, id wire.Identity, want session.Identity, auth wire.AUTH) string {
	got := session.Identity{Type: uint8(id.Type), Data: id.Data}
	if !want.IsZero() && !want.Equal(got) {
		return fmt.Sprintf("peer says it is %v, we expect %v (configuration key: remote.id)", got, want)
	}
	if auth.Method != wire.AuthSharedKey {
		return fmt.Sprintf("peer authenticates by %v, we expect shared key (configuration key: remote.auth)", auth.Method)
	}
	octets, err := s.octets(!s.initiator, id)
	if err != nil || !suite.VerifyPSK(s.suite.PRF, conn.PSK, octets, auth.Data) {
		return "peer's AUTH does not verify: the pre-shared keys differ (configuration key: psk)"
	}
	return ""
}

// sign makes our AUTH payload (RFC 7296 §2.15).
func (s *SA) sign(conn *session.Connection, id wire.Identity) (wire.AUTH, error) {
	octets, err := s.octets(s.initiator, id)
	if err != nil {
		return wire.AUTH{}, err
	}
	data, err := suite.PSKAuth(s.suite.PRF, conn.PSK, octets)
	return wire.AUTH{Method: wire.AuthSharedKey, Data: data}, err
}

// octets are what AUTH of the initiator or of the responder covers.
func (s *SA) octets(initiator bool, id wire.Identity) ([]byte, error) {
	h := s.handshake
	if initiator {
		return suite.SignedOctets(s.suite.PRF, h.request, h.nonceR, s.keys.PI, id, h.intAuth.Octets(h.authID)...)
	}
	return suite.SignedOctets(s.suite.PRF, h.response, h.nonceI, s.keys.PR, id, h.intAuth.Octets(h.authID)...)
}

func identity(id session.Identity) wire.Identity {
	return wire.Identity{Type: wire.IDType(id.Type), Data: id.Data}
}

// establish makes the IKE SA stand.
func (s *SA) establish(now time.Time, peer wire.Identity) {
	s.peerID = session.Identity{Type: uint8(peer.Type), Data: slices.Clone(peer.Data)}
	s.handshake, s.candidates = nil, nil
	s.expireAt = time.Time{}
	s.move(Established)
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
// child SA. A child SA that fails leaves the IKE SA standing (RFC 7296 §1.3).
func (s *SA) answerAuth(now time.Time, d session.Datagram, m wire.Message) {
	id, okID := wire.Find[wire.IDi](m.Payloads)
	auth, okAuth := wire.Find[wire.AUTH](m.Payloads)
	if !okID || !okAuth {
		s.refuseAuth(now, d, m, "peer sends IKE_AUTH without IDi or AUTH: it wants another way to authenticate (configuration key: remote.auth)")
		return
	}
	conn, reason := s.identify(m, id.Identity, auth)
	if conn == nil {
		s.refuseAuth(now, d, m, reason)
		return
	}
	s.conn = conn
	ours := identity(conn.Local.ID)
	proof, err := s.sign(conn, ours)
	if err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	nonces := [][]byte{s.handshake.nonceI, s.handshake.nonceR}
	s.learnMobike(now, m.Payloads)
	s.learnCrashToken(m.Payloads)
	s.establish(now, id.Identity)
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyInitialContact); ok {
		s.env.Host.InitialContact(now, s)
	}
	c, payloads := s.grant(now, grant{payloads: m.Payloads, first: true, nonces: nonces})
	s.respond(d, m, slices.Concat([]wire.Payload{wire.IDr{Identity: ours}, proof}, s.answerAnnounced(), s.crashToken(), payloads)...)
	if c != nil {
		s.switchOver(now, c)
	}
}

// identify finds the connection that the peer means and can prove to be for.
func (s *SA) identify(m wire.Message, id wire.Identity, auth wire.AUTH) (*session.Connection, string) {
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
		reason := s.distrust(conn, id, conn.Remote.ID, auth)
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
	if s.env.Host.MayLog(now) {
		s.audit(slog.LevelWarn, "negotiation refused", slog.String("reason", reason))
	}
	if s.conn != nil {
		s.env.Host.Refused(now, s.conn.Name, reason)
	}
	s.close(now)
}
