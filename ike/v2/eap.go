package v2

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// maxEAPRounds bounds one conversation: EAP-TLS in small fragments takes some tens.
const maxEAPRounds = 100

// eapMethod is the server's side of an EAP method: it gets the data behind the
// type of a response, and gives that of the next request.
type eapMethod interface {
	kind() wire.EAPType
	begin() ([]byte, error)
	answer(data []byte) eapStep
	close()
}

// eapStep is what a response leads to: another request, success, or failure. A
// failure that comes with a request is still to be told to the peer.
type eapStep struct {
	request []byte
	success *eapSuccess
	failure string // in the operator's words
}

type eapSuccess struct {
	msk   suite.Secret
	user  string
	chain []*x509.Certificate // in EAP-TLS, up to an authority
}

// eapServer is one EAP conversation (RFC 3748) inside IKE_AUTH (RFC 7296 §2.16),
// from the initiator's first message, which has no AUTH, to the one that has.
type eapServer struct {
	id         wire.Identity  // IDi, which AUTH covers; it need not mean anything
	asked      []wire.Payload // the first message: the child SA is granted at the end
	identifier uint8
	rounds     int
	user       string // what the peer answered to the request for its identity
	offers     []wire.EAPType
	method     eapMethod // nil until the identity is known
	success    *eapSuccess
	refused    bool // the operator knows why; the peer is being told
}

func (e *eapServer) close() {
	if e.method != nil {
		e.method.close()
	}
	if e.success != nil {
		e.success.msk.Wipe()
	}
}

// beginEAP proves who we are and asks the peer for its identity. RFC 7296 §2.16:
// "the responder ... MUST be authenticated by a public-key signature".
func (s *SA) beginEAP(now time.Time, d session.Datagram, m wire.Message, id wire.Identity) {
	conn, reason := s.identify(m, id, func(conn *session.Connection) string {
		if conn.Remote.Auth != session.AuthEAP {
			return "peer sends no AUTH: it wants EAP, which is not what we expect (configuration key: remote.auth)"
		}
		return ""
	})
	if conn == nil {
		s.refuseAuth(now, d, m, reason)
		return
	}
	s.conn = conn
	ours := identity(conn.Local.ID)
	proof, err := s.prove(conn, ours)
	if err != nil {
		s.refuseAuth(now, d, m, err.Error())
		return
	}
	s.handshake.eap = &eapServer{id: id, asked: m.Payloads, offers: s.eapOffers(conn)}
	payloads := append([]wire.Payload{wire.IDr{Identity: ours}}, proof.certs...)
	s.requestEAP(now, d, m, wire.EAPIdentity, nil, append(payloads, proof.auth)...)
}

// eapOffers are the methods that the configuration makes possible.
func (s *SA) eapOffers(conn *session.Connection) []wire.EAPType {
	var list []wire.EAPType
	if conn.Users != nil {
		list = append(list, wire.EAPMSCHAPv2)
	}
	if conn.Trust != nil && s.env.TLS != nil {
		list = append(list, wire.EAPTLS)
	}
	return list
}

func (s *SA) requestEAP(now time.Time, d session.Datagram, m wire.Message, method wire.EAPType, data []byte, before ...wire.Payload) {
	e := s.handshake.eap
	e.identifier++
	s.expireAt = now.Add(halfOpenLife)
	s.respond(d, m, append(before, wire.NewEAP(wire.EAPRequest, e.identifier, method, data))...)
}

// answerEAP takes the next message of the conversation.
func (s *SA) answerEAP(now time.Time, d session.Datagram, m wire.Message) {
	e := s.handshake.eap
	if e.success != nil {
		s.endEAP(now, d, m)
		return
	}
	p, ok := wire.Find[wire.EAP](m.Payloads)
	if e.rounds++; !ok || e.rounds > maxEAPRounds {
		s.refuseAuth(now, d, m, "peer sends IKE_AUTH without EAP in the midst of EAP, or does not come to an end")
		return
	}
	kind, data, err := p.Method()
	if err != nil || p.Code != wire.EAPResponse || p.Identifier != e.identifier {
		s.refuseEAP(now, d, m, "peer sends a malformed EAP response")
		return
	}
	switch {
	case e.method == nil && kind == wire.EAPIdentity:
		e.user = string(data)
		s.tryMethod(now, d, m, "")
	case e.method != nil && kind == wire.EAPNak:
		s.declined(now, d, m, data)
	case e.method != nil && kind == e.method.kind():
		s.stepEAP(now, d, m, e.method.answer(data))
	default:
		s.refuseEAP(now, d, m, fmt.Sprintf("peer answers with EAP type %v, which was not asked for", kind))
	}
}

// declined offers what the peer prefers, each method once: RFC 3748 §5.3.1, a
// Nak "contains one or more authentication types desired by the peer".
func (s *SA) declined(now time.Time, d session.Datagram, m wire.Message, wanted []byte) {
	e := s.handshake.eap
	e.method.close()
	var words []wire.EAPType
	for _, w := range wanted {
		words = append(words, wire.EAPType(w))
	}
	e.offers = slices.DeleteFunc(e.offers, func(t wire.EAPType) bool { return !slices.Contains(words, t) })
	s.tryMethod(now, d, m, fmt.Sprintf("peer declines our EAP methods and wants %v (configuration keys: users for mschapv2, ca for tls)", words))
}

