package v2

import (
	"fmt"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// preparePPK mixes our PPK into the initiator's keys, if the responder can use
// one (RFC 8784 §3).
func (s *SA) preparePPK() string {
	ppk := s.conn.PPK
	switch {
	case len(ppk.Key) == 0:
		return ""
	case !s.handshake.ppk && ppk.Required:
		return "peer does not know postquantum preshared keys, which we require (configuration key: ppk.required)"
	case !s.handshake.ppk:
		return ""
	}
	var err error
	if s.handshake.mixed, err = s.keys.MixPPK(s.suite.PRF, ppk.Key); err != nil {
		return err.Error()
	}
	return ""
}

// ppkPayloads name our PPK; unless it is required, the proof without it lets a
// peer that does not hold it go on (RFC 8784 §3).
func ppkPayloads(conn *session.Connection, plain wire.AUTH) []wire.Payload {
	payloads := []wire.Payload{wire.PPKIdentity{Type: wire.PPKIDFixed, Data: []byte(conn.PPK.ID)}.Notify()}
	if !conn.PPK.Required {
		payloads = append(payloads, wire.Notify{Type: wire.NotifyNoPPKAuth, Data: plain.Data})
	}
	return payloads
}

// confirmPPK looks whether the responder used the PPK. If it did not, the keys
// are those without.
func (s *SA) confirmPPK(m wire.Message) string {
	mixed := s.handshake.mixed
	_, used := wire.FindNotify(m.Payloads, wire.NotifyPPKIdentity)
	switch {
	case used && mixed == nil:
		return "peer says that it used a postquantum preshared key, which we did not offer"
	case used:
		s.takeKeys(mixed)
	case mixed != nil && s.conn.PPK.Required:
		return fmt.Sprintf("peer does not use our postquantum preshared key %q, which we require (configuration keys: ppk.id, ppk.required)", s.conn.PPK.ID)
	}
	return ""
}

// takeKeys goes on with keys that have a PPK in them, or with the same as before.
func (s *SA) takeKeys(keys *suite.IKEKeys) {
	if keys != s.keys {
		for _, k := range []suite.Secret{s.keys.D, s.keys.PI, s.keys.PR} {
			k.Wipe()
		}
		s.keys = keys
	}
	s.handshake.mixed = nil
}

// verify is distrust for the responder, which must first see under which keys
// the proof was made.
func (s *SA) verify(now time.Time, conn *session.Connection, p *proof, m wire.Message) string {
	tried, reason := s.underPPK(conn, *p, m)
	if reason == "" {
		reason = s.distrust(now, conn, &tried)
	}
	if reason == "" {
		*p = tried
	}
	return reason
}

// underPPK follows the responder's table of RFC 8784 §3: by the PPK that the
// peer names if we hold it, else without if both sides permit that.
func (s *SA) underPPK(conn *session.Connection, p proof, m wire.Message) (proof, string) {
	n, offered := wire.FindNotify(m.Payloads, wire.NotifyPPKIdentity)
	if !offered {
		if conn.PPK.Required {
			return p, "peer does not use a postquantum preshared key, which we require (configuration key: ppk.required)"
		}
		return p, ""
	}
	id, err := wire.ParsePPKIdentity(n)
	switch {
	case err != nil:
		return p, err.Error()
	case hasPPK(conn) && string(id.Data) == conn.PPK.ID:
		if p.keys, err = s.keys.MixPPK(s.suite.PRF, conn.PPK.Key); err != nil {
			return p, err.Error()
		}
		p.ppk = true
	case p.noPPK != nil && !conn.PPK.Required:
		p.auth.Data = p.noPPK
	default:
		return p, fmt.Sprintf("peer wants postquantum preshared key %q, we hold %q (configuration keys: ppk.id, ppk.required)", id.Data, conn.PPK.ID)
	}
	return p, ""
}
