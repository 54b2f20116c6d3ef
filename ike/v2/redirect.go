package v2

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// RFC 5685 §8: two gateways may send a client to each other without end.
const (
	MaxRedirects       = 5               // within
	RedirectLoopPeriod = 5 * time.Minute // REDIRECT_LOOP_DETECT_PERIOD
)

// defaultRedirectGrace is for a client that was sent on to have its SAs with the
// other gateway: RFC 5685 §5, it "should allow sufficient time".
const defaultRedirectGrace = time.Minute

// announceRedirect is in the IKE_SA_INIT request of a client that follows
// (RFC 5685 §3), with the gateway that sent it here, if one did.
func (s *SA) announceRedirect() []wire.Payload {
	if !s.initiator || !s.conn.FollowRedirect {
		return nil
	}
	list := []wire.Payload{wire.Notify{Type: wire.NotifyRedirectSupported}}
	if !s.handshake.sentBy.IsValid() {
		return list
	}
	from, err := wire.RedirectedFrom{Addr: s.handshake.sentBy}.Notify()
	if err != nil {
		s.internal(err)
		return list
	}
	return append(list, from)
}

// redirects answers a client that follows with another gateway, if the
// configuration says so. Nothing is kept of it (RFC 5685 §3). Where it may mean
// several connections, of which not all send it to the same place, it first has to
// say who it is (§6).
func (s *SA) redirects(now time.Time, m wire.Message, nonce []byte) bool {
	if _, s.follows = wire.FindNotify(m.Payloads, wire.NotifyRedirectSupported); !s.follows {
		return false
	}
	candidates := s.env.Host.Candidates(s.local.Addr(), s.remote.Addr())
	if len(candidates) == 0 || !candidates[0].Redirect.IsValid() {
		return false
	}
	to := candidates[0].Redirect
	if slices.ContainsFunc(candidates, func(c *session.Connection) bool { return c.Redirect != to }) {
		return false
	}
	n, err := wire.Redirect{To: wire.Gateway{Addr: to}, Nonce: nonce}.Notify()
	if err != nil {
		s.internal(err)
		return false
	}
	s.refuseInit(now, n)
	if s.env.Host.MayLog(now) {
		s.audit(slog.LevelInfo, "peer redirected", slog.String("to", to.String()))
	}
	return true
}

// redirectsKnown sends a client on that has proved who it is, in the place of a child
// SA (RFC 5685 §6). It deletes the IKE SA; in case it does not, we do.
func (s *SA) redirectsKnown(now time.Time, d session.Datagram, m wire.Message, lead []wire.Payload) bool {
	if !s.follows || !s.conn.Redirect.IsValid() {
		return false
	}
	n, err := wire.Redirect{To: wire.Gateway{Addr: s.conn.Redirect}}.Notify()
	if err != nil {
		s.internal(err)
		return false
	}
	s.audit(slog.LevelInfo, "peer redirected", slog.String("to", s.conn.Redirect.String()))
	s.respond(d, m, append(lead, n)...)
	s.sendAwayAt(now)
	return true
}

// SendAway tells a client whose IKE SA stands to go where the configuration now says
// (RFC 5685 §5), or lets it stay when that is nowhere.
func (s *SA) SendAway(now time.Time) {
	s.awayAt = time.Time{}
	if s.state == Established && s.follows && s.conn.Redirect.IsValid() {
		s.push(now, task{kind: taskRedirect})
		s.pump(now)
	}
}

// redirectStanding makes the request; there is no nonce in it (RFC 5685 §5).
func (s *SA) redirectStanding(now time.Time) {
	n, err := wire.Redirect{To: wire.Gateway{Addr: s.conn.Redirect}}.Notify()
	if err != nil || !s.conn.Redirect.IsValid() {
		return // taken back meanwhile
	}
	s.audit(slog.LevelInfo, "peer redirected", slog.String("to", s.conn.Redirect.String()))
	s.send(now, wire.ExchangeInformational, []wire.Payload{n}, func(now time.Time, _ wire.Message) { s.sendAwayAt(now) })
}

func (s *SA) sendAwayAt(now time.Time) {
	grace := s.conn.RedirectGrace
	if grace == 0 {
		grace = defaultRedirectGrace
	}
	s.awayAt = now.Add(grace)
}

// tickAway deletes what a client that was sent on has left behind.
func (s *SA) tickAway(now time.Time) {
	if session.Passed(now, s.awayAt) && s.state == Established {
		s.audit(slog.LevelInfo, "IKE SA deleted", slog.String("reason", "its peer was redirected (configuration key: redirect)"))
		s.closeNow(now)
	}
}

