package session

import (
	"net/netip"
	"time"

	"spindle/sadb"
)

// Input is one thing that happened to the engine: any of the types below.
type Input interface{ input() }

type (
	// Datagram is an IKE message from the network, without the non-ESP marker.
	// Local's port is 4500 when the message came UDP-encapsulated (RFC 7296 §2.23).
	Datagram struct {
		Local, Remote netip.AddrPort
		Data          []byte
	}
	// Tick says only that time has passed.
	Tick struct{}
	// Acquire is the first packet of a policy that has no SA.
	Acquire struct {
		Policy sadb.PolicyID
		Flow   sadb.Flow
	}
	// Expire is a bound that the data path saw an SA pair reach.
	Expire struct {
		Pair  sadb.SPI
		Hard  bool
		Cause string
	}
	// Silence is a peer that we send ESP to and that was not heard of by ESP since
	// LastIn; zero is never. It comes again while that lasts.
	Silence struct {
		Pair   sadb.SPI
		LastIn time.Time
	}
	// Moved is ESP of a pair's peer that came from another endpoint: authentic, and
	// newer than all before (N5).
	Moved struct {
		Pair   sadb.SPI
		Remote netip.AddrPort
	}
	// UnknownSPI is ESP that arrived for no SA of ours.
	UnknownSPI struct {
		SPI           sadb.SPI
		Local, Remote netip.AddrPort
		Packets       uint64
	}
	// AddressesChanged lists the addresses by which this host can be reached, on
	// its ports facing the untrusted network, those to prefer first.
	AddressesChanged struct{ Addresses []netip.Addr }
	// Initiate and Terminate are the operator's up and down. An empty Child means all.
	Initiate  struct{ Conn, Child string }
	Terminate struct{ Conn, Child string }
	// Rekey replaces a connection's child SAs of that name, or its IKE SA if the
	// name is empty.
	Rekey struct{ Conn, Child string }
	// ConfigChanged replaces the configuration. What it does not touch stays up.
	ConfigChanged struct{ Connections []Connection }
	// Fetched is the answer to a Fetch: Err says in a few words why there is none.
	Fetched struct {
		URL  string
		Data []byte
		Err  string
	}
	// Shutdown deletes every SA, telling the peers.
	Shutdown struct{}
	// Forget drops every SA of a connection without telling the peer, as a crash
	// would: it is how an operator proves the recovery (V8). Empty means all.
	Forget struct{ Conn string }
	// Clear takes away the IKE SAs between these ends, zero is any: telling the peer
	// unless Silent, or only their child SAs.
	Clear struct {
		Local, Remote         netip.Addr
		LocalPort, RemotePort uint16
		Children, Silent      bool
	}
	// Trace turns the Audit of every IKE message on or off.
	Trace struct{ On bool }
)

func (Datagram) input()         {}
func (Tick) input()             {}
func (Acquire) input()          {}
func (Expire) input()           {}
func (Silence) input()          {}
func (Moved) input()            {}
func (Forget) input()           {}
func (Clear) input()            {}
func (Trace) input()            {}
func (UnknownSPI) input()       {}
func (Initiate) input()         {}
func (Terminate) input()        {}
func (Rekey) input()            {}
func (ConfigChanged) input()    {}
func (Shutdown) input()         {}
func (AddressesChanged) input() {}
func (Fetched) input()          {}

// Matches tells whether an SA between these ends is one of those to clear.
func (c *Clear) Matches(local, remote netip.AddrPort) bool {
	return matches(local, c.Local, c.LocalPort) && matches(remote, c.Remote, c.RemotePort)
}

func matches(end netip.AddrPort, addr netip.Addr, port uint16) bool {
	return (!addr.IsValid() || end.Addr() == addr) && (port == 0 || end.Port() == port)
}
