package esp

import (
	"encoding/binary"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// Inbound is an SA that opens packets.
type Inbound struct {
	Counters

	suite     Suite
	protector protector // nil once wiped
	window    window
}

// NewInbound prepares an SA. It keeps neither sa nor its key.
func NewInbound(sa *sadb.SA) (*Inbound, error) {
	s, err := suiteFor(sa, sadb.Inbound)
	if err != nil {
		return nil, err
	}
	in := &Inbound{suite: s}
	if in.window, err = newWindow(sa.ReplayWindow, sa.ESN); err != nil {
		return nil, err
	}
	if in.protector, err = s.protector(sa); err != nil {
		return nil, err
	}
	return in, nil
}

// Open writes to dst the packet that an ESP packet carries and returns its
// length. esp starts at the ESP header and ends with the ICV; its SPI is known
// to be this SA's. dst must be as long as esp and must not overlap it; bytes
// beyond the returned length are scratch. tos is the outer traffic class, now
// the caller's clock.
//
//  1. Check that the lengths can be those of an ESP packet of this suite.
//  2. Complete the sequence number; refuse what was seen or is too old.
//  3. Verify the ICV and decrypt; without a valid ICV dst is cleared.
//  4. Only now move the window (RFC 4303 §3.4.3).
//  5. Check padding and next header.
//  6. Trim to the inner packet's own length: what follows it is traffic flow
//     confidentiality padding (RFC 4303 §2.7).
//  7. Carry the outer congestion mark inside (RFC 6040 §4.2).
func (in *Inbound) Open(dst, esp []byte, tos uint8, now int64) (int, packet.Verdict) {
	if in.protector == nil {
		return 0, in.drop(packet.DropUnknownSPI)
	}
	// 1
	size, v := in.measure(esp)
	if v != packet.Pass {
		return 0, in.drop(v)
	}
	if size > len(dst) {
		return 0, in.drop(packet.DropTooBig)
	}
	// 2
	seq, ok := in.window.complete(binary.BigEndian.Uint32(esp[4:]))
	if !ok || !in.window.fresh(seq) {
		return 0, in.drop(packet.DropReplay)
	}
	// 3
	dst = dst[:size:size]
	if !in.protector.open(dst, esp, seq) {
		return 0, in.drop(packet.DropAuth)
	}
	// 4
	in.window.commit(seq)
	in.LastUsed = now
	// 5, 6
	n, v := strip(dst)
	if v != packet.Pass {
		return 0, in.drop(v)
	}
	// 7
	if v := decapsulate(dst, tos); v != packet.Pass {
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
// of the inner packet. RFC 4303 §2.4: the receiver SHOULD inspect the padding,
// which counts 1, 2, 3 up to the pad length.
func strip(plain []byte) (int, packet.Verdict) {
	end := len(plain) - trailerLen
	pad, next := int(plain[end]), plain[end+1]
	if pad > end {
		return 0, packet.DropPadding
	}
	end -= pad
	for i, b := range plain[end : end+pad] {
		if b != byte(i+1) {
			return 0, packet.DropPadding
		}
	}
	switch next {
	case packet.NoNext:
		return 0, packet.DropDummy
	case packet.IPv4, packet.IPv6:
	default:
		return 0, packet.DropPadding
	}
	n, v := packet.Length(plain[:end])
	if v == packet.Pass && nextHeader(plain) != next {
		return 0, packet.DropMalformed
	}
	return n, v
}

// decapsulate combines the congestion marks of both headers in the inner one.
func decapsulate(inner []byte, tos uint8) packet.Verdict {
	was := packet.TOS(inner)
	now, v := packet.Decapsulated(was, tos)
	if v == packet.Pass && now != was {
		packet.SetTOS(inner, now)
	}
	return v
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