// redirected starts over with the gateway that the response names. The nonce
// shows that its sender saw our request: RFC 5685 §3, a message without it "MUST
// be ignored". Whoever is there still has to prove that it is our peer.
func (s *SA) redirected(now time.Time, d session.Datagram, n wire.Notify) {
	r, err := wire.ParseRedirect(n)
	switch {
	case err != nil:
		s.stray(now, d, err)
		return
	case !s.conn.FollowRedirect || !bytes.Equal(r.Nonce, s.handshake.nonceI):
		s.stray(now, d, errors.New("REDIRECT that does not answer our request"))
		return
	}
	if reason := s.cannotFollow(now, r.To); reason != "" {
		s.fail(now, reason)
		return
	}
	s.audit(slog.LevelInfo, "redirected", slog.String("to", r.To.Addr.String()))
	s.handshake.sentBy = s.remote.Addr()
	s.remote = netip.AddrPortFrom(r.To.Addr, ikePort)
	if err := s.beginAnew(); err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.sendInit(now)
}

// redirectedKnown goes on with the gateway that the responder names in IKE_AUTH, now
// that it has proved who it is: RFC 5685 §6, "the client MUST verify the gateway's
// AUTH payload before acting".
func (s *SA) redirectedKnown(now time.Time, a *attempt, m wire.Message) bool {
	r, ok := s.sentOn(m.Payloads)
	if !ok {
		return false
	}
	if a.spi != 0 {
		s.env.SPIs.Free(a.spi)
	}
	reason := s.cannotFollow(now, r.To)
	s.sendOnce(wire.ExchangeInformational, wire.Delete{Protocol: wire.ProtocolIKE})
	if reason != "" {
		s.fail(now, reason)
		return true
	}
	s.audit(slog.LevelInfo, "redirected", slog.String("to", r.To.Addr.String()))
	s.env.Host.Redirected(now, s, r.To.Addr, a.conf, a.flow)
	s.free(now)
	return true
}

// redirectedStanding goes over to another gateway: beside this IKE SA, which goes when
// the other one carries all that it does.
func (s *SA) redirectedStanding(now time.Time, payloads []wire.Payload) {
	r, ok := s.sentOn(payloads)
	if !ok || s.state != Established || s.elder != nil {
		return
	}
	if reason := s.cannotFollow(now, r.To); reason != "" {
		s.audit(slog.LevelWarn, "redirect not followed", slog.String("reason", reason))
		return
	}
	s.audit(slog.LevelInfo, "redirected", slog.String("to", r.To.Addr.String()))
	s.env.Host.Redirected(now, s, r.To.Addr, nil, sadb.Flow{})
}

// sentOn finds a REDIRECT that we said we would follow.
func (s *SA) sentOn(payloads []wire.Payload) (wire.Redirect, bool) {
	n, ok := wire.FindNotify(payloads, wire.NotifyRedirect)
	if !ok || !s.client || !s.conn.FollowRedirect {
		return wire.Redirect{}, false
	}
	r, err := wire.ParseRedirect(n)
	if err != nil || len(r.Nonce) > 0 {
		s.audit(slog.LevelWarn, "malformed notification", slog.String("error", fmt.Sprintf("%v: nonce of %d octets, %v", n.Type, len(r.Nonce), err)))
		return wire.Redirect{}, false
	}
	return r, true
}

// cannotFollow says what is wrong with where we are sent, if anything. RFC 5685 §8
// bounds how often one is sent on in a while.
func (s *SA) cannotFollow(now time.Time, to wire.Gateway) string {
	switch {
	case !to.Addr.IsValid():
		return fmt.Sprintf("redirected to the name %q: write it under remote.addresses", to.Name)
	case !to.Addr.IsGlobalUnicast():
		return fmt.Sprintf("redirected to %v, which is nobody's address", to.Addr)
	case to.Addr.Is4() != s.local.Addr().Is4():
		return fmt.Sprintf("redirected to %v, which is of another family than our address %v", to.Addr, s.local.Addr())
	case to.Addr == s.remote.Addr():
		return fmt.Sprintf("redirected to %v, where we are already", to.Addr)
	case !s.env.Host.MayFollow(now, s):
		return fmt.Sprintf("redirected more than %d times in %v, last to %v", MaxRedirects, RedirectLoopPeriod, to.Addr)
	}
	return ""
}

// beginAnew draws what another gateway must not know of the first attempt.
func (s *SA) beginAnew() (err error) {
	h := s.handshake
	h.cookie, h.cookies, h.tried = nil, 0, nil
	if h.nonceI, err = s.env.newNonce(); err != nil {
		return err
	}
	return s.chooseGroup(s.conn.IKE[0].Group)
}
