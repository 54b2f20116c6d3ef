package datapath

import (
	"math"
	"net/netip"
	"time"
	"unsafe"

	"spindle/datapath/esp"
	"spindle/datapath/nat"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// DB is the SA and policy database with what the workers bind to each SA.
type DB = sadb.DB[inboundSA, outboundSA]

type (
	snapshot = sadb.Snapshot[inboundSA, outboundSA]
	reader   = sadb.Reader[inboundSA, outboundSA]
)

// NewDB makes an empty one.
func NewDB() *DB { return sadb.NewDB[inboundSA, outboundSA]() }

// inboundSA and outboundSA are an SA as its owner worker works with it. Only
// esp holds the key. What every packet needs stands side by side, and first: with
// many SAs each of their cache lines comes from memory. held is the server's
// record of the SA, and the workers leave it alone.
type (
	inboundSA struct {
		bounds
		local, remote []gate
		access        sadb.AccessList
		nat           *nat.Table // nil translates nothing
		only          [2]gate    // where local and remote stand if they are one each
		esp.Inbound
		astray netip.AddrPort // where the peer is and the control process was not told
		held   record
	}
	outboundSA struct {
		way
		bounds
		sizing
		nat *nat.Table // that of the pair's other half
		esp.Outbound
		watch
		held record
	}
)

// record is what the control process knows of an SA, without its key.
type record struct {
	sa          sadb.SA
	fingerprint string
	since       int64 // when it was installed
	idled       bool  // inbound: reported as idle
	width       int   // outbound: the longest inner packet by the routes, 0 unknown
	learned     int64 // outbound: when ICMP told of the path's MTU, 0 never
}

func newInboundSA(sa sadb.SA, c *esp.Crypto) (*inboundSA, error) {
	in := &inboundSA{bounds: newBounds(&sa)}
	if err := c.Inbound(&in.Inbound, &sa); err != nil {
		return nil, err
	}
	in.local, in.remote = in.beside(0, newGates(sa.LocalTS)), in.beside(1, newGates(sa.RemoteTS))
	in.access = sa.Access
	in.held = newRecord(sa)
	return in, nil
}

// beside moves a selector that is alone into the SA.
func (in *inboundSA) beside(side int, gates []gate) []gate {
	if len(gates) != 1 {
		return gates
	}
	in.only[side] = gates[0]
	return in.only[side : side+1 : side+1]
}

func newOutboundSA(sa sadb.SA, partner *inboundSA, c *esp.Crypto) (*outboundSA, error) {
	out := &outboundSA{bounds: newBounds(&sa), watch: newWatch(&sa, partner, time.Now().UnixNano()), sizing: newSizing(&sa)}
	if err := c.Outbound(&out.Outbound, &sa); err != nil {
		return nil, err
	}
	if sa.Translate.IsValid() {
		out.nat = partner.nat
	}
	out.held = newRecord(sa)
	return out, nil
}

func newRecord(sa sadb.SA) record {
	r := record{sa: sa, fingerprint: sa.Key.Fingerprint(), since: time.Now().UnixNano()}
	clear(sa.Key)
	r.sa.Key = nil
	return r
}

func (r *record) move(u keysock.Update) {
	r.sa.Local, r.sa.Remote, r.sa.Encap = u.Local, u.Remote, u.Encap
}

func (r *record) usage(u esp.Usage) keysock.Usage {
	sa := r.sa
	sa.Sequence = u.Sequence
	usage := keysock.Usage{SA: sa, KeyFingerprint: r.fingerprint, Packets: u.Packets, Bytes: u.Bytes, Drops: u.Drops}
	if u.LastUsed != 0 {
		usage.LastUsed = time.Unix(0, u.LastUsed)
	}
	return usage
}

// usage is that of an inbound SA, with what its replay window saw.
func (in *inboundSA) usage() keysock.Usage {
	u := in.held.usage(in.Usage())
	if r := in.Reordering(); r != (esp.Reordering{}) {
		u.Late, u.Left = r.Late[:], r.Left[:]
	}
	return u
}

// usage is that of an outbound SA, with what fits it.
func (out *outboundSA) usage() keysock.Usage {
	u := out.held.usage(out.Usage())
	u.MTU, u.PathMTU = uint16(min(out.held.width, math.MaxUint16)), uint16(min(out.PathMTU(), math.MaxUint16))
	return u
}

// sequenceSoft is when an outbound SA with 32-bit sequence numbers asks for its
// successor.
const sequenceSoft = 1 << 31

// bounds are the limits that only the data path sees reached: bytes, packets and
// sequence numbers (T2). Its fields belong to the owner worker.
type bounds struct {
	pair       sadb.SPI
	soft, hard sadb.Lifetime
	sequence   uint64 // soft bound of the sequence number, 0 none

	touched bool // in its worker's list of SAs with news
	asked   bool // soft expiry was reported
	told    bool // hard expiry was reported
}

func newBounds(sa *sadb.SA) bounds {
	b := bounds{pair: sa.Pair, soft: sa.Soft, hard: sa.Hard}
	if sa.Direction == sadb.Outbound && !sa.ESN {
		b.sequence = sequenceSoft
	}
	return b
}

// ended says that the hard bound is reached: no packet passes any more.
func (b *bounds) ended(c *esp.Counters) bool { return reached(b.hard, c) != "" }

// report tells the control process of a bound that was reached, once; if nobody
// could take the report, again after the next packet.
func (b *bounds) report(c *esp.Counters, slow SlowPath) {
	if cause := reached(b.hard, c); cause != "" {
		if !b.told {
			b.told = slow.Report(keysock.Expire{Pair: b.pair, Hard: true, Cause: cause})
		}
		return
	}
	if b.asked {
		return
	}
	cause := reached(b.soft, c)
	if cause == "" && b.sequence != 0 && c.Usage().Sequence >= b.sequence {
		cause = "sequence"
	}
	if cause != "" {
		b.asked = slow.Report(keysock.Expire{Pair: b.pair, Cause: cause})
	}
}

func reached(l sadb.Lifetime, c *esp.Counters) string {
	switch {
	case l.Bytes != 0 && c.Bytes >= l.Bytes:
		return "bytes"
	case l.Packets != 0 && c.Packets >= l.Packets:
		return "packets"
	}
	return ""
}

// news is an SA in a worker's list of those with something to publish.
type news interface {
	publish(SlowPath)
}

func (in *inboundSA) publish(slow SlowPath) {
	in.touched = false
	in.Publish()
	in.report(&in.Counters, slow)
	in.whereabouts(slow)
}

// whereabouts tells the control process that the peer sends from elsewhere (N5):
// whether to follow is its to decide, which knows who is behind a NAT. A peer that
// keeps moving is told of no more often than counters are published.
func (in *inboundSA) whereabouts(slow SlowPath) {
	if at, moved := in.Moved(); moved {
		in.astray = at
	}
	if in.astray.IsValid() && slow.Report(keysock.Moved{Pair: in.pair, Remote: in.astray}) {
		in.astray = netip.AddrPort{}
	}
}

func (out *outboundSA) publish(slow SlowPath) {
	out.touched = false
	out.Publish()
	out.report(&out.Counters, slow)
	out.look(out.pair, out.LastUsed, slow)
}

// refuse counts a drop that is not esp's own.
func (in *inboundSA) refuse(v packet.Verdict) packet.Verdict {
	in.Drops++
	return v
}

func (out *outboundSA) refuse(v packet.Verdict) packet.Verdict {
	out.Drops++
	return v
}

// hot is how much of an SA every packet may need.
func (in *inboundSA) hot() uintptr { return unsafe.Offsetof(in.Inbound) + esp.InboundHot }
