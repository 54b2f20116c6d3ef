package v1

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// XAUTH (draft-beaulieu-ike-xauth-02): the responder of phase 1 asks its
// initiator for user and password, which phase 1 keeps from others, and says
// whether they are right.

// xauthGeneric is user name and password, as against one-time passwords.
const xauthGeneric = 0

// askUser is the server's request.
func (s *SA) askUser(now time.Time) {
	s.transact(now, wire.ConfigRequest, []wire.Attribute{
		wire.V1Basic(wire.V1XAuthType, xauthGeneric),
		octets(wire.V1XAuthUserName, nil), octets(wire.V1XAuthPassword, nil),
	}, s.userReplied)
}

// userReplied checks what the client says and tells it the result.
func (s *SA) userReplied(now time.Time, a wire.V1Attributes) {
	name, _ := a.Find(wire.V1XAuthUserName)
	password, _ := a.Find(wire.V1XAuthPassword)
	status := uint16(0)
	if s.knows(string(name.Value), password.Value) {
		status = 1
		s.config.user = string(name.Value)
	}
	s.transact(now, wire.ConfigSet, []wire.Attribute{wire.V1Basic(wire.V1XAuthStatus, status)}, func(now time.Time, _ wire.V1Attributes) {
		if status == 0 {
			reason := fmt.Sprintf("XAUTH: user %s or its password is wrong (configuration key: users)", user(string(name.Value)))
			s.env.Host.Refused(now, s.conn.Name, reason)
			s.audit(slog.LevelWarn, "negotiation refused", slog.String("reason", reason))
			s.deleteISAKMP()
			s.free(now)
			return
		}
		s.audit(slog.LevelInfo, "XAUTH user accepted", slog.String("user", user(s.config.user)))
		s.welcome(now)
	})
}

// user prints a name that a peer chose.
func user(name string) string {
	return session.Identity{Type: session.IDFQDN, Data: []byte(name)}.String()
}

// knows compares in a time that does not tell how much of a password was right.
func (s *SA) knows(name string, password []byte) bool {
	if s.conn.Users == nil {
		return false
	}
	secret, ok := s.conn.Users.Find(name)
	want, got := sha256.Sum256(secret.Password), sha256.Sum256(password)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && ok && len(secret.Password) > 0
}

// replyUser is the client's reply. It answers nobody but the responder of a
// phase 1 that agreed on XAUTH: a password is not to be had for the asking.
func (s *SA) replyUser(ask wire.V1Attributes) ([]wire.Attribute, bool) {
	if !s.initiator || !s.suite.Auth.XAuth() || s.state != Authenticating {
		return nil, false
	}
	var answer []wire.Attribute
	if t, ok := ask.Find(wire.V1XAuthType); ok {
		answer = append(answer, t)
	}
	for _, a := range ask.Attributes {
		switch a.Type {
		case wire.V1XAuthUserName:
			answer = append(answer, octets(a.Type, []byte(s.conn.V1.User)))
		case wire.V1XAuthPassword, wire.V1XAuthPasscode:
			answer = append(answer, octets(a.Type, s.conn.V1.Password))
		case wire.V1XAuthDomain, wire.V1XAuthNextPIN, wire.V1XAuthAnswer:
			answer = append(answer, octets(a.Type, nil))
		}
	}
	return answer, true
}

// userStatus takes the server's verdict.
func (s *SA) userStatus(set wire.V1Attributes) (answer []wire.Attribute, after func(time.Time), ok bool) {
	status, ok := set.Find(wire.V1XAuthStatus)
	if !ok || !s.initiator || !s.suite.Auth.XAuth() || s.state != Authenticating {
		return nil, nil, false
	}
	// The ACK repeats no values (draft-beaulieu-ike-xauth-02 §4.2).
	if v, ok := status.V1Value(); !ok || v != 1 {
		return nil, func(now time.Time) {
			key := "xauth"
			if s.conn.V1.EasyVPN {
				key = "easyvpn"
			}
			s.fail(now, "peer refuses user or password (XAUTH; configuration key: "+key+")")
		}, true
	}
	return nil, s.welcome, true
}

// welcome goes on after XAUTH: to mode config if that is wanted.
func (s *SA) welcome(now time.Time) {
	if s.wantsConfig() {
		s.expireAt = now.Add(halfOpenLife)
		s.seekConfig(now)
		return
	}
	s.establish(now)
}
