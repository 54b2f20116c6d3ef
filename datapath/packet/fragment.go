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
