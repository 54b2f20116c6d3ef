package nat

// tcpState is what is known of the connection of a mapping (RFC 5382 §5). Where an
// inside port has several, the mapping ends later rather than sooner.
type tcpState uint8

const (
	answered  tcpState = 1 << iota // something came back
	open                           // past both SYNs
	closedOut                      // the inside host will send no more
	closedIn
	reset
)

// TCP's flags (RFC 9293 §3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
)

// segment is what a TCP packet tells.
type segment struct {
	flags byte
	data  bool // it carries some
}

func segmentOf(ip []byte, payload, length int) segment {
	return segment{ip[payload+13], length-payload > int(ip[payload+12]>>4)*4}
}

// next is the state after a segment, which left or came in. Who has closed and
// sends data all the same has another connection; the other side may have sent
// before it knew.
func (s tcpState) next(g segment, out bool) tcpState {
	own := closedOut
	if !out {
		own = closedIn
		s |= answered
	}
	switch {
	case g.flags&flagRST != 0:
		return s | own | reset
	case g.flags&flagSYN != 0:
		return s & answered // it opens, perhaps anew
	case g.flags&flagFIN != 0:
		return s | own
	case g.data && s&own != 0:
		s &^= own | reset
	}
	if s&answered != 0 {
		s |= open
	}
	return s
}

func (s tcpState) limit() limit {
	if s&open == 0 || s&reset != 0 || s&(closedOut|closedIn) == closedOut|closedIn {
		return limitTransitory
	}
	return limitEstablished
}
