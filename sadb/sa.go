package sadb

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"
)

// Direction tells which way an SA carries packets, seen from this gateway.
type Direction uint8

const (
	Inbound Direction = iota
	Outbound
)

func (d Direction) String() string {
	if d == Outbound {
		return "out"
	}
	return "in"
}

// Mode is the IPsec protocol mode (RFC 4301 §4.1).
type Mode uint8

const (
	Tunnel Mode = iota
	Transport
)

func (m Mode) String() string {
	if m == Transport {
		return "transport"
	}
	return "tunnel"
}

// DFPolicy says what the outer IPv4 header's DF bit becomes (RFC 4301 §8.1).
type DFPolicy uint8

const (
	DFCopy DFPolicy = iota
	DFSet
	DFClear
)

// Key is the KEYMAT of one SA and direction (RFC 7296 §2.17): for combined
// modes the key followed by the salt, else the encryption key followed by the
// integrity key. It never prints itself.
type Key []byte

// Fingerprint is a short hash of the key, by which two administrators can tell
// whether both ends hold the same one.
func (k Key) Fingerprint() string {
	sum := sha256.Sum256(append([]byte("spindle key fingerprint"), k...))
	return hex.EncodeToString(sum[:4])
}

func (k Key) String() string   { return "key:" + k.Fingerprint() }
func (k Key) GoString() string { return k.String() }

// MarshalText keeps keys out of JSON and logs.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Lifetime bounds an SA. A zero field is no bound.
type Lifetime struct {
	Time    time.Duration
	Bytes   uint64
	Packets uint64
}

// SA is one direction of a child SA. The fields stand in the order of
// RFC 4301 §4.4.2.1; what they do not name follows after them. An SA is never
// changed after it was added to a database: what moves (sequence number, replay
// window, counters, the peer's endpoint) belongs to its owner worker.
type SA struct {
	SPI       SPI // inbound: ours; outbound: the one the peer chose
	Direction Direction

	Sequence     uint64 // outbound: the number of the last packet sent; the next one carries Sequence+1
	ESN          bool   // 64-bit sequence numbers; without it an overflow ends the SA
	ReplayWindow uint32 // inbound: packets, 0 disables

	Suite string // a strongSwan ESP proposal keyword: "aes128gcm16"
	Key   Key

	Soft, Hard Lifetime      // soft expiry asks for a rekey, hard expiry deletes
	Idle       time.Duration // no packet either way for that long expires the pair, 0 never

	Silence time.Duration // outbound: packets leave and nothing authentic came back for that long: report it, 0 never

	Mode    Mode
	DF      DFPolicy
	FixDSCP bool   // the outer header carries DSCP instead of the inner packet's
	DSCP    uint8  // 0..63
	PathMTU uint16 // bytes of the outer packet, 0 takes the egress port's MTU

	Local, Remote netip.AddrPort // outer addresses; the ports count only with Encap
	Encap         bool           // UDP encapsulation (RFC 3948)

	TTL           uint8  // outer TTL or hop limit, 0 takes 64; tunnel mode only
	FlowLabel     uint32 // outer IPv6 flow label, 20 bits; tunnel mode only
	CopyFlowLabel bool   // an inner IPv6 packet's flow label instead
	TFC           uint16 // outbound: shorter inner packets are padded to so many bytes (RFC 4303 §2.7); tunnel mode only
	FragmentAfter bool   // outbound: what is too big is fragmented after encryption, not before (N2)

	KeepMSS bool // outbound: the segment size that TCP announces is not lowered to what fits the tunnel

	// Translate is the address that a peer assigned, behind which inside hosts are
	// translated; zero translates nothing. IPv4 in tunnel mode only. LocalTS are of that
	// address, the policy's of those hosts. The SAs of a connection that share it have
	// one owner: see [Allocator.Allocate].
	Translate netip.Addr

	LocalTS, RemoteTS []Selector // what the inner packet must match
	Access            AccessList // inbound: what may enter besides (N4)

	Pair        SPI      // the inbound SPI of the same child SA: gives slot and owner of both directions
	Policy      PolicyID // outbound: the SPD entry that it serves from now on
	Conn, Child string   // the configuration's names
}
