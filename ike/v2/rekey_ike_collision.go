package v2

import (
	"bytes"
	"log/slog"
	"time"

	"spindle/ike/wire"
)

// Both ends may ask for a successor of one IKE SA at the same moment: RFC 7296
// §2.8.2, each answers as usual, and then there are two. "The new IKE SA
// containing the lowest nonce SHOULD be deleted by the node that created it, and
// the other surviving new IKE SA MUST inherit all the Child SAs."

// compete keeps the successor that the peer asked for beside the one we ask for.
func (s *SA) compete(now time.Time, next *SA) {
	s.rival, next.elder = next, s
	next.move(Established)
	next.retireAt = now.Add(replacedLife)
	s.env.Host.Adopt(now, next)
}

// choose settles which successor stays, now that ours stands. Its maker deletes
// the old IKE SA; the other one is deleted by the end that asked for it.
func (s *SA) choose(now time.Time, ours *SA) {
	rival := s.rival
	if s.outbid(ours.lowest) {
		s.audit(slog.LevelInfo, "rekey collision: the peer's IKE SA stays")
		ours.move(Established)
		ours.push(now, task{kind: taskDeleteIKE})
		s.env.Host.Adopt(now, ours)
		ours.pump(now)
		s.yield(now)
		return
	}
	if rival != nil {
		s.audit(slog.LevelInfo, "rekey collision: our IKE SA stays")
		rival.elder, rival.retireAt, rival.expireAt = nil, time.Time{}, now.Add(replacedLife)
		rival.move(Replaced)
		s.env.Host.Adopt(now, rival)
	}
	s.handOver(now, ours)
	s.push(now, task{kind: taskDeleteIKE})
}

// outbid reports whether the successor that the peer asked for stays instead of ours
// with that nonce: one that stands, or one whose key exchanges are not all made yet.
func (s *SA) outbid(ours []byte) bool {
	o := s.succeeding()
	return s.state != Established || s.rival != nil && bytes.Compare(ours, s.rival.lowest) < 0 ||
		o != nil && bytes.Compare(ours, lowest(o.nonces)) < 0
}

// yield lets the peer's successor take over, if there is one that waits. The peer
// made it and deletes this IKE SA.
func (s *SA) yield(now time.Time) bool {
	if s.rival == nil || s.state != Established {
		return false
	}
	s.handOver(now, s.rival)
	s.expireAt = now.Add(replacedLife)
	s.env.Host.Adopt(now, s)
	return true
}

// withdraw ends the competition of a successor that is given up.
func (s *SA) withdraw() {
	if s.elder != nil {
		s.elder.rival = nil
	}
	s.elder = nil
}

// chosenByPeer notes that the peer uses the successor it asked for: it has seen
// no collision, or the outcome of it.
func (s *SA) chosenByPeer(now time.Time, m wire.Message) {
	if s.elder == nil {
		return
	}
	if d, ok := wire.Find[wire.Delete](m.Payloads); ok && d.Protocol == wire.ProtocolIKE {
		return
	}
	s.elder.yield(now)
}
