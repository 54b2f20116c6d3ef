package session

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"spindle/ike/suite"
	"spindle/sadb"
)

// Connection is one entry of the configuration, checked and resolved.
type Connection struct {
	Name    string
	Version int // 1 or 2
	Local   Endpoint
	Remote  Endpoint
	PSK     Secret

	Credential *Credential // with which we authenticate by certificate
	Trust      *Trust      // who vouches for the peer's certificate, also in EAP-TLS
	Users      *Users      // who may authenticate by EAP-MSCHAPv2
	PPK        PPK
	Reauth     time.Duration // authentication is repeated this often, 0 never

	IKE []suite.Proposal // in order of preference

	Start              Start
	DPD                DPD
	InvalidSPIRecovery bool
	FailBack           time.Duration // to the first of the remote addresses, 0 never
	IdleIKE            bool          // the IKE SA goes with its last child SA when that was idle
	ForceEncap         bool          // ESP goes in UDP although there is no NAT
	NATKeepalive       time.Duration // to a peer in front of whom we are behind a NAT (T3), 0 sends none
	MOBIKE             bool          // addresses may change under a standing IKE SA (RFC 4555)
	FragmentSize       int           // largest IP packet that carries IKE before it is cut (RFC 7383), 0 takes DefaultFragmentSize
	FollowRedirect     bool          // to another gateway, when this one says so
	Redirect           netip.Addr    // where peers are sent instead of being answered (RFC 5685)
	RedirectGrace      time.Duration // for those that were connected, 0 takes a minute
	Lifetime           time.Duration // of the IKE SA, 0 takes DefaultIKELifetime

	V1 V1 // what only IKEv1 has

	Pool      *Pool // inside addresses for peers that ask for one, nil gives none
	VirtualIP bool  // we ask the peer for inside addresses, as its client
	Translate bool  // and hide what the children have on their local side behind the one it gives
	Childless bool  // the first child SA has an exchange of its own behind IKE_AUTH (RFC 6023)

	Children []Child
}

// Unrecoverable says why nothing is recovered over a connection when its peer sends
// to an SPI that we lost (V5), or nothing when it is.
func (c *Connection) Unrecoverable() string {
	switch {
	case c.V1.EasyVPN:
		return "it is an Easy VPN client, which begins anyhow"
	case c.Remote.Any():
		return "its peers have no configured address"
	case !c.InvalidSPIRecovery:
		return "invalid_spi_recovery is off"
	}
	return ""
}

// DefaultFragmentSize passes every path: it is the least MTU of IPv6 (RFC 8200 §5).
const DefaultFragmentSize = 1280

// Secret is a pre-shared key or password. No format verb, log or encoder ever
// shows it, whatever struct it is printed with.
type Secret []byte

func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, "secret") }
func (Secret) MarshalText() ([]byte, error) { return []byte("secret"), nil }

// Endpoint is one side of a connection.
type Endpoint struct {
	Addresses []netip.Addr // Local: at most one, empty takes whatever the peer reached; Remote: tried in order
	Hosts     []string     // Remote: as configured, names included; empty accepts a peer from anywhere
	ID        Identity
	Auth      Auth
}

// Any reports whether a remote endpoint is a peer from anywhere.
func (e *Endpoint) Any() bool { return len(e.Hosts) == 0 && len(e.Addresses) == 0 }

// Identity is an IKE identity (RFC 7296 §3.5): the type of the ID payload and its data.
type Identity struct {
	Type uint8
	Data []byte
}

// Auth is how one side proves who it is.
type Auth uint8

const (
	AuthPSK   Auth = iota
	AuthCert       // signature by the key of a certificate
	AuthEAP        // the peer only: EAP-MSCHAPv2 or EAP-TLS
	AuthXAuth      // IKEv1, one side only: a user's password behind what the other side's Auth proves
)

// PPK is a postquantum preshared key (RFC 8784), none when Key is empty.
type PPK struct {
	ID       string
	Key      Secret
	Required bool // a peer without it is refused
}

// Start says what brings a connection up.
type Start uint8

const (
	StartTraffic Start = iota
	StartNow
	StartNever // answer only
)

func (s Start) String() string { return [...]string{"traffic", "now", "never"}[s] }

// DPDMode is D2 of the behaviours.
type DPDMode uint8

const (
	DPDOnDemand DPDMode = iota
	DPDPeriodic
	DPDOff
)

// DPD are the figures of D5.
type DPD struct {
	Mode            DPDMode
	Interval, Retry time.Duration
	Tries           int
}

// Child is one child SA to be.
type Child struct {
	Name          string
	Local, Remote []sadb.Selector // empty: the inside address that we or the peer gets
	ESP           []suite.Proposal
	Mode          sadb.Mode
	Idle          time.Duration
	Lifetime      sadb.Lifetime // hard; soft expiry is derived from it with jitter
	ReplayWindow  uint32
	DF            sadb.DFPolicy
	Prefragment   bool
	KeepMSS       bool   // of TCP, instead of lowering it to what fits the tunnel
	PathMTU       uint16 // longest outer packet, 0 learns it
	TFC           uint16 // shorter packets are padded to so many bytes
	FixDSCP       bool   // outer packets carry DSCP, not their inner packet's
	DSCP          uint8
	AccessIn      sadb.AccessList // what may enter and leave besides, none: all (N4)
	AccessOut     sadb.AccessList
	SinglePair    bool // each pair of addresses has a child SA of its own
}

// Shape gives both SAs of the child what is configured about the packets they
// carry. Padding has no place in transport mode (RFC 4303 §2.7).
func (c *Child) Shape(sa *sadb.SA) {
	sa.DF, sa.FragmentAfter, sa.KeepMSS, sa.PathMTU = c.DF, !c.Prefragment, c.KeepMSS, c.PathMTU
	sa.FixDSCP, sa.DSCP = c.FixDSCP, c.DSCP
	if sa.Direction == sadb.Inbound {
		sa.Access = c.AccessIn
	}
	if sa.Mode == sadb.Tunnel {
		sa.TFC = c.TFC
	}
}
