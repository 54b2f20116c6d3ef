package api

import "time"

// IKESA is one IKE security association.
type IKESA struct {
	Conn      string  `json:"conn"`
	Version   int     `json:"version"`
	Exchange  string  `json:"exchange"` // the one that made it: "IKE_SA_INIT", "main", "aggressive"
	State     string  `json:"state"`
	Local     string  `json:"local"` // address:port
	Remote    string  `json:"remote"`
	LocalID   string  `json:"local_id"`
	RemoteID  string  `json:"remote_id"`
	SPIi      string  `json:"spi_i"` // 16 hexadecimal digits
	SPIr      string  `json:"spi_r"`
	Suite     string  `json:"suite"`
	Initiator bool    `json:"initiator"` // this gateway began
	NAT       string  `json:"nat"`       // none, local, remote, both
	Age       float64 `json:"age_s"`
	Children  int     `json:"children"`
	RekeyIn   float64 `json:"rekey_in_s"` // 0 when this gateway will not rekey it
}

// ChildSA is one pair of IPsec SAs. "in" and "out" are seen from this gateway.
type ChildSA struct {
	Conn       string   `json:"conn"`
	Child      string   `json:"child"`
	State      string   `json:"state"` // installed, rekeying, lingering
	SPIIn      string   `json:"spi_in"`
	SPIOut     string   `json:"spi_out"`
	Suite      string   `json:"suite"`
	Mode       string   `json:"mode"`
	Encap      bool     `json:"encap"`
	Local      string   `json:"local"`
	Remote     string   `json:"remote"`
	LocalTS    []string `json:"local_ts"`
	RemoteTS   []string `json:"remote_ts"`
	PacketsIn  uint64   `json:"packets_in"`
	PacketsOut uint64   `json:"packets_out"`
	BytesIn    uint64   `json:"bytes_in"`
	BytesOut   uint64   `json:"bytes_out"`
	DropsIn    uint64   `json:"drops_in"`
	DropsOut   uint64   `json:"drops_out"`
	Age        float64  `json:"age_s"`
	Worker     int      `json:"worker"`
	KeyIn      string   `json:"key_in"` // fingerprints, never keys
	KeyOut     string   `json:"key_out"`
	MTU        int      `json:"mtu"`            // longest packet that the tunnel takes, 0 unknown
	PathMTU    int      `json:"path_mtu"`       // longest outer packet, as far as it is known
	Reordering uint32   `json:"reorder_window"` // smallest replay window that would have taken all that came late
	Late       []uint64 `json:"late"`           // delivered packets by how far behind they came: element i up to 2^i-1
	Left       []uint64 `json:"left"`           // the same of those that had fallen out of the replay window
	AccessIn   []string `json:"access_in"`      // what may enter besides, line by line; none: all
	LastIn     Instant  `json:"last_in"`
	LastOut    Instant  `json:"last_out"`
	RekeyIn    float64  `json:"rekey_in_s"`   // 0 when time does not bound it
	ExpiresIn  float64  `json:"expires_in_s"` // likewise
}

// Connection is one configured connection, up or not.
type Connection struct {
	Name       string   `json:"name"`
	State      string   `json:"state"` // up, down, connecting
	Reason     string   `json:"reason"`
	LastError  string   `json:"last_error"`
	Since      Instant  `json:"since"` // when LastError came
	Version    int      `json:"version"`
	Remote     string   `json:"remote"`
	Children   int      `json:"children"`   // child SAs now
	Local      string   `json:"local"`      // address, "" takes whatever the peer reached
	Start      string   `json:"start"`      // traffic, now, never, or manual for an Easy VPN client that is dialled by hand
	Configured []string `json:"configured"` // names of the configured children
	RetryAt    Instant  `json:"retry_at"`   // no negotiation is begun before; null when nothing holds it back
}

