package v2

import (
	"encoding/binary"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// answerInformational obeys what an INFORMATIONAL request carries. An empty one
// asks whether we live and is always answered (RFC 7296 §1.4, D1).
func (s *SA) answerInformational(now time.Time, d session.Datagram, m wire.Message) {
	if len(m.Payloads) == 0 {
		s.dpd.PeerAsked(now, m.Header.MessageID)
	}
	s.learnCrashToken(m.Payloads)
	var gone []uint32
	for _, p := range m.Payloads {
		switch p := p.(type) {
		case wire.Delete:
			if p.Protocol == wire.ProtocolIKE {
				s.answerDeleteIKE(now, d, m)
				return
			}
			gone = append(gone, s.peerDeletes(now, p)...)
		case wire.Notify:
			if p.Type == wire.NotifyAuthenticationFailed {
				s.respond(d, m)
				s.refusedByPeer(now, "peer refuses our authentication (AUTHENTICATION_FAILED): compare "+authKeys(s.conn)+", local.id and remote.id on both ends")
				return
			}
			s.peerNotifies(now, p)
		}
	}
	answer := s.answerMobike(now, d, m)
	if len(gone) > 0 {
		answer = append(answer, wire.Delete{Protocol: wire.ProtocolESP, SPIs: gone})
	}
	s.respond(d, m, answer...)
	s.redirectedStanding(now, m.Payloads)
}

// answerDeleteIKE: RFC 7296 §1.4.1, deleting an IKE SA closes its child SAs
// and is answered with an empty response.
func (s *SA) answerDeleteIKE(now time.Time, d session.Datagram, m wire.Message) {
	s.respond(d, m)
	s.yield(now)
	if s.state == Established && s.elder == nil {
		s.audit(slog.LevelInfo, "IKE SA deleted by peer")
	}
	s.close(now)
}

// refusedByPeer ends an IKE SA that the peer does not believe in.
func (s *SA) refusedByPeer(now time.Time, reason string) {
	s.audit(slog.LevelWarn, "negotiation failed", slog.String("reason", reason))
	s.close(now)
	if s.conn != nil {
		s.env.Host.Failed(now, s.conn.Name, "", reason)
	}
}

// peerDeletes closes the child SAs that the peer names and returns the other
// halves of the pairs, which are ours to name. A child SA whose Delete is
// already out from us is not named again (RFC 7296 §1.4.1).
func (s *SA) peerDeletes(now time.Time, p wire.Delete) []uint32 {
	var ours []uint32
	for _, spi := range p.SPIs {
		c := s.byOutbound(sadb.SPI(spi))
		if c == nil || p.Protocol != wire.ProtocolESP {
			if s.asking != nil {
				s.asking.stillborn = append(s.asking.stillborn, sadb.SPI(spi))
			}
			continue
		}
		if c.state != childDeleting {
			ours = append(ours, uint32(c.In))
		}
		s.audit(slog.LevelInfo, "child SA deleted by peer", c.Named()...)
		c.told = true
		s.succeed(c)
		s.linger(now, c)
	}
	return ours
}

// peerNotifies handles a notification inside the IKE SA. INVALID_SPI names an
// SPI that we send to and the peer does not hold: the child SA goes, and the
// next packet negotiates a new one (V7, RFC 7296 §1.5).
func (s *SA) peerNotifies(now time.Time, n wire.Notify) {
	if n.Type == wire.NotifyAuthLifetime {
		s.heedAuthLifetime(now, []wire.Payload{n})
		return
	}
	if n.Type != wire.NotifyInvalidSPI || len(n.Data) != 4 {
		return
	}
	spi := sadb.SPI(binary.BigEndian.Uint32(n.Data))
	c := s.byOutbound(spi)
	if c == nil {
		s.env.Host.UnknownToPeer(now, s, spi)
		return
	}
	s.Forget(now, spi)
}

// Forget removes the child SA that the peer does not hold, and reports whether
// there is one. Its Delete closes whatever half the peer may have.
func (s *SA) Forget(now time.Time, spi sadb.SPI) bool {
	c := s.byOutbound(spi)
	if c == nil || c.state == childDeleting {
		return false
	}
	s.audit(slog.LevelWarn, "child SA unknown to peer", c.Named()...)
	c.Hush(s.env.Out)
	s.push(now, task{kind: taskDeleteChild, child: c})
	s.pump(now)
	return true
}

// deleteChild tells the peer and keeps taking what it still sends until it
// answered. Nothing is sent on the child SA any more.
func (s *SA) deleteChild(now time.Time, c *child) {
	if c.state == childGone && !c.told {
		s.abandon(now, c.In)
	}
	if c.state >= childDeleting {
		return
	}
	c.told = true
	s.succeed(c)
	c.Hush(s.env.Out)
	c.state = childDeleting
	c.SoftAt, c.HardAt = time.Time{}, time.Time{}
	s.send(now, wire.ExchangeInformational,
		[]wire.Payload{wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{uint32(c.In)}}},
		func(now time.Time, m wire.Message) {
			if c.state == childDeleting {
				s.audit(slog.LevelInfo, "child SA deleted", c.Named()...)
				s.linger(now, c)
			}
		})
}

// deleteIKE deletes the IKE SA and, before it, its children.
func (s *SA) deleteIKE(now time.Time) {
	s.dropChildren()
	s.withdraw()
	s.voidAll()
	s.tasks = nil
	s.still()
	s.expireAt = time.Time{}
	s.move(Deleting)
	s.send(now, wire.ExchangeInformational, []wire.Payload{wire.Delete{Protocol: wire.ProtocolIKE}},
		func(now time.Time, m wire.Message) {
			s.audit(slog.LevelInfo, "IKE SA deleted")
			s.free(now)
		})
}

// closeNow deletes the IKE SA without waiting for the window or an answer.
func (s *SA) closeNow(now time.Time) {
	s.dropChildren()
	s.sendOnce(wire.ExchangeInformational, wire.Delete{Protocol: wire.ProtocolIKE})
	s.free(now)
}

// InvalidSPI tells the peer over the IKE SA that we hold no such SPI (V2).
func (s *SA) InvalidSPI(now time.Time, spi sadb.SPI) {
	s.push(now, task{kind: taskInvalidSPI, spi: spi})
	s.pump(now)
}

func (s *SA) sendInvalidSPI(now time.Time, spi sadb.SPI) {
	data := binary.BigEndian.AppendUint32(nil, uint32(spi))
	s.send(now, wire.ExchangeInformational,
		[]wire.Payload{wire.Notify{Type: wire.NotifyInvalidSPI, Data: data}},
		func(time.Time, wire.Message) {})
}
