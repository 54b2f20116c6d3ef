package v2

import (
	"fmt"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// Silence is what the data path says of one of our children: we send, and
// nothing that authenticates comes back (D3).
func (s *SA) Silence(now, lastIn time.Time) {
	if s.state == Established && s.dpd.Silent(now, lastIn) {
		s.probe(now)
	}
}

// Doubt asks the peer whether it lives, on somebody's word that proves nothing
// (V7).
func (s *SA) Doubt(now time.Time) {
	if s.state == Established && !s.dpd.Asking() && s.conn.DPD.Tries > 0 {
		s.probe(now)
	}
}

// rumour takes an answer that nobody proved to have sent. RFC 7296 §2.21.4 has
// one that complains about the IKE SA taken "as a hint that there might be problems
// with SAs to that IP address": the peer is asked, and what waits for its answer is
// given up as soon as a dead peer would be. Nothing else changes.
func (s *SA) rumour(now time.Time, d session.Datagram) {
	m, err := wire.ParseMessage(d.Data)
	if err != nil {
		return
	}
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyInvalidIKESPI); !ok {
		return
	}
	s.Doubt(now)
	if s.state == AuthSent && !s.request.doubted && s.conn.DPD.Tries > 0 {
		s.request.doubted = true
		s.request.retransmission.Start(now, s.conn.DPD.Schedule())
	}
}

// probe asks whether the peer lives: RFC 7296 §2.4, an empty INFORMATIONAL. A
// request that is out already asks as well, since it must be answered; it is
// repeated as fast as a query from now on.
func (s *SA) probe(now time.Time) {
	if s.request == nil {
		s.send(now, wire.ExchangeInformational, nil, func(time.Time, wire.Message) {})
		if s.request == nil {
			return
		}
		s.request.empty = true
	} else {
		s.transmit(s.request.messages)
	}
	s.request.query = true
	s.request.retransmission.Start(now, s.dpd.Ask(now, s.request.id))
}

// missed counts one query that was not answered in time (D5).
func (s *SA) missed() {
	errors, tries := s.dpd.Missed()
	s.audit(slog.LevelInfo, fmt.Sprintf("DPD incrementing error counter (%d/%d)", errors, tries))
}

// bury ends an established IKE SA whose peer is dead, in the order of D8: the
// child SAs, a Delete for them, a Delete for the IKE SA, and all that is known of
// the peer. A peer that still hears us frees its side.
func (s *SA) bury(now time.Time, reason string) {
	var spis []uint32
	for _, c := range s.children {
		if c.state < childDeleting {
			spis = append(spis, uint32(c.In))
		}
	}
	s.dropChildren()
	if len(spis) > 0 {
		s.sendOnce(wire.ExchangeInformational, wire.Delete{Protocol: wire.ProtocolESP, SPIs: spis})
	}
	s.sendOnce(wire.ExchangeInformational, wire.Delete{Protocol: wire.ProtocolIKE})
	s.free(now)
	s.audit(slog.LevelWarn, fmt.Sprintf("%%CRYPTO-5-SESSION_STATUS: Crypto tunnel is DOWN. Peer %v Id: %v", s.remote, s.peerID),
		slog.String("reason", reason))
}

// Established reports whether the IKE SA can carry exchanges.
func (s *SA) Established() bool { return s.state == Established }

// ForgetAll drops the IKE SA and its children without a word to the peer.
func (s *SA) ForgetAll(now time.Time) { s.free(now) }

// Sends reports whether a child SA sends with this SPI.
func (s *SA) Sends(spi uint32) bool {
	return s.find(func(c *child) bool { return uint32(c.Out) == spi && c.Sends() }) != nil
}

// Carries reports whether a child SA of that name sends.
func (s *SA) Carries(name string) bool {
	return s.find(func(c *child) bool { return c.Conf.Name == name && c.Sends() }) != nil
}

// schedule is how a request is repeated.
func (s *SA) schedule() session.Schedule {
	if s.state == Established || s.conn == nil {
		return session.DefaultSchedule()
	}
	return s.conn.OpeningSchedule()
}
