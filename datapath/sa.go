package datapath

import (
	"time"

	"spindle/datapath/esp"
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
// esp holds the key. held is the server's record of the SA, and the workers
// leave it alone.
type (
	inboundSA struct {
		*esp.Inbound
		bounds
		localTS, remoteTS []sadb.Selector
		held              record
	}
	outboundSA struct {
		*esp.Outbound
		bounds
		held record
	}
)

// record is what the control process knows of an SA, without its key.
type record struct {
	sa          sadb.SA
	fingerprint string
}

func newInboundSA(sa sadb.SA) (*inboundSA, error) {
	in, err := esp.NewInbound(&sa)
	if err != nil {
		return nil, err
	}
	return &inboundSA{in, newBounds(&sa), sa.LocalTS, sa.RemoteTS, newRecord(sa)}, nil
}

func newOutboundSA(sa sadb.SA) (*outboundSA, error) {
	out, err := esp.NewOutbound(&sa)
	if err != nil {
		return nil, err
	}
	return &outboundSA{out, newBounds(&sa), newRecord(sa)}, nil
}

func newRecord(sa sadb.SA) record {
	r := record{sa, sa.Key.Fingerprint()}
	clear(sa.Key)
	r.sa.Key = nil
	return r
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

// sequenceSoft is when an SA with 32-bit sequence numbers asks for its successor.
const sequenceSoft = 1 << 31

// bounds are the limits that only the data path sees reached: bytes, packets and
// sequence numbers (T2). Its fields belong to the owner worker.
type bounds struct {
	pair       sadb.SPI
	soft, hard sadb.Lifetime
	esn        bool

	touched bool // in its worker's list of SAs with news
	asked   bool // soft expiry was reported
	over    bool // hard expiry was reported: no packet passes any more
}

func newBounds(sa *sadb.SA) bounds {
	return bounds{pair: sa.Pair, soft: sa.Soft, hard: sa.Hard, esn: sa.ESN}
}

// check compares the SA's use with its bounds and returns what to report, if
// anything is new.
func (b *bounds) check(c *esp.Counters) (keysock.Expire, bool) {
	cause, hard := reached(b.hard, c), true
	if cause == "" {
		cause, hard = reached(b.soft, c), false
		if cause == "" && !b.esn && c.Usage().Sequence >= sequenceSoft {
			cause = "sequence"
		}
	}
	if cause == "" || b.over || b.asked && !hard {
		return keysock.Expire{}, false
	}
	b.asked, b.over = true, hard
	return keysock.Expire{Pair: b.pair, Hard: hard, Cause: cause}, true
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
	publish() (keysock.Expire, bool)
}

func (in *inboundSA) publish() (keysock.Expire, bool) {
	in.touched = false
	in.Publish()
	return in.check(&in.Counters)
}

func (out *outboundSA) publish() (keysock.Expire, bool) {
	out.touched = false
	out.Publish()
	return out.check(&out.Counters)
}
