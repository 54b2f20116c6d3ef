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

	suite     *Suite
	protector protector // nil once wiped
	direct    *kernel   // the protector, if it is one
	kernel    kernel
	sequence  uint64 // last one used
	last      uint64 // last one that may be used
	spi       uint32
	transport bool
	tfc       int           // bytes that a payload is padded to
	path      atomic.Uint32 // MTU that is known of the way to the peer, 0 none
	style     style
	outer     atomic.Pointer[outer]
	first     outer // where the first one stands
}

// NewOutbound prepares an SA. It keeps neither sa nor its key.
func (c *Crypto) NewOutbound(sa *sadb.SA) (*Outbound, error) {
	o := new(Outbound)
	return o, c.Outbound(o, sa)
}

// Outbound is NewOutbound in memory of the caller's, which must be empty and stay
// where it is.
func (c *Crypto) Outbound(o *Outbound, sa *sadb.SA) error {
	s, err := suiteFor(sa, sadb.Outbound)
	if err != nil {
		return err
	}
	o.suite, o.spi, o.sequence, o.last = s, uint32(sa.SPI), sa.Sequence, math.MaxUint32
	o.transport, o.tfc = sa.Mode == sadb.Transport, int(sa.TFC)
	if sa.ESN {
		o.last = math.MaxUint64
	}
	if o.sequence > o.last {
		return fmt.Errorf("sa %v: sequence number %d is past the last one", sa.SPI, sa.Sequence)
	}
	if o.transport && o.tfc > 0 {
		// RFC 4303 §2.7: only where the payload says how long it is itself.
		return fmt.Errorf("sa %v: TFC padding in transport mode: the payload's end could not be told", sa.SPI)
	}
	if o.style, err = newStyle(sa); err != nil {
		return err
	}
	if err := o.first.set(sa.Local, sa.Remote, sa.Encap, o.style.ttl); err != nil {
		return fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	o.outer.Store(&o.first)
	if o.protector, err = s.protector(sa, c, &o.kernel); err != nil {
		return err
	}
	o.direct, _ = o.protector.(*kernel)
	o.SetPathMTU(int(sa.PathMTU))
	o.Publish()
	return nil
}

// Rebind moves the tunnel's endpoints. Any goroutine may call it; packets sealed
// after it returned carry the new header. On an error nothing has changed.
func (o *Outbound) Rebind(local, remote netip.AddrPort, encap bool) error {
	t := new(outer)
	if err := t.set(local, remote, encap, o.style.ttl); err != nil {
		return err
	}
	o.outer.Store(t)
	return nil
}

// Remote is the peer's address as it stands now. Any goroutine may call it.
func (o *Outbound) Remote() netip.Addr { return o.outer.Load().remote }

// layout is what a packet becomes, before it is written.
type layout struct {
	head  int   // what stands before the ESP header: IP, and UDP when encapsulated
	at    int   // where in the packet the part begins that is encrypted; 0 in tunnel mode
	next  uint8 // protocol of that part
	fill  int   // traffic flow confidentiality padding
	pad   int
	total int
}

// measure lays a packet out, which is as long as it says, in an empty layout. One
// that is handed over would be copied before its words are through to memory.
func (o *Outbound) measure(l *layout, t *outer, inner []byte) (v packet.Verdict) {
	l.head, l.next = int(t.n), nextHeader(inner)
	if o.transport {
		if l.at, l.next, v = packet.TransportESP(inner); v != packet.Pass {
			return v
		}
		l.head = l.at + t.encap()
	}
	l.resize(o.suite, len(inner))
	return packet.Pass
}

// resize completes the layout of n bytes for the fill that it has.
func (l *layout) resize(s *Suite, n int) {
	n += l.fill - l.at
	l.pad = s.padding(n)
	l.total = l.head + s.overhead() + n + l.pad
}

// Seal writes to dst the packet that carries inner, from its outer IP header to
// the ICV, and returns its length. What Ethernet padded behind inner stays
// behind. dst and inner must not overlap. now is the caller's clock.
//
//  1. Measure the packet and what it becomes; refuse what does not fit.
//  2. Take the next sequence number, unless none is left (RFC 4303 §3.3.3).
//  3. Write ESP header, payload and trailer in the clear (RFC 4303 §2).
//  4. Encrypt and authenticate in place.
//  5. Write the outer header in front; in transport mode, the packet's own.
//
// A packet that is refused takes no sequence number and leaves dst as it was.
// In transport mode fragments are refused. Traffic flow confidentiality padding
// never makes a packet longer than dst or the path's MTU: a dst as long as the
// port's MTU allows keeps it from being fragmented.
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
	var l layout
	if v := o.measure(&l, t, inner); v != packet.Pass {
		return 0, o.drop(v)
	}
	if o.tfc > 0 {
		o.conceal(&l, n, len(dst))
	}
	version := t.version()
	if o.transport {
		version = inner[0] >> 4
	}
	if l.total > len(dst) || l.total > most(version) {
		return 0, o.drop(packet.DropTooBig)
	}
	// 2
	if o.sequence >= o.last {
		return 0, o.drop(packet.DropSequence)
	}
	o.sequence++
	// 3, 4
	o.protect(dst[l.head:l.total], inner[l.at:], &l)
	// 5
	if o.transport {
		t.keep(dst[:l.total], inner[:l.at])
	} else {
		o.cover(t, dst[:l.total], inner)
	}
	o.count(n, now)
	return l.total, packet.Pass
}

