package packet

// Verdict is how a packet's way through the data path ended. Every packet gets
// exactly one, and each is a counter under its own name: nothing is lost unnamed.
// The list stands here because it is the one room that parsing, ESP and the
// workers all know.
//
// Queued and HandedOff are where a packet rests; it gets its last verdict when it
// goes on; what was cut goes on as its pieces. So packets in + pieces = all verdicts -
// what rested and went on.
type Verdict uint8

const (
	Forwarded  Verdict = iota // sent by a port's TX ring
	ToKernel                  // handed to the slow path device: for this host, or its neighbour is not resolved yet
	Punted                    // IKE handed to the control process
	Queued                    // waits for the SA that it asked for
	HandedOff                 // given to the worker that owns its SA
	Fragmented                // cut into pieces, each of which gets a verdict of its own
	Ignored                   // the host's own multicast or link-local packet, which ended at the tunnel device

	// Parsing.
	DropTruncated // shorter than its own headers say
	DropMalformed // a header field that cannot be
	DropNotIP
	DropChecksum // bad IPv4 header checksum

	// Inbound, in the order of the checks.
	DropUnknownSPI
	DropKeepalive // NAT keepalive (RFC 3948 §2.3)
	DropReplay    // left of the window, or seen before (RFC 4303 §3.4.3)
	DropAuth      // integrity check failed
	DropPadding   // trailer inconsistent after decryption
	DropDummy     // next header 59 (RFC 4303 §2.6)
	DropECN       // congestion experienced outside, not capable inside (RFC 6040 §4.2)
	DropSelector  // the inner packet does not match the SA (RFC 4301 §5.2)
	DropAccessIn  // the child's access list denies it (N4)

	// Outbound.
	DropAccessOut // the child's access list denies it (N4)
	DropPolicy    // DISCARD, or PROTECT without an SA that may be asked for
	DropClear     // arrived in the clear on a port where only protected packets may
	DropNoSA      // the queue of packets waiting for an SA is full or expired
	DropSequence  // the sequence number would overflow (RFC 4303 §3.3.3)
	DropLifetime  // hard lifetime reached
	DropFragment  // a fragment, where transport mode takes whole packets only (RFC 4303 §3.3.4)

	// Translation behind an assigned address.
	DropMappingsFull   // the table of mappings is full
	DropNoMapping      // nobody inside asked for it
	DropUntranslatable // IPv6, an ICMP message nobody answers, or a protocol without ports that another host has

	// Forwarding.
	DropTTL
	DropTooBig
	DropNoRoute     // a blackhole, or no way to the peer
	DropPuntFull    // the queue to the control process is full
	DropHandoffFull // the ring to the owner worker is full
	DropTXFull      // the port's TX ring is full
	DropSlowPath    // the slow path device refused the packet
	DropOverload    // the worker is late, and others go first (N7)

	Verdicts // how many there are
)

// Pass is what a stage answers when the packet may go on.
const Pass = Forwarded

var verdictNames = [Verdicts]string{
	"forwarded", "to_kernel", "punted", "queued", "handed_off", "fragmented", "ignored",
	"drop_truncated", "drop_malformed", "drop_not_ip", "drop_checksum",
	"drop_unknown_spi", "drop_keepalive", "drop_replay", "drop_auth", "drop_padding", "drop_dummy", "drop_ecn", "drop_selector", "drop_access_in",
	"drop_access_out", "drop_policy", "drop_clear", "drop_no_sa", "drop_sequence", "drop_lifetime", "drop_fragment",
	"drop_mappings_full", "drop_no_mapping", "drop_untranslatable",
	"drop_ttl", "drop_too_big", "drop_no_route", "drop_punt_full", "drop_handoff_full", "drop_tx_full", "drop_slow_path", "drop_overload",
}

// Dropped tells the verdicts that lose a packet.
func (v Verdict) Dropped() bool { return v >= DropTruncated }

// Interim tells the verdicts after which the same packet, or its pieces, get others.
func (v Verdict) Interim() bool { return v == Queued || v == HandedOff || v == Fragmented }

func (v Verdict) String() string { return verdictNames[v] }
