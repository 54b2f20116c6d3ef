package session

import (
	"errors"
	"fmt"
	"net/netip"

	"spindle/ike/suite"
)

// V1 is what a connection has only in IKEv1.
type V1 struct {
	Aggressive bool   // three messages with the identity in the clear, instead of main mode
	Certs      bool   // phase 1 by RSA signatures
	Hybrid     bool   // only the responder signs
	User       string // client: XAUTH
	Password   Secret
	XAuth      bool  // server: XAUTH asks for one of the connection's Users
	Config     bool  // client: mode config gives the inner address
	Push       bool  // mode config by push instead of pull
	Pool       *Pool // server: of the inner addresses
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

// Pool is what clients are given: an inner address each, and what goes with it.
type Pool struct {
	Prefix    netip.Prefix
	DNS, WINS []netip.Addr
	Split     []netip.Prefix
	Banner    string
	Domain    string
}

// Leases are the addresses of pools that clients hold.
type Leases struct {
	held map[string]map[netip.Addr]string
} // by connection, to the client

// ErrPoolEmpty means that every address of a pool is taken.
var ErrPoolEmpty = errors.New("every address of the pool is taken")

// Lease gives a client an address: the one it holds, or the first that is free.
// The first and the last of an IPv4 prefix stay unused, as the network and its
// broadcast. It looks at no more than 65,536 addresses.
func (l *Leases) Lease(conn *Connection, client string) (netip.Addr, error) {
	if l.held == nil {
		l.held = map[string]map[netip.Addr]string{}
	}
	if l.held[conn.Name] == nil {
		l.held[conn.Name] = map[netip.Addr]string{}
	}
	held := l.held[conn.Name]
	pool := conn.V1.Pool
	var free netip.Addr
	addr := pool.Prefix.Masked().Addr()
	for range 1 << 16 {
		addr = addr.Next()
		if !pool.Prefix.Contains(addr) || addr.Is4() && !pool.Prefix.Contains(addr.Next()) {
			break
		}
		if held[addr] == client {
			return addr, nil
		}
		if _, taken := held[addr]; !taken && !free.IsValid() {
			free = addr
		}
	}
	if !free.IsValid() {
		return free, fmt.Errorf("pool %v of %s: %w", pool.Prefix, conn.Name, ErrPoolEmpty)
	}
	held[free] = client
	return free, nil
}

// Release takes an address back.
func (l *Leases) Release(conn *Connection, addr netip.Addr) { delete(l.held[conn.Name], addr) }