// Peer is one remote gateway that a connection knows of: one for each IKE SA, and
// one for each configured address without any. The figures of dead peer detection
// are those of D7.
type Peer struct {
	Conn          string   `json:"conn"`
	Peer          string   `json:"peer"` // address:port
	Local         string   `json:"local"`
	ID            string   `json:"id"`
	State         string   `json:"state"` // of the IKE SA, or "down"
	LastReceived  Instant  `json:"last_received"`
	LastReceivedS *float64 `json:"last_received_s"` // since the last answer to a query, null for never
	MyLastSeq     uint32   `json:"my_last_seq"`
	PeerLastSeq   uint32   `json:"peer_last_seq"`
	Outstanding   bool     `json:"outstanding"`
	Unanswered    int      `json:"unanswered"` // queries in a row
	Method        string   `json:"method"`     // dpd, or keepalive for an IKEv1 peer that announced no DPD (D9)
	Rejected      uint64   `json:"rejected"`   // IKEv1: messages of it with a sequence number that does not follow (D9)
	Mode          string   `json:"mode"`
	Interval      float64  `json:"interval_s"`
	Retry         float64  `json:"retry_s"`
	Tries         int      `json:"tries"`
	LastProof     Instant  `json:"last_proof"`    // any authenticated sign of life
	NextQuery     Instant  `json:"next_query"`    // null when only traffic can make one
	Recovery      bool     `json:"recovery"`      // a lost SPI starts a negotiation with it (V4)
	RecoveryNote  string   `json:"recovery_note"` // why, or why not (V5)
}

// Policy is one SPD entry, in the order in which they are tried.
type Policy struct {
	ID       uint32   `json:"id"`
	Priority uint32   `json:"priority"`
	Action   string   `json:"action"`
	Local    []string `json:"local"`
	Remote   []string `json:"remote"`
	Conn     string   `json:"conn"`
	Child    string   `json:"child"`
	Access   []string `json:"access"`  // what may leave by it besides, line by line; none: all
	SPIOut   string   `json:"spi_out"` // of the SA that serves it, "" without one
	Shadow   string   `json:"shadow"`  // the child whose earlier entry takes all of its traffic, "" for none
}

// Worker is one data-path goroutine and its share of the SAs.
type Worker struct {
	Worker    int               `json:"worker"`
	CPU       int               `json:"cpu"`   // -1 when not pinned
	Ports     []string          `json:"ports"` // "eth1:0 native copy"
	Crypto    string            `json:"crypto"`
	SAs       int               `json:"sas"`
	Packets   uint64            `json:"packets"`
	Forwarded uint64            `json:"forwarded"`
	Dropped   uint64            `json:"dropped"`
	Verdicts  map[string]uint64 `json:"verdicts"`
}

// Counter is one named number of one source: a worker, a port, the XDP program,
// the IKE engine.
type Counter struct {
	Source string `json:"source"`
	Name   string `json:"name"`
	Value  uint64 `json:"value"`
}

// Event is one line of the log, kept for show events.
type Event struct {
	Time  Instant           `json:"time"`
	Level string            `json:"level"`
	Event string            `json:"event"`
	Attrs map[string]string `json:"attrs"`
}

// Lease is one inside address: of a peer from our pool, or ours from a peer.
type Lease struct {
	Address string   `json:"address"`
	Conn    string   `json:"conn"`
	Peer    string   `json:"peer"` // identity
	Remote  string   `json:"remote"`
	Ours    bool     `json:"ours"` // the peer gave it to us
	DNS     []string `json:"dns"`
	Subnets []string `json:"subnets"` // behind the gateway that gave the address
	WINS    []string `json:"wins"`    // IKEv1 only, as the two below
	Domain  string   `json:"domain"`
	Banner  string   `json:"banner"`
}

// Translation is how the hosts behind a connection share the address that its peer
// assigned: mappings in use, of at most Bound, and packets dropped for want of one.
type Translation struct {
	Conn           string `json:"conn"`
	Address        string `json:"address"`
	Worker         int    `json:"worker"` // to which the mappings belong
	InUse          int    `json:"in_use"`
	Bound          int    `json:"bound"`
	TCP            int    `json:"tcp"`
	UDP            int    `json:"udp"`
	ICMP           int    `json:"icmp"`
	Other          int    `json:"other"` // protocols without ports
	Made           uint64 `json:"made"`
	Full           uint64 `json:"drops_full"`
	NoMapping      uint64 `json:"drops_no_mapping"` // from the peer, and nobody inside asked
	Untranslatable uint64 `json:"drops_untranslatable"`
}

// Instant is a time that is null in JSON while it has not come.
type Instant struct{ time.Time }

// MarshalJSON gives RFC 3339 in UTC, to the microsecond.
func (i Instant) MarshalJSON() ([]byte, error) {
	if i.IsZero() {
		return []byte("null"), nil
	}
	return i.UTC().Truncate(time.Microsecond).MarshalJSON()
}

// Target is what up and down act on. An empty Child means all of the connection.
type Target struct {
	Conn  string `json:"conn"`
	Child string `json:"child,omitempty"`
}
