package v2

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
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

// natPayloads are the hashes by which the other end sees a NAT.
func (s *SA) natPayloads(local, remote netip.AddrPort) []wire.Payload {
	if s.fakesNAT() {
		// A hash that cannot match: the peer sees a NAT in front of us.
		local = netip.AddrPortFrom(local.Addr(), 0)
	}
	source := suite.NATDetection(s.spiI, s.spiR, local)
	destination := suite.NATDetection(s.spiI, s.spiR, remote)
	return []wire.Payload{
		wire.Notify{Type: wire.NotifyNATDetectionSourceIP, Data: source[:]},
		wire.Notify{Type: wire.NotifyNATDetectionDestinationIP, Data: destination[:]},
	}
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

// float moves the initiator to port 4500: RFC 7296 §2.23, with a NAT "all
// subsequent traffic MUST be sent from and to port 4500"; RFC 4555 §3.3, without
// one too, so that the ports stay when a NAT is met on another path. A peer
// without hashes knows of no such port.
func (s *SA) float(m wire.Message) {
	_, knows := wire.FindNotify(m.Payloads, wire.NotifyNATDetectionSourceIP)
	if s.encap() || s.conn.MOBIKE && knows {
		s.local = netip.AddrPortFrom(s.local.Addr(), natPort)
		s.remote = netip.AddrPortFrom(s.remote.Addr(), natPort)
	}
}

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
// authenticated packet from the other end". With MOBIKE such a host "MUST NOT
// use these dynamic updates for IKEv2 packets" (RFC 4555 §3.8): the peer says
// so when it moved.
func (s *SA) follow(d session.Datagram) {
	if s.state == InitAnswered {
		s.local, s.remote = d.Local, d.Remote
		return
	}
	if s.remote == d.Remote || !s.natRemote || s.natLocal || s.mobility.on {
		return
	}
	s.local, s.remote = d.Local, d.Remote
	s.audit(slog.LevelInfo, "peer moved behind its NAT")
	s.moveChildren()
}

// Moved follows the peer by its ESP (N5), which may be all it says for hours: "the
// IP address and port from the last valid authenticated packet" are those of any
// packet. With MOBIKE the IKE SA stays where the peer's IKE put it, and so does the
// address; the child SAs alone take the port that the NAT gave their packets (RFC
// 4555 §3.8).
func (s *SA) Moved(remote netip.AddrPort) {
	if s.state != Established || !s.natRemote || s.natLocal {
		return
	}
	if !s.mobility.on {
		s.follow(session.Datagram{Local: s.local, Remote: remote})
		return
	}
	if remote.Addr() != s.remote.Addr() {
		return
	}
	s.audit(slog.LevelInfo, "peer's ESP moved behind its NAT", slog.String("esp", remote.String()))
	for _, c := range s.children {
		if c.Sends() {
			s.env.Out.Put(session.UpdateSA{Pair: c.In, Local: s.local, Remote: remote, Encap: c.Encap})
		}
	}
}

// moveChildren gives every child SA the endpoints of the IKE SA.
func (s *SA) moveChildren() {
	for _, c := range s.children {
		c.Move(s.env.Out, s.local, s.remote, s.encap())
	}
	s.mobility.carried = s.path()
}

// quiet starts the wait for the next NAT keepalive: something just went out.
func (s *SA) quiet(now time.Time) {
	s.keepaliveAt = time.Time{}
	if s.natLocal && s.state == Established && s.conn.NATKeepalive > 0 {
		s.keepaliveAt = now.Add(s.conn.NATKeepalive)
	}
}

// keepAlive keeps the mapping of a NAT in front of us when the IKE SA was
// silent (T3). Whether the child SAs were silent too only the data path knows.
func (s *SA) keepAlive(now time.Time) {
	if !session.Passed(now, s.keepaliveAt) {
		return
	}
	var pairs []sadb.SPI
	for _, c := range s.children {
		if c.Sends() {
			pairs = append(pairs, c.In)
		}
	}
	s.env.Out.Put(session.Keepalive{Local: s.local, Remote: s.remote, Pairs: pairs, Quiet: s.conn.NATKeepalive})
	s.quiet(now)
}
