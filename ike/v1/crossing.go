package v1

import (
	"bytes"
	"errors"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// Both ends may ask for the same child SA in the same moment, to begin with or to
// rekey one. Were both made, each end could send on another, and nobody would delete
// the one too many. IKEv1 does not speak of that; as in IKEv2 (RFC 7296 §2.8.1) the
// lower nonce loses. The end with the higher one goes on and lets the other's message
// lie, the end with the lower one answers and gives up its own quick mode. A peer of
// another make answers in any case: then the newer child SA takes over.

// asked checks message 1 of the peer, and that it does not cross one of ours that
// goes on. It is as if it had got lost: repeated later, it is answered.
func (s *SA) asked(x *exchange) func(m wire.V1Message) error {
	hashed := s.hashed(x)
	return func(m wire.V1Message) error {
		if err := hashed(m); err != nil {
			return err
		}
		if _, q := s.rival(m); q != nil && !loses(q, m) {
			return errors.New("quick modes crossed, ours goes on")
		}
		return nil
	}
}

// yield gives up our quick mode for the peer's.
func (s *SA) yield(now time.Time, m wire.V1Message) {
	owner, q := s.rival(m)
	if q == nil {
		return
	}
	s.audit(slog.LevelInfo, "rekey collision: the peer's quick mode goes on", slog.String("child", q.conf.Name))
	spi := q.spi
	owner.withdraw(now, q)
	s.env.Host.Changed(now, owner)
	if spi != 0 {
		s.notify(now, s.deleteOf(session.SPIBytes(spi)))
	}
}

// rival finds our quick mode that asks for the same as the peer's.
func (s *SA) rival(m wire.V1Message) (*SA, *quick) {
	p := s.hosts()
	if ids := idsOf(m); len(ids) > 0 {
		var err error
		if p, err = pairOf(ids, false); err != nil {
			return nil, nil
		}
	}
	for _, o := range s.all() {
		if o.quick != nil && o.quick.pair == p {
			return o, o.quick
		}
	}
	return nil, nil
}

func loses(q *quick, m wire.V1Message) bool {
	nonce, _ := wire.Find[wire.V1Nonce](m.Payloads)
	return bytes.Compare(q.ni, nonce.Data) < 0
}

// granted reports whether the peer is about to replace a child SA by another.
func (s *SA) granted(c *child) bool {
	for _, owner := range s.all() {
		if owner.findChild(func(o *child) bool { return o != c && o.like(c) && o.Waits() }) != nil {
			return true
		}
	}
	return false
}
