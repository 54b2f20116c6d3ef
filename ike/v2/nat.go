package v2

import (
	"log/slog"
	"slices"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

const natPort = 4500 // RFC 7296 §2.23

// detectNAT compares the hashes of the peer with what we see (RFC 7296 §2.23).
// A peer that sends none knows nothing of NATs.
func (s *SA) detectNAT(d session.Datagram, m wire.Message) {
	h := m.Header
	source := suite.NATDetection(h.InitiatorSPI, h.ResponderSPI, d.Remote)
	destination := suite.NATDetection(h.InitiatorSPI, h.ResponderSPI, d.Local)
	s.natRemote = mismatch(m.Payloads, wire.NotifyNATDetectionSourceIP, source[:])
	s.natLocal = mismatch(m.Payloads, wire.NotifyNATDetectionDestinationIP, destination[:])
	s.natFaked = s.fakesNAT()
}

// fakesNAT tells whether we are to seem behind a NAT, so that ESP goes through
// UDP. A responder does not know yet which of the peer's connections is meant:
// one that asks for it is enough.
func (s *SA) fakesNAT() bool {
	asks := func(c *session.Connection) bool { return c.ForceEncap }
	return s.conn != nil && asks(s.conn) || slices.ContainsFunc(s.candidates, asks)
}

// mismatch reports whether there are such hashes and none is the expected one:
// a multihomed peer sends several.
func mismatch(payloads []wire.Payload, t wire.NotifyType, want []byte) bool {
	found := false
	for _, p := range payloads {
		if n, ok := p.(wire.Notify); ok && n.Type == t {
			found = true
			if slices.Equal(n.Data, want) {
				return false
			}
		}
	}
	return found
}

// encap reports whether ESP goes through UDP: RFC 7296 §2.23, whenever either
// end found a NAT between them.
func (s *SA) encap() bool { return s.natLocal || s.natRemote || s.natFaked }

// attrs name the IKE SA in the operator's log.
func (s *SA) attrs() []slog.Attr {
	var list []slog.Attr
	if s.conn != nil {
		list = append(list, slog.String("conn", s.conn.Name))
	}
	return append(list, slog.String("peer", s.remote.String()))
}

// follow keeps to where an authenticated peer behind a NAT speaks from:
// RFC 7296 §2.23, a host not behind a NAT "SHOULD send all packets (including
// retransmission packets) to the IP address and port from the last valid
// authenticated packet from the other end".
func (s *SA) follow(d session.Datagram) {
	moved := s.remote != d.Remote && s.natRemote && !s.natLocal
	if s.state == InitAnswered {
		s.local, s.remote = d.Local, d.Remote
		return
	}
	if !moved {
		return
	}
	s.local, s.remote = d.Local, d.Remote
	s.audit(slog.LevelInfo, "peer moved behind its NAT")
	for _, c := range s.children {
		if c.spare != nil {
			c.spare.Local, c.spare.Remote = s.local, s.remote
		}
		s.env.Out.Put(session.UpdateSA{Pair: c.in, Local: s.local, Remote: s.remote, Encap: c.encap})
	}
}
