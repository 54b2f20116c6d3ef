// Package keysock is the conversation between the control process and the data
// path: the verbs of RFC 2367 (GETSPI is missing on purpose: SPIs are allocated
// where IKE runs) plus the datagrams that are punted up and injected down. It
// travels over one Unix SEQPACKET socket pair, one message a packet.
package keysock

import (
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"spindle/sadb"
)

// Message is any of the types below, by value.
type Message interface {
	verb() verb
	append(*cryptobyte.Builder)
}

// Control to data path. Every one of these is answered by one Ack, in order.
type (
	// Add installs an SA. An outbound SA takes over its Policy at once; the Ack
	// of an inbound SA comes after every worker can see it.
	Add struct{ SA sadb.SA }
	// Update moves the peer's endpoint of an SA pair and its encapsulation.
	Update struct {
		Pair          sadb.SPI
		Local, Remote netip.AddrPort
		Encap         bool
	}
	// Delete removes one direction of the pair.
	Delete struct {
		Direction sadb.Direction
		Pair      sadb.SPI
	}
	// Flush removes all SAs and policies.
	Flush struct{}
	// PolicyAdd installs or replaces an SPD entry.
	PolicyAdd struct{ Policy sadb.Policy }
	// PolicyDelete removes an SPD entry.
	PolicyDelete struct{ ID sadb.PolicyID }
	// HostAddress puts an inside address that a peer assigned to us on this host,
	// or takes it away.
	HostAddress struct {
		Remove bool
		Addr   netip.Addr
	}
	// Dump asks for every SA: a Usage each, then the Ack.
	Dump struct{}
	// Stats asks for the counters: a Counters each worker and port, then the Ack.
	Stats struct{}
	// Translations asks for the translators: a Translation each, then the Ack.
	Translations struct{}
)

// Inject sends an IKE datagram. It has no Ack. Data is the IKE message; the
// data path adds the non-ESP marker when Local's port is not 500 (RFC 3948 §2.2).
type Inject struct {
	Local, Remote netip.AddrPort
	Data          []byte
}

// Keepalive sends a NAT keepalive (RFC 3948 §2.3) unless one of the SA pairs sent
// a packet within Quiet. It has no Ack.
type Keepalive struct {
	Local, Remote netip.AddrPort
	Quiet         time.Duration
	Pairs         []sadb.SPI
}

// Data path to control.
type (
	// Hello is the first message of a data path to a control process, either of
	// which may just have been started anew.
	Hello struct {
		Workers int
		CPUs    []int  // that the workers are pinned to, in their order; -1 for any
		Crypto  string // whose AES-GCM it runs: "vaes-avx512" or "standard library"
		XDP     string // one line per port: mode obtained
		// Policies are the SPD entries that stand from an earlier conversation.
		Policies []sadb.PolicyID
	}
	// Ack answers the message with the same Seq. Err is empty on success.
	Ack struct{ Err string }
	// Usage is one SA as the data path holds it.
	Usage struct {
		SA             sadb.SA // without its Key, Sequence as it stands now
		KeyFingerprint string
		Packets, Bytes uint64
		Drops          uint64 // packets of this SA that ended in any drop verdict
		LastUsed       time.Time
		// MTU is the longest packet that the tunnel of an outbound SA takes, and PathMTU
		// the longest outer one where that is known; 0 unknown (N3).
		MTU, PathMTU uint16
		// Late and Left say how far behind the highest sequence number packets of an
		// inbound SA arrived: element i counts those 2^(i-1) to 2^i-1 behind, the last
		// one all that were farther. Late ones were delivered, left ones had fallen
		// out of the replay window and were dropped unverified (N1). Empty while every
		// packet came in order.
		Late, Left []uint64
	}
	// Counters are those of one worker, or of the XDP program ("xdp").
	Counters struct {
		Source string
		Names  []string
		Values []uint64
	}
	// Translation is what stands between the inside hosts of a connection and the
	// address that its peer assigned: how many mappings of each kind there are, of
	// at most Bound together; how many were made; and packets that were dropped for
	// want of one.
	Translation struct {
		Conn                            string
		Address                         netip.Addr
		Worker                          int // whose it is
		Bound, TCP, UDP, ICMP, Other    int
		Made                            uint64
		Full, NoMapping, Untranslatable uint64
	}
	// Acquire wants an SA for a policy; Flow is the packet that asked.
	Acquire struct {
		Policy sadb.PolicyID
		Flow   sadb.Flow
	}
	// Expire reports a lifetime or idle bound that an SA pair has reached.
	Expire struct {
		Pair  sadb.SPI
		Hard  bool
		Cause string // "time", "bytes", "packets", "sequence", "idle"
	}
	// Silence reports a pair whose peer is sent to and was not heard of since
	// LastIn, zero for never. It comes again every second while that lasts.
	Silence struct {
		Pair   sadb.SPI
		LastIn time.Time
	}
	// Moved reports that the peer of an SA pair sends from another endpoint now, by
	// a packet that authenticated and was newer than all before (N5).
	Moved struct {
		Pair   sadb.SPI
		Remote netip.AddrPort
	}
	// Addresses are those of this host on its outside ports, in the order of the
	// configuration. It follows the Hello and every change.
	Addresses struct{ List []netip.Addr }
	// Punt hands up an IKE datagram, without the non-ESP marker.
	Punt struct {
		Local, Remote netip.AddrPort
		Data          []byte
	}
	// UnknownSPI reports ESP for an SPI that is not in the database.
	UnknownSPI struct {
		SPI           sadb.SPI
		Local, Remote netip.AddrPort // ports are 0 without UDP encapsulation
		Sequence      uint32
		Packets       uint64 // from this source since the last report
	}
)
