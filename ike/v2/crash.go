package v2

import (
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// CrashToken proves that this gateway made the IKE SA of these SPIs. It may only
// be shown in the clear when no IKE SA has either of them (RFC 6290 §7.1). Nil
// without a secret.
func (e *Env) CrashToken(spiI, spiR wire.SPI) wire.QCDToken {
	if len(e.CrashSecret) == 0 {
		return nil
	}
	return suite.QCDToken(suite.Secret(e.CrashSecret), spiI, spiR)
}

// crashToken is what the peer may kill the IKE SA with when it comes from us
// (RFC 6290 §4.1, V9).
func (s *SA) crashToken() []wire.Payload {
	if token := s.env.CrashToken(s.spiI, s.spiR); token != nil {
		return []wire.Payload{token.Notify()}
	}
	return nil
}

// learnCrashToken keeps the peer's token.
func (s *SA) learnCrashToken(payloads []wire.Payload) {
	n, ok := wire.FindNotify(payloads, wire.NotifyQCDToken)
	if !ok {
		return
	}
	if token, err := wire.ParseQCDToken(n); err == nil {
		s.peerToken = slices.Clone(token)
	}
}

// sendCrashToken gives the token of an IKE SA that a rekey made: RFC 6290 §4.3,
// its SPIs are new, and so is its token.
func (s *SA) sendCrashToken(now time.Time) {
	if payloads := s.crashToken(); payloads != nil {
		s.send(now, wire.ExchangeInformational, payloads, func(time.Time, wire.Message) {})
	}
}

// crashed takes an unprotected answer to a request of ours. With the token that
// the peer gave us under protection it proves that the peer has lost the IKE SA:
// RFC 6290 §4.5, it is deleted at once and without a word. The next packet
// negotiates a new one.
func (s *SA) crashed(d session.Datagram) bool {
	if len(s.peerToken) == 0 || s.state != Established {
		return false
	}
	m, err := wire.ParseMessage(d.Data)
	if err != nil {
		return false
	}
	n, ok := wire.FindNotify(m.Payloads, wire.NotifyQCDToken)
	if !ok || !suite.VerifyQCD(s.peerToken, n.Data) {
		return false
	}
	s.audit(slog.LevelWarn, "peer has lost the IKE SA and proved it", slog.String("peer_id", s.peerID.String()))
	return true
}
