package esp

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// Outbound is an SA that seals packets.
type Outbound struct {
	Counters

	suite     Suite
	protector protector // nil once wiped
	spi       uint32
	sequence  uint64 // last one used
	last      uint64 // last one that may be used
	df        sadb.DFPolicy
	outer     atomic.Pointer[outer]
}

// NewOutbound prepares an SA. It keeps neither sa nor its key.
func NewOutbound(sa *sadb.SA) (*Outbound, error) {
	s, err := suiteFor(sa, sadb.Outbound)
	if err != nil {
		return nil, err
	}
	o := &Outbound{suite: s, spi: uint32(sa.SPI), sequence: sa.Sequence, last: math.MaxUint32, df: sa.DF}
	if sa.ESN {
		o.last = math.MaxUint64
	}
	if o.sequence > o.last {
		return nil, fmt.Errorf("sa %v: sequence number %d is past the last one", sa.SPI, sa.Sequence)
	}
	if o.protector, err = s.protector(sa); err != nil {
		return nil, err
	}
	if err := o.Rebind(sa.Local, sa.Remote, sa.Encap); err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	o.Publish()
	return o, nil
}

// Rebind moves the tunnel's endpoints. Any goroutine may call it; packets sealed
// after it returned carry the new header. On an error nothing has changed.
func (o *Outbound) Rebind(local, remote netip.AddrPort, encap bool) error {
	t, err := newOuter(local, remote, encap)
	if err != nil {
		return err
	}
	o.outer.Store(t)
	return nil
}

// Remote is the peer's address as it stands now. Any goroutine may call it.
func (o *Outbound) Remote() netip.Addr { return o.outer.Load().remote }

// Seal writes to dst the tunnel packet that carries inner, from its outer IP
// header to the ICV, and returns its length. What Ethernet padded behind inner
// stays behind. dst and inner must not overlap. now is the caller's clock.
//
//  1. Measure the inner packet and what it becomes; refuse what does not fit.
//  2. Take the next sequence number, unless none is left (RFC 4303 §3.3.3).
//  3. Write ESP header, payload and trailer in the clear (RFC 4303 §2).
//  4. Encrypt and authenticate in place.
//  5. Write the outer header in front.
//
// A packet that is refused takes no sequence number and leaves dst as it was.
func (o *Outbound) Seal(dst, inner []byte, now int64) (int, packet.Verdict) {
	if o.protector == nil {
		return 0, o.drop(packet.DropNoSA)
	}
	// 1
	n, v := packet.Length(inner)
	if v != packet.Pass {
		return 0, o.drop(v)
	}
	inner = inner[:n]
	t := o.outer.Load()
	pad := o.suite.padding(n)
	total := t.n + o.suite.overhead() + n + pad
	if total > len(dst) || total > t.most() {
		return 0, o.drop(packet.DropTooBig)
	}
	// 2
	if o.sequence >= o.last {
		return 0, o.drop(packet.DropSequence)
	}
	o.sequence++
	// 3
	esp := dst[t.n:total]
	o.lay(esp, inner, pad)
	// 4
	o.protector.seal(esp, o.sequence)
	// 5
	t.put(dst[:total], packet.TOS(inner), uint16(o.sequence), o.dontFragment(inner))
	o.count(n, now)
	return total, packet.Pass
}

// lay writes everything of an ESP packet but IV and ICV.
//
//	+---------------------------------------------------------------+
//	|               Security Parameters Index (SPI)                 |
//	+---------------------------------------------------------------+
//	|                      Sequence Number                          |
//	+---------------------------------------------------------------+
//	|                      IV (8 or 16 bytes)                       |
//	+---------------------------------------------------------------+
//	|                   inner packet (variable)                     |
//	|               +-----------------------------------------------+
//	|               |     Padding 1, 2, 3 ...                       |
//	+---------------+---------------+---------------+---------------+
//	|                               |  Pad Length   |  Next Header  |
//	+-------------------------------+---------------+---------------+
//	|                ICV (16, 24 or 32 bytes)                       |
//	+---------------------------------------------------------------+
func (o *Outbound) lay(esp, inner []byte, pad int) {
	binary.BigEndian.PutUint32(esp, o.spi)
	binary.BigEndian.PutUint32(esp[4:], uint32(o.sequence))
	body := esp[HeaderLen+o.suite.IVLen:]
	trailer := body[copy(body, inner):]
	for i := range pad {
		trailer[i] = byte(i + 1)
	}
	trailer[pad] = byte(pad)
	trailer[pad+1] = nextHeader(inner)
}

// nextHeader names an inner packet: IPv4 or IPv6 in a tunnel (RFC 4303 §2.6).
func nextHeader(inner []byte) uint8 {
	if inner[0]>>4 == 6 {
		return packet.IPv6
	}
	return packet.IPv4
}

// dontFragment decides the outer DF bit (RFC 4301 §8.1). Copying from IPv6 sets
// it, because no router may fragment that either.
func (o *Outbound) dontFragment(inner []byte) bool {
	switch o.df {
	case sadb.DFSet:
		return true
	case sadb.DFClear:
		return false
	}
	return inner[0]>>4 == 6 || inner[6]&(flagDF>>8) != 0
}

// InnerMTU is the longest inner packet that, sealed, is at most outer bytes from
// its outer IP header on; 0 when not even an empty one fits.
func (o *Outbound) InnerMTU(outer int) int {
	t := o.outer.Load()
	outer = min(outer, t.most())
	room := outer - t.n - HeaderLen - o.suite.IVLen - o.suite.ICVLen
	if room < o.suite.Align {
		return 0
	}
	return room&^(o.suite.Align-1) - trailerLen
}

// Overhead is the most that Seal adds to an inner packet.
func (o *Outbound) Overhead() int {
	return o.outer.Load().n + o.suite.overhead() + o.suite.Align - 1
}

// Publish makes the counters visible to Usage.
func (o *Outbound) Publish() { o.publish(o.sequence) }

// Wipe ends the SA: Seal answers DropNoSA from now on. The owner calls it, or
// whoever knows that the owner has left.
func (o *Outbound) Wipe() {
	if o.protector != nil {
		o.protector.wipe()
		o.protector = nil
	}
}

func (o *Outbound) drop(v packet.Verdict) packet.Verdict {
	o.Drops++
	return v
}
