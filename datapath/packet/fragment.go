package packet

import "encoding/binary"

// Fragment writes to dst the next fragment of an IPv4 packet, at most mtu bytes
// long (RFC 791 §3.2). h is the parsed header of ip; at is how much of the
// payload the fragments before it took, 0 for the first. It returns the length
// of the fragment, and what at must be for the one after it, 0 after the last.
// n is 0 when the packet cannot be fragmented: IPv6, DF set, or an mtu or dst
// that leaves no room for eight bytes.
func Fragment(dst, ip []byte, h *Header, mtu, at int) (n, next int) {
	payload := h.Length - h.Payload
	if h.Version != 4 || h.DF || len(ip) < h.Length || at < 0 || at >= payload {
		return 0, 0
	}
	if at == 0 && h.Length <= min(mtu, len(dst)) {
		return copy(dst, ip[:h.Length]), 0
	}
	header := h.Payload
	if at > 0 {
		header = copiedOptions(nil, ip[:h.Payload])
	}
	room := (min(mtu, len(dst)) - header)
	size := payload - at
	if size > room {
		size = room &^ 7
	}
	if size <= 0 {
		return 0, 0
	}
	if at == 0 {
		copy(dst, ip[:header])
	} else {
		copiedOptions(dst, ip[:h.Payload])
	}
	copy(dst[header:], ip[h.Payload+at:h.Payload+at+size])
	next = at + size
	field := uint16(h.FragmentOffset+at) / 8
	if h.More || next < payload {
		field |= 0x2000
	}
	dst[0] = 0x40 | uint8(header/4)
	binary.BigEndian.PutUint16(dst[2:], uint16(header+size))
	binary.BigEndian.PutUint16(dst[6:], field)
	SetIPv4Checksum(dst)
	if next == payload {
		next = 0
	}
	return header + size, next
}

// FragmentIPv6 is Fragment for an IPv6 packet, which only its source may
// fragment (RFC 8200 §4.5): the fragment header goes behind the headers that
// nodes on the way read, and takes id, which must differ between the packets
// that are under way. A packet with a fragment header cannot be fragmented.
func FragmentIPv6(dst, ip []byte, h *Header, mtu int, id uint32, at int) (n, next int) {
	if h.Version != 6 || h.Fragment || len(ip) < h.Length || at < 0 {
		return 0, 0
	}
	if at == 0 && h.Length <= min(mtu, len(dst)) {
		return copy(dst, ip[:h.Length]), 0
	}
	head, protocol, v := TransportESP(ip[:h.Length])
	payload := h.Length - head
	if v != Pass || at >= payload {
		return 0, 0
	}
	if _, fragmented := lastNext(ip, head); fragmented {
		return 0, 0
	}
	size := payload - at
	if room := min(mtu, len(dst)) - head - fragmentLen; size > room {
		size = room &^ 7
	}
	if size <= 0 {
		return 0, 0
	}
	copy(dst, ip[:head])
	field := uint16(at)
	if next = at + size; next < payload {
		field |= 1
	}
	ext := dst[head : head+fragmentLen]
	ext[0], ext[1] = protocol, 0
	binary.BigEndian.PutUint16(ext[2:], field)
	binary.BigEndian.PutUint32(ext[4:], id)
	n = head + fragmentLen + copy(dst[head+fragmentLen:], ip[head+at:head+next])
	Restack(dst[:n], head, fragmentExt)
	if next == payload {
		next = 0
	}
	return n, next
}

const fragmentLen = 8

// copiedOptions writes the header of a later fragment: only options whose copied
// flag is set stay (RFC 791 §3.1). It returns its length, and writes nothing when
// dst is nil.
func copiedOptions(dst, header []byte) int {
	n := IPv4Len
	if dst != nil {
		copy(dst, header[:IPv4Len])
	}
	options := header[IPv4Len:]
	for len(options) > 1 && options[0] != 0 {
		size := 1
		if options[0] != 1 {
			size = int(options[1])
		}
		if size < 1 || size > len(options) || size == 1 && options[0] != 1 {
			break // malformed: what follows cannot be told apart
		}
		if options[0]&0x80 != 0 {
			if dst != nil {
				copy(dst[n:], options[:size])
			}
			n += size
		}
		options = options[size:]
	}
	for ; n%4 != 0; n++ {
		if dst != nil {
			dst[n] = 0
		}
	}
	return n
}
