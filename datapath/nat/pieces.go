package nat

import (
	"net/netip"
	"time"

	"spindle/datapath/packet"
)

// pieces remembers to which inside host the first fragment of a packet went, for
// those behind it (RFC 4787 §11: in order). Packets that meet in a place push each
// other out, and what is then lost of the older one is sent again by its source.
type pieces [256]struct {
	source   netip.Addr
	id       uint16
	protocol uint8
	inside   [4]byte
	until    int64
}

// pieceTime is how long fragments of one packet are under way: less than any
// receiver waits for them (RFC 1122 §3.3.2).
const pieceTime = int64(30 * time.Second)

func (p *pieces) note(h *packet.Header, inside [4]byte, now int64) {
	e := &p[placeOf(h)]
	e.source, e.id, e.protocol, e.inside, e.until = h.Src, uint16(h.ID), h.Protocol, inside, now+pieceTime
}

func (p *pieces) find(h *packet.Header, now int64) (inside [4]byte, ok bool) {
	e := &p[placeOf(h)]
	ok = e.source == h.Src && e.id == uint16(h.ID) && e.protocol == h.Protocol && now < e.until
	return e.inside, ok
}

func placeOf(h *packet.Header) uint8 {
	return uint8(h.ID) ^ uint8(h.ID>>8) ^ h.Protocol ^ h.Src.As4()[3]
}
