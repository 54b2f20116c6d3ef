package v2

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

const (
	// seriesLife is how long we wait for the next IKE_FOLLOWUP_KE: longer than an
	// initiator repeats a request.
	seriesLife = 40 * time.Second
	maxSeries  = 8 // that a peer begins and does not end
	linkSize   = 16
)

// series is what we hold as responder between CREATE_CHILD_SA and the last
// IKE_FOLLOWUP_KE (RFC 9370 §2.2.4).
type series struct {
	rounds
	link     []byte // that the next request brings back
	nonces   [][]byte
	until    time.Time
	ike      bool     // it makes a successor of the IKE SA
	replaces *child   // nil for none
	spi      sadb.SPI // of the child SA, 0 for none
	// finish makes what was asked for; what it returns is done once the answer is out.
	finish func(now time.Time, shared []suite.Secret) (settle func(), err error)
}

// await answers CREATE_CHILD_SA and keeps what it has come to. What the peer began
// before for the same purpose it has given up.
func (s *SA) await(now time.Time, d session.Datagram, m wire.Message, o *series, payloads []wire.Payload) {
	s.void(func(old *series) bool { return old.ike && o.ike || o.replaces != nil && old.replaces == o.replaces })
	if len(s.series) >= maxSeries {
		oldest := s.series[0]
		s.void(func(old *series) bool { return old == oldest })
	}
	link, err := s.relink(now, o)
	if err != nil {
		s.discard(o)
		s.respond(d, m, *s.busy(err))
		return
	}
	s.series = append(s.series, o)
	s.respond(d, m, append(payloads, link)...)
}

// relink draws the link to the next exchange.
func (s *SA) relink(now time.Time, o *series) (wire.Notify, error) {
	o.link, o.until = make([]byte, linkSize), now.Add(seriesLife)
	if _, err := io.ReadFull(s.env.Rand, o.link); err != nil {
		return wire.Notify{}, fmt.Errorf("draw link of key exchanges: %w", err)
	}
	return wire.Notify{Type: wire.NotifyAdditionalKeyExchange, Data: o.link}, nil
}

// awaitChild answers a request for a child SA that takes more key exchanges.
func (s *SA) awaitChild(now time.Time, d session.Datagram, m wire.Message, t terms, payloads []wire.Payload) {
	s.await(now, d, m, &series{
		rounds: rounds{t.Suite.AdditionalKEs(), t.shared}, nonces: t.nonces, replaces: t.replaces, spi: t.In,
		finish: func(now time.Time, shared []suite.Secret) (func(), error) {
			t.shared = shared
			c, err := s.grantChild(now, t)
			return func() { s.granted(now, t.replaces, c) }, err
		},
	}, payloads)
}

// answerFollowup makes our half of one additional key exchange, and after the last
// what all of them were for.
func (s *SA) answerFollowup(now time.Time, d session.Datagram, m wire.Message) {
	o := s.linked(m)
	if o == nil {
		// RFC 9370 §2.2.4: what "doesn't correspond to any active key exchange state"
		// is answered with STATE_NOT_FOUND.
		s.respond(d, m, wire.Notify{Type: wire.NotifyStateNotFound})
		return
	}
	theirs, ok := wire.Find[wire.KE](m.Payloads)
	var public []byte
	var shared suite.Secret
	err := fmt.Errorf("peer sends IKE_FOLLOWUP_KE without a key of %v", o.groups[0])
	if ok && theirs.Group == o.groups[0] {
		public, shared, err = suite.RespondKE(o.groups[0], theirs.Data, s.env.Rand)
	}
	if err != nil {
		s.audit(slog.LevelWarn, "additional key exchange refused", slog.String("reason", err.Error()))
		s.void(func(old *series) bool { return old == o })
		s.respond(d, m, wire.Notify{Type: wire.NotifyInvalidSyntax})
		return
	}
	answer := wire.KE{Group: o.groups[0], Data: public}
	o.groups, o.shared = o.groups[1:], append(o.shared, shared)
	if len(o.groups) > 0 {
		s.goOn(now, d, m, o, answer)
		return
	}
	s.complete(now, d, m, o, answer)
}

// goOn links to the next exchange.
func (s *SA) goOn(now time.Time, d session.Datagram, m wire.Message, o *series, answer wire.KE) {
	link, err := s.relink(now, o)
	if err != nil {
		s.void(func(old *series) bool { return old == o })
		s.respond(d, m, *s.busy(err))
		return
	}
	s.respond(d, m, answer, link)
}

// complete is the end of a series: the inbound half of a child SA stands before the
// answer goes out.
func (s *SA) complete(now time.Time, d session.Datagram, m wire.Message, o *series, answer wire.KE) {
	s.series = slices.DeleteFunc(s.series, func(old *series) bool { return old == o })
	settle, err := o.finish(now, o.shared)
	if err != nil {
		s.respond(d, m, *s.busy(err))
		return
	}
	s.respond(d, m, answer)
	settle()
}

// linked finds the series that a request goes on with.
func (s *SA) linked(m wire.Message) *series {
	n, ok := wire.FindNotify(m.Payloads, wire.NotifyAdditionalKeyExchange)
	i := slices.IndexFunc(s.series, func(o *series) bool { return ok && subtle.ConstantTimeCompare(o.link, n.Data) == 1 })
	if i < 0 || s.state != Established {
		return nil
	}
	return s.series[i]
}

// succeeding is the series by which the peer makes a successor of the IKE SA.
func (s *SA) succeeding() *series {
	if i := slices.IndexFunc(s.series, func(o *series) bool { return o.ike }); i >= 0 {
		return s.series[i]
	}
	return nil
}

// void gives series up, and reports whether there was one.
func (s *SA) void(match func(*series) bool) bool {
	before := len(s.series)
	s.series = slices.DeleteFunc(s.series, func(o *series) bool {
		if match(o) {
			s.discard(o)
			return true
		}
		return false
	})
	return len(s.series) < before
}

// voidAll gives every series up.
func (s *SA) voidAll() { s.void(func(*series) bool { return true }) }

func (s *SA) discard(o *series) {
	for _, secret := range o.shared {
		secret.Wipe()
	}
	if o.spi != 0 {
		s.env.SPIs.Free(o.spi)
	}
}
