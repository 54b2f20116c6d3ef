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
	LastIn     Instant  `json:"last_in"`
	LastOut    Instant  `json:"last_out"`
}

// Connection is one configured connection, up or not.
type Connection struct {
	Name      string  `json:"name"`
	State     string  `json:"state"` // up, down, connecting
	Reason    string  `json:"reason"`
	LastError string  `json:"last_error"`
	Since     Instant `json:"since"`
	Version   int     `json:"version"`
	Remote    string  `json:"remote"`
	Children  int     `json:"children"` // child SAs now
}

// Peer is one remote gateway that a connection knows of.
type Peer struct {
	Conn         string  `json:"conn"`
	Peer         string  `json:"peer"` // address:port
	Local        string  `json:"local"`
	ID           string  `json:"id"`
	State        string  `json:"state"`
	Mode         string  `json:"mode"` // of dead peer detection
	Outstanding  bool    `json:"outstanding"`
	LastReceived Instant `json:"last_received"`
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
	SPIOut   string   `json:"spi_out"` // of the SA that serves it, "" without one
}

// Worker is one data-path goroutine and its share of the SAs.
type Worker struct {
	Worker    int               `json:"worker"`
	CPU       int               `json:"cpu"`
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