// tryMethod begins the next method there is to offer.
func (s *SA) tryMethod(now time.Time, d session.Datagram, m wire.Message, none string) {
	e := s.handshake.eap
	if len(e.offers) == 0 {
		s.refuseEAP(now, d, m, none)
		return
	}
	kind := e.offers[0]
	e.offers = e.offers[1:]
	if kind == wire.EAPTLS {
		e.method = newEAPTLS(now, s.env.TLS, s.conn)
	} else {
		e.method = newMSCHAPv2(s.env.Rand, s.conn.Users, s.conn.Local.ID.String())
	}
	data, err := e.method.begin()
	if err != nil {
		s.internal(err)
		s.refuseEAP(now, d, m, "internal fault")
		return
	}
	s.requestEAP(now, d, m, kind, data)
}

func (s *SA) stepEAP(now time.Time, d session.Datagram, m wire.Message, step eapStep) {
	e := s.handshake.eap
	switch {
	case step.failure != "" && step.request == nil:
		s.refuseEAP(now, d, m, step.failure)
	case step.success != nil:
		if step.success.user == "" {
			step.success.user = e.user
		}
		s.unrevoked(now, s.conn, step.success.chain, func(now time.Time, reason string) {
			if reason != "" {
				s.refuseEAP(now, d, m, reason)
				return
			}
			s.succeedEAP(now, d, m, step.success)
		})
	default:
		if step.failure != "" {
			s.noteRefusal(now, "EAP: "+step.failure)
			e.refused = true
		}
		s.requestEAP(now, d, m, e.method.kind(), step.request)
	}
}

func (s *SA) succeedEAP(now time.Time, d session.Datagram, m wire.Message, success *eapSuccess) {
	if want := s.conn.Remote.ID; !want.IsZero() && string(want.Data) != success.user {
		s.refuseEAP(now, d, m, fmt.Sprintf("peer says by EAP that it is %v, we expect %v (configuration key: remote.id)", userID(success.user), want))
		return
	}
	s.handshake.eap.success = success
	s.expireAt = now.Add(halfOpenLife)
	s.respond(d, m, wire.EAP{Code: wire.EAPSuccess, Identifier: s.handshake.eap.identifier})
}

// refuseEAP: RFC 7296 §2.16, the responder says so by an EAP Failure.
func (s *SA) refuseEAP(now time.Time, d session.Datagram, m wire.Message, reason string) {
	s.respond(d, m, wire.EAP{Code: wire.EAPFailure, Identifier: s.handshake.eap.identifier})
	if !s.handshake.eap.refused {
		s.noteRefusal(now, "EAP: "+reason)
	}
	s.close(now)
}

// answerEAPGivenUp takes leave of a peer that ends the conversation.
func (s *SA) answerEAPGivenUp(now time.Time, d session.Datagram, m wire.Message) {
	s.respond(d, m)
	if !s.handshake.eap.refused {
		s.noteRefusal(now, "peer gives up in the midst of EAP: does it know the CA of our certificate? (configuration keys: cert, local.id)")
	}
	s.close(now)
}

// endEAP checks that the peer of IKE is the peer of EAP, by the key that EAP
// made, and shows the same (RFC 7296 §2.16).
func (s *SA) endEAP(now time.Time, d session.Datagram, m wire.Message) {
	e := s.handshake.eap
	auth, ok := wire.Find[wire.AUTH](m.Payloads)
	if !ok || auth.Method != wire.AuthSharedKey {
		s.refuseAuth(now, d, m, "peer ends EAP without AUTH by shared key")
		return
	}
	// RFC 8784 §4.1: with EAP a PPK is used only here, at the end.
	p, reason := s.underPPK(s.conn, s.shown(m, e.id, auth), m)
	if reason != "" {
		s.refuseAuth(now, d, m, reason)
		return
	}
	octets, err := s.octets(p.keys, true, e.id)
	if err != nil || !suite.VerifyEAP(s.suite.PRF, e.success.msk, p.keys.PI, octets, p.auth.Data) {
		s.refuseAuth(now, d, m, "peer's AUTH does not verify with the key that EAP made")
		return
	}
	s.takeKeys(p.keys)
	if octets, err = s.octets(s.keys, false, identity(s.conn.Local.ID)); err != nil {
		s.refuseAuth(now, d, m, err.Error())
		return
	}
	data, err := suite.EAPAuth(s.suite.PRF, e.success.msk, s.keys.PR, octets)
	if err != nil {
		s.refuseAuth(now, d, m, err.Error())
		return
	}
	e.close()
	lead := []wire.Payload{wire.AUTH{Method: wire.AuthSharedKey, Data: data}}
	if p.ppk {
		lead = append(lead, wire.Notify{Type: wire.NotifyPPKIdentity})
	}
	s.welcome(now, d, m, userID(e.success.user), e.asked, lead)
}

// userID is an EAP identity as an IKE identity: a network access identifier
// (RFC 7542) has the form of a mailbox.
func userID(user string) session.Identity {
	return session.Identity{Type: session.IDRFC822, Data: []byte(user)}
}
