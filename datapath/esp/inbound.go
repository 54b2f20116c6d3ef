package esp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// Inbound is an SA that opens packets.
type Inbound struct {
	Counters

	suite     *Suite
	protector protector // nil once wiped
	kernel    kernel    // the protector, if it is one
	window    window
	failed    int // ICVs in a row that were wrong
	transport bool

	encap, moved bool
	peer         netip.AddrPort // where the newest packet came from, with encap

	reorder reorder // what follows is not touched by packets in order
}

// NewInbound prepares an SA. It keeps neither sa nor its key.
func (c *Crypto) NewInbound(sa *sadb.SA) (*Inbound, error) {
	in := new(Inbound)
	return in, c.Inbound(in, sa)
}

// Inbound is NewInbound in memory of the caller's, which must be empty and stay
// where it is.
func (c *Crypto) Inbound(in *Inbound, sa *sadb.SA) error {
	s, err := suiteFor(sa, sadb.Inbound)
	if err != nil {
		return err
	}
	in.suite, in.transport, in.encap = s, sa.Mode == sadb.Transport, sa.Encap
	in.peer = netip.AddrPortFrom(sa.Remote.Addr().Unmap(), sa.Remote.Port())
	if in.window, err = newWindow(sa.ReplayWindow, sa.ESN); err != nil {
		return err
	}
	in.protector, err = s.protector(sa, c, &in.kernel)
	return err
}

// Open writes to dst the packet that an ESP packet carries and returns its
// length. ip is the outer packet, whole and no fragment, and h its parsed
// header. esp is the part of it from the ESP header to the end of the ICV, past
// a UDP header; its SPI is known to be this SA's. dst must be as long as esp, in
// transport mode as ip, and must not overlap it; bytes beyond the returned
// length are scratch. now is the caller's clock.
//
//  1. Check that the lengths can be those of an ESP packet of this suite.
//  2. Complete the sequence number; refuse what was seen or is too old.
//  3. Verify the ICV and decrypt; without a valid ICV dst is cleared.
//  4. Only now move the window (RFC 4303 §3.4.3), and follow the peer.
//  5. Take off padding and next header, and what follows the inner packet by its
//     own length: traffic flow confidentiality padding (RFC 4303 §2.7).
//  6. In tunnel mode, carry the outer congestion mark inside (RFC 6040 §4.2); in
//     transport mode, put the headers back together.
func (in *Inbound) Open(dst, ip []byte, h *packet.Header, esp []byte, now int64) (int, packet.Verdict) {
	if in.protector == nil {
		return 0, in.drop(packet.DropUnknownSPI)
	}
	// 1
	size, v := in.measure(esp)
	if v != packet.Pass {
		return 0, in.drop(v)
	}
	head := 0
	if in.transport {
		head = h.Payload
	}
	if head+len(esp) > len(dst) {
		return 0, in.drop(packet.DropTooBig)
	}
	// 2
	seq, ok := in.window.complete(binary.BigEndian.Uint32(esp[4:]))
	if !ok || !in.window.fresh(seq) {
		in.reorder.left(&in.window, seq)
		return 0, in.drop(packet.DropReplay)
	}
	// 3
	body := dst[head : head+size : head+len(esp)]
	if !in.protector.open(body, esp, seq) {
		if seq, ok = in.resynchronize(body, esp); !ok {
			return 0, in.drop(packet.DropAuth)
		}
	}
	in.failed = 0
	// 4
	in.follow(h, seq)
	in.reorder.arrived(&in.window, seq)
	in.window.commit(seq)
	in.LastUsed = now
	// 5, 6
	n := 0
	if in.transport {
		copy(dst, ip[:head])
		n, v = restore(dst[:head+size], head, h)
	} else {
		n, v = tunneled(body, h.TOS)
	}
	if v != packet.Pass {
		return 0, in.drop(v)
	}
	in.count(n, now)
	return n, packet.Pass
}

// measure returns the length of the ciphertext.
func (in *Inbound) measure(esp []byte) (int, packet.Verdict) {
	size := len(esp) - HeaderLen - in.suite.IVLen - in.suite.ICVLen
	if size < in.suite.Align {
		return 0, packet.DropTruncated
	}
	if size&(in.suite.Align-1) != 0 {
		return 0, packet.DropMalformed
	}
	return size, packet.Pass
}

// strip takes the trailer off an authenticated plaintext and returns the length
// of what is before it, and its protocol. RFC 4303 §2.4: the receiver SHOULD
// inspect the padding, which counts 1, 2, 3 up to the pad length.
func strip(plain []byte) (n int, next uint8, v packet.Verdict) {
	end := len(plain) - trailerLen
	pad, next := int(plain[end]), plain[end+1]
	if pad > end {
		return 0, 0, packet.DropPadding
	}
	end -= pad
	for i, b := range plain[end : end+pad] {
		if b != byte(i+1) {
			return 0, 0, packet.DropPadding
		}
	}
	if next == packet.NoNext {
		return 0, 0, packet.DropDummy
	}
	return end, next, packet.Pass
}

// tunneled finds the inner packet in a plaintext, and combines the congestion
// marks of both headers in its own.
func tunneled(plain []byte, tos uint8) (int, packet.Verdict) {
	end, next, v := strip(plain)
	if v != packet.Pass {
		return 0, v
	}
	if next != packet.IPv4 && next != packet.IPv6 {
		return 0, packet.DropPadding
	}
	n, v := packet.Length(plain[:end])
	if v != packet.Pass {
		return 0, v
	}
	if nextHeader(plain) != next {
		return 0, packet.DropMalformed
	}
	was := packet.TOS(plain)
	now, v := packet.Decapsulated(was, tos)
	if v == packet.Pass && now != was {
		packet.SetTOS(plain, now)
	}
	return n, v
}

// Publish makes the counters visible to Usage.
func (in *Inbound) Publish() { in.publish(in.window.top) }

// Wipe ends the SA: Open answers DropUnknownSPI from now on. The owner calls it,
// or whoever knows that the owner has left.
func (in *Inbound) Wipe() {
	if in.protector != nil {
		in.protector.wipe()
		in.protector = nil
	}
}

func (in *Inbound) drop(v packet.Verdict) packet.Verdict {
	in.Drops++
	return v
}

// InboundHot is how much of an Inbound, from its start, packets in order need.
const InboundHot = unsafe.Offsetof(Inbound{}.reorder)
