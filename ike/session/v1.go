package session

import "spindle/ike/suite"

// V1 is what a connection has only in IKEv1.
type V1 struct {
	Aggressive bool   // three messages with the identity in the clear, instead of main mode
	Certs      bool   // phase 1 by RSA signatures
	Hybrid     bool   // only the responder signs
	User       string // client: XAUTH
	Password   Secret
	XAuth      bool // server: XAUTH asks for one of the connection's Users
	Config     bool // client: mode config gives the inner address
	Push       bool // mode config by push instead of pull
	EasyVPN    bool // client (E): in client mode the connection translates, or else
	Extend     bool // the children keep their own local selectors
}

// Auths are the ways to authenticate phase 1 that the connection takes.
func (v V1) Auths(initiator bool) []suite.V1Auth {
	xauth := initiator && v.User != "" || !initiator && v.XAuth
	switch {
	case v.Hybrid:
		return []suite.V1Auth{suite.V1AuthHybridInitRSA}
	case v.Certs && xauth:
		return []suite.V1Auth{suite.V1AuthXAuthInitRSA}
	case v.Certs:
		return []suite.V1Auth{suite.V1AuthRSA}
	case xauth:
		return []suite.V1Auth{suite.V1AuthXAuthInitPSK}
	}
	return []suite.V1Auth{suite.V1AuthPSK}
}
