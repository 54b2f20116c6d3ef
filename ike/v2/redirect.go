package v2

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// maxRedirects bounds how often one negotiation is sent on: RFC 5685 §10 has
// MAX_REDIRECTS = 5.
const maxRedirects = 5

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
// configuration says so. Nothing is kept of it (RFC 5685 §3).
func (s *SA) redirects(now time.Time, m wire.Message, nonce []byte) bool {
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyRedirectSupported); !ok {
		return false
	}
	for _, conn := range s.env.Host.Candidates(s.local.Addr(), s.remote.Addr()) {
		if !conn.Redirect.IsValid() {
			continue
		}
		n, err := wire.Redirect{To: wire.Gateway{Addr: conn.Redirect}, Nonce: nonce}.Notify()
		if err != nil {
			s.internal(err)
			return false
		}
		s.refuseInit(now, n)
		if s.env.Host.MayLog(now) {
			s.audit(slog.LevelInfo, "peer redirected", slog.String("to", conn.Redirect.String()))
		}
		return true
	}
	return false
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
	if reason := s.cannotFollow(r.To); reason != "" {
		s.fail(now, reason)
		return
	}
	s.audit(slog.LevelInfo, "redirected", slog.String("to", r.To.Addr.String()))
	s.handshake.redirects++
	s.handshake.sentBy = s.remote.Addr()
	s.remote = netip.AddrPortFrom(r.To.Addr, ikePort)
	if err := s.beginAnew(); err != nil {
		s.internal(err)
		s.free(now)
		return
	}
	s.sendInit(now)
}

// cannotFollow says what is wrong with where we are sent, if anything.
func (s *SA) cannotFollow(to wire.Gateway) string {
	switch {
	case s.handshake.redirects == maxRedirects:
		return fmt.Sprintf("redirected more than %d times, last to %v", maxRedirects, to.Addr)
	case !to.Addr.IsValid():
		return fmt.Sprintf("redirected to the name %q: write it under remote.addresses", to.Name)
	case to.Addr.Is4() != s.local.Addr().Is4():
		return fmt.Sprintf("redirected to %v, which is of another family than our address %v", to.Addr, s.local.Addr())
	case to.Addr == s.remote.Addr():
		return fmt.Sprintf("redirected to %v, where we are already", to.Addr)
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
