package session

import (
	"net/netip"
	"time"

	"spindle/sadb"
)

// Status is what the operator sees of an engine at one moment.
type Status struct {
	Connections []ConnectionStatus // in the order of the configuration, up or down
	IKE         []IKEStatus
	Children    []ChildStatus
	Leases      []LeaseStatus
}

// LeaseStatus is one inside address: of a peer from our pool, or of ours from a peer.
type LeaseStatus struct {
	Conn    string
	Peer    string // identity
	Remote  netip.AddrPort
	Address netip.Addr
	Ours    bool           // the peer gave it to us
	DNS     []netip.Addr   // that came or went with it
	Subnets []netip.Prefix // likewise: what is behind the gateway
	WINS    []netip.Addr   // likewise, IKEv1 only, as the two below
	Domain  string
	Banner  string
}

// ConnectionStatus is one entry of the configuration.
type ConnectionStatus struct {
	Conn        string
	Version     int
	Local       []netip.Addr
	Remote      []netip.Addr // empty accepts any
	State       string       // "up", "connecting", "down"
	Reason      string       // why it is down: "waits for traffic", "answers only", or the last error
	LastError   string       // of the last failed negotiation or lost peer, empty for none since the start
	LastErrorAt time.Time
	Children    []string // names of the configured children
	Start       Start
	ByHand      bool      // an Easy VPN client that only the operator starts
	RetryAt     time.Time // after a failure: no negotiation is begun before; zero when nothing holds it back
	DPD         DPD
	Recovery    string // why a lost SPI starts no negotiation with its peers (V5), empty if it does
}

// IKEStatus is one IKE SA.
type IKEStatus struct {
	Conn                string // empty while a peer that called us has not said who it is
	Version             int
	Exchange            string // that made it: IKE_SA_INIT, main, aggressive
	State               string
	Initiator           bool
	Local, Remote       netip.AddrPort
	LocalID, RemoteID   string
	SPIi, SPIr          uint64 // of the initiator and of the responder
	Suite               string
	NATLocal, NATRemote bool // who is behind a NAT
	Age                 time.Duration
	RekeyIn             time.Duration // 0 when it will not be rekeyed by us
	DPD                 DPDStatus
}

// ChildStatus is one child SA: a pair of ESP SAs.
type ChildStatus struct {
	Conn, Child       string
	State             string
	SPIIn, SPIOut     sadb.SPI
	Suite             string
	Encap             bool
	Mode              sadb.Mode
	Local, Remote     netip.AddrPort
	LocalTS, RemoteTS []sadb.Selector
	KeyIn, KeyOut     string // fingerprints
	Age               time.Duration
	RekeyIn           time.Duration // 0 when time does not bound it
	ExpiresIn         time.Duration
}