// conceal pads a short payload, as far as there is room.
func (o *Outbound) conceal(l *layout, n, room int) {
	most := o.InnerMTU(room)
	if l.fill = min(o.tfc, most) - n; l.fill < 0 {
		l.fill = 0
	}
	l.resize(o.suite, n)
}

// nothing is what a dummy packet takes its outer header's fields from.
var nothing = []byte{0x45, 0, 0, packet.IPv4Len, 0, 0, flagDF >> 8, 0}

// SealDummy writes to dst a packet that carries nothing but size bytes of
// padding, which its receiver throws away unread (RFC 4303 §2.6), so that an
// observer cannot tell when there is traffic. It counts as no use of the SA,
// but takes a sequence number. The result is that of Seal.
func (o *Outbound) SealDummy(dst []byte, size int) (int, packet.Verdict) {
	if o.protector == nil {
		return 0, o.drop(packet.DropNoSA)
	}
	t := o.outer.Load()
	l := layout{head: int(t.n), next: packet.NoNext, fill: max(size, 0)}
	l.resize(o.suite, 0)
	if l.total > len(dst) || l.total > most(t.version()) {
		return 0, o.drop(packet.DropTooBig)
	}
	if o.sequence >= o.last {
		return 0, o.drop(packet.DropSequence)
	}
	o.sequence++
	o.protect(dst[l.head:l.total], nil, &l)
	o.cover(t, dst[:l.total], nothing)
	return l.total, packet.Pass
}

// cover writes the outer header of a tunnel packet.
func (o *Outbound) cover(t *outer, b, inner []byte) {
	s := &o.style
	if t.version() == 6 {
		t.put6(b, s.tos(inner), s.flow(inner))
		return
	}
	t.put4(b, s.tos(inner), uint16(o.sequence), s.dontFragment(inner))
}

// protect writes a whole ESP packet.
//
//	+---------------------------------------------------------------+
//	|               Security Parameters Index (SPI)                 |
//	+---------------------------------------------------------------+
//	|                      Sequence Number                          |
//	+---------------------------------------------------------------+
//	|                      IV (0, 8 or 16 bytes)                    |
//	+---------------------------------------------------------------+
//	|                     payload (variable)                        |
//	|               +-----------------------------------------------+
//	|               |  TFC padding 0, 0, 0 ...                      |
//	+---------------+-----------------------------------------------+
//	|               |     Padding 1, 2, 3 ...                       |
//	+---------------+---------------+---------------+---------------+
//	|                               |  Pad Length   |  Next Header  |
//	+-------------------------------+---------------+---------------+
//	|                  ICV (8 to 32 bytes)                          |
//	+---------------------------------------------------------------+
func (o *Outbound) protect(esp, payload []byte, l *layout) {
	binary.BigEndian.PutUint64(esp, uint64(o.spi)<<32|uint64(uint32(o.sequence)))
	if o.direct != nil && l.fill == 0 {
		trailer, n := l.trailer()
		o.direct.sealFrom(esp, payload, trailer, n, o.sequence)
		return
	}
	body := esp[HeaderLen+o.suite.IVLen:]
	trailer := body[copy(body, payload):]
	if l.fill > 0 {
		clear(trailer[:l.fill])
		trailer = trailer[l.fill:]
	}
	for i := range l.pad {
		trailer[i] = byte(i + 1)
	}
	trailer[l.pad] = byte(l.pad)
	trailer[l.pad+1] = l.next
	o.protector.seal(esp, o.sequence)
}

// trailer is what protect writes behind a payload, for a padding of less than
// four bytes, lowest byte first, and its length.
func (l *layout) trailer() (bytes uint64, n int) {
	at := 8 * l.pad
	return 0x030201&(1<<at-1) | uint64(l.pad)<<at | uint64(l.next)<<(at+8), l.pad + trailerLen
}

// nextHeader names an inner packet: IPv4 or IPv6 in a tunnel (RFC 4303 §2.6).
func nextHeader(inner []byte) uint8 {
	if inner[0]>>4 == 6 {
		return packet.IPv6
	}
	return packet.IPv4
}

// Publish makes the counters visible to Usage.
func (o *Outbound) Publish() { o.publish(o.sequence) }

// Wipe ends the SA: Seal answers DropNoSA from now on. The owner calls it, or
// whoever knows that the owner has left.
func (o *Outbound) Wipe() {
	if o.protector != nil {
		o.protector.wipe()
		o.protector, o.direct = nil, nil
	}
}

func (o *Outbound) drop(v packet.Verdict) packet.Verdict {
	o.Drops++
	return v
}
