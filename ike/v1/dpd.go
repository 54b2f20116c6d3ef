package v1

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// Dead peer detection (RFC 3706). Each query is an informational exchange of
// its own with the next sequence number; so is each answer.

// queries are ours that wait for an answer.
type queries struct {
	retransmission session.Retransmission
	first, last    uint32 // sequence numbers out since the peer last answered
	ignored        uint64 // queries and answers with a number that is wrong
}

// ask sends one query.
func (s *SA) ask(now time.Time) {
	s.queries.last++
	s.notify(now, s.dpdNotify(wire.V1NotifyRUThere, s.queries.last))
}

func (s *SA) dpdNotify(t wire.V1NotifyType, seq uint32) wire.V1Notify {
	return wire.V1Notify{DOI: wire.DOIIPsec, Protocol: wire.ProtocolIKE, SPI: s.cookies(), Type: t,
		Data: binary.BigEndian.AppendUint32(nil, seq)}
}

// probe starts to ask. A peer that did not announce DPD need not answer (D9).
func (s *SA) probe(now time.Time) {
	if s.dpd.Keepalive() {
		s.keepAlive(now)
		return
	}
	if s.dpd.Asking() || !s.number() {
		return
	}
	s.queries.first = s.queries.last + 1
	s.queries.retransmission.Start(now, s.dpd.Ask(now, s.queries.first))
	s.ask(now)
}

// number draws the first sequence number: RFC 3706 §5.4, random, with the high bit
// clear.
func (s *SA) number() bool {
	if s.queries.last != 0 {
		return true
	}
	b, err := session.Draw(s.env.Rand, 4)
	if err != nil {
		s.internal(err)
		return false
	}
	s.queries.last = binary.BigEndian.Uint32(b)>>1 + 1
	return true
}

// keepAlive is the rule for peers without DPD (D9): a keepalive for each interval of
// silence, and three in a row that no sign of life follows make the peer dead. It
// is the message of DPD, which a peer that does not know it ignores.
func (s *SA) keepAlive(now time.Time) {
	send, missed, dead := s.dpd.KeepAlive(now)
	if missed {
		st := s.dpd.Status()
		s.audit(slog.LevelInfo, fmt.Sprintf("keepalive incrementing error counter (%d/3)", st.Errors))
	}
	switch {
	case dead:
		s.bury(now, "peer gives no sign of life after 3 keepalives")
	case send && s.number():
		s.queries.first = s.queries.last + 1
		s.ask(now)
	}
}

// tickDPD asks a periodic peer, asks again, and in the end buries it (D5).
func (s *SA) tickDPD(now time.Time) {
	if s.state != Established {
		return
	}
	if s.dpd.Asking() && session.Passed(now, s.queries.retransmission.Due()) {
		errors, tries := s.dpd.Missed()
		s.audit(slog.LevelInfo, fmt.Sprintf("DPD incrementing error counter (%d/%d)", errors, tries))
		if again, dead := s.queries.retransmission.Step(now); dead {
			s.bury(now, fmt.Sprintf("peer does not answer DPD after %d tries", tries))
		} else if again {
			s.ask(now)
		}
		return
	}
	if session.Passed(now, s.dueDPD()) {
		s.probe(now)
	}
}

// watchPeer begins with a peer that has just proved to be there. One that does not
// know DPD is watched by keepalives (D9).
func (s *SA) watchPeer(now time.Time) {
	s.dpd = session.NewLiveness(s.conn.DPD, now)
	if !s.vendors[wire.V1VendorDPD] {
		s.dpd.UseKeepalive()
	}
}

// dueDPD is when to ask a periodic peer, zero for never.
func (s *SA) dueDPD() time.Time {
	if s.dpd.Keepalive() {
		return s.dpd.KeepaliveDue()
	}
	return s.dpd.Due()
}

// Silence is what the data path says of one of our children: we send, and
// nothing that authenticates comes back (D3).
func (s *SA) Silence(now, lastIn time.Time) {
	s.dpd.Heard(lastIn)
	if s.state == Established && s.dpd.Silent(now, lastIn) {
		s.probe(now)
	}
}

// Doubt asks the peer whether it lives, on somebody's word that proves nothing (V7).
func (s *SA) Doubt(now time.Time) {
	if s.state == Established {
		s.probe(now)
	}
}

// peerDPD answers a query in any case (D1), and takes an answer. A number that
// does not follow is a replay, or not ours, and is counted (D9).
func (s *SA) peerDPD(now time.Time, n wire.V1Notify) {
	if len(n.Data) != 4 || s.state != Established && s.state != Replaced {
		return
	}
	seq := binary.BigEndian.Uint32(n.Data)
	if n.Type == wire.V1NotifyRUThere {
		if last := s.dpd.Status().PeerSeq; last != 0 && int32(seq-last) <= 0 {
			s.queries.ignored++
			return
		}
		s.dpd.PeerAsked(now, seq)
		s.notify(now, s.dpdNotify(wire.V1NotifyRUThereAck, seq))
		return
	}
	if s.dpd.Keepalive() && seq == s.queries.last || s.dpd.Asking() && seq >= s.queries.first && seq <= s.queries.last {
		s.dpd.Answered(now)
		s.queries.retransmission.Stop()
		return
	}
	s.queries.ignored++
}

// bury ends an ISAKMP SA whose peer is dead, in the order of D8: the child SAs, a
// Delete for each, a Delete for the ISAKMP SA, and all that is known of the peer.
func (s *SA) bury(now time.Time, reason string) {
	gone := append([]*child(nil), s.children...)
	var spis [][]byte
	for _, c := range gone {
		if c.state < childLingering {
			spis = append(spis, session.SPIBytes(c.In))
		}
	}
	s.dropChildren()
	if len(spis) > 0 {
		s.notify(now, s.deleteOf(spis...))
	}
	s.deleteISAKMP()
	peer, id := s.remote, s.peerID
	others := s.env.Host.Peers(s)
	s.free(now)
	for _, o := range others {
		if o.remote.Addr() != peer.Addr() {
			continue // another peer of the list (P1)
		}
		o.free(now)
		s.env.Host.Changed(now, o)
	}
	s.audit(slog.LevelWarn, fmt.Sprintf("%%CRYPTO-5-SESSION_STATUS: Crypto tunnel is DOWN. Peer %v Id: %v", peer, id),
		slog.String("reason", reason))
	s.env.Host.Failed(now, s.conn.Name, "", reason)
}
