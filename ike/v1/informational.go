package v1

import (
	"encoding/binary"
	"log/slog"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

// Informational exchanges (RFC 2409 §5.7) are one message and have no answer:
// nobody knows whether they arrive.

// notify sends one payload in an exchange of its own, if there are keys to
// protect it.
func (s *SA) notify(now time.Time, payloads ...wire.Payload) {
	if s.chain == nil || s.keys == nil {
		return
	}
	x, err := s.start(now, wire.V1ExchangeInformational)
	if err != nil {
		s.internal(err)
		return
	}
	s.sayHashed(now, x, payloads, step{})
}

// informational obeys a protected message.
func (s *SA) informational(now time.Time, d session.Datagram, m wire.V1Message) {
	for _, p := range m.Payloads {
		switch p := p.(type) {
		case wire.V1Delete:
			s.peerDeletes(now, p)
		case wire.V1Notify:
			s.peerNotifies(now, p)
		}
		if s.state == Dead || s.state == Detached {
			return
		}
	}
}

// peerDeletes: for ESP the child SAs go, for ISAKMP this SA.
func (s *SA) peerDeletes(now time.Time, p wire.V1Delete) {
	if p.Protocol == wire.ProtocolIKE {
		if slices.ContainsFunc(p.SPIs, func(spi []byte) bool { return slices.Equal(spi, s.cookies()) }) {
			s.audit(slog.LevelInfo, "ISAKMP SA deleted by peer")
			s.detach(now, false)
		}
		return
	}
	for _, b := range p.SPIs {
		spi, ok := session.ParseSPI(b)
		if !ok || p.Protocol != wire.ProtocolESP {
			continue
		}
		owner, c := s.ownerOf(spi)
		if c == nil {
			continue
		}
		owner.audit(slog.LevelInfo, "child SA deleted by peer", c.Named()...)
		owner.linger(now, c)
		if owner != s {
			s.env.Host.Changed(now, owner)
		}
	}
}

// ownerOf finds a child SA by its outbound SPI here or with another ISAKMP SA
// of the same peer: phase 2 is not tied to one.
func (s *SA) ownerOf(spi sadb.SPI) (*SA, *child) {
	if c := s.byOutbound(spi); c != nil {
		return s, c
	}
	if s.state == Authenticating {
		return nil, nil
	}
	for _, o := range s.env.Host.Peers(s) {
		if c := o.byOutbound(spi); c != nil {
			return o, c
		}
	}
	return nil, nil
}

// peerNotifies handles a protected notification.
func (s *SA) peerNotifies(now time.Time, n wire.V1Notify) {
	switch {
	case n.Type == wire.V1NotifyRUThere || n.Type == wire.V1NotifyRUThereAck:
		s.peerDPD(now, n)
	case n.Type == wire.V1NotifyInitialContact && s.state == Authenticating:
		s.anew = true // who says so is not known yet
	case n.Type == wire.V1NotifyInitialContact:
		s.forgetOthers(now)
	case n.Type == wire.V1NotifyInvalidSPI:
		s.peerLost(now, n)
	case n.Type == wire.V1NotifyResponderLifetime:
		s.peerLifetime(now, n)
	case n.Type.IsError() && s.quick != nil:
		s.quickRefused(now, n.Type)
	case n.Type.IsError() && s.state == Authenticating:
		s.fail(now, "peer refuses ("+n.Type.String()+")")
	}
}

// peerLost: INVALID-SPI names an SPI that we send to and the peer does not hold
// (V7). Where it stands is not agreed upon: in the SPI field or in the data.
func (s *SA) peerLost(now time.Time, n wire.V1Notify) {
	spi, ok := session.ParseSPI(n.SPI)
	if !ok {
		if spi, ok = session.ParseSPI(n.Data); !ok {
			return
		}
	}
	if !s.Forget(now, spi) {
		s.env.Host.UnknownToPeer(now, s, spi)
	}
}

// Forget removes the child SA that the peer does not hold, and reports whether
// there is one.
func (s *SA) Forget(now time.Time, spi sadb.SPI) bool {
	c := s.byOutbound(spi)
	if c == nil {
		return false
	}
	s.audit(slog.LevelWarn, "child SA unknown to peer", c.Named()...)
	s.sayDelete(now, c)
	s.linger(now, c)
	return true
}

// InvalidSPI tells the peer that we hold no such SPI (V2): in IKEv1 by a Delete
// for what would be ours, had we it.
func (s *SA) InvalidSPI(now time.Time, spi sadb.SPI) {
	if s.state == Established {
		s.notify(now, s.deleteOf(session.SPIBytes(spi)))
	}
}

func (s *SA) deleteOf(spis ...[]byte) wire.V1Delete {
	return wire.V1Delete{DOI: wire.DOIIPsec, Protocol: wire.ProtocolESP, SPISize: 4, SPIs: spis}
}

// sayDelete names the SPIs that we receive on, to be used no more.
func (s *SA) sayDelete(now time.Time, children ...*child) {
	var spis [][]byte
	for _, c := range children {
		if c.state < childLingering {
			spis = append(spis, session.SPIBytes(c.In))
		}
	}
	if len(spis) > 0 {
		s.notify(now, s.deleteOf(spis...))
	}
}

// deleteISAKMP tells the peer that this ISAKMP SA is gone.
func (s *SA) deleteISAKMP() {
	s.notify(s.created, wire.V1Delete{DOI: wire.DOIIPsec, Protocol: wire.ProtocolIKE, SPISize: 16, SPIs: [][]byte{s.cookies()}})
}

// contact is INITIAL-CONTACT: RFC 2407 §4.6.3.3, "this is the first SA being
// established with the remote system".
func (s *SA) contact() wire.Payload {
	return wire.V1Notify{DOI: wire.DOIIPsec, Protocol: wire.ProtocolIKE, SPI: s.cookies(), Type: wire.V1NotifyInitialContact}
}

func (s *SA) initialContact(m wire.V1Message) bool {
	return slices.ContainsFunc(m.Payloads, func(p wire.Payload) bool {
		n, ok := p.(wire.V1Notify)
		return ok && n.Type == wire.V1NotifyInitialContact
	})
}

// forgetOthers drops all else that is held with the peer: it started anew. Did both
// ends open an ISAKMP SA at once, each may have thought that its own is the first.
func (s *SA) forgetOthers(now time.Time) {
	for _, o := range s.env.Host.Peers(s) {
		if s.crossed(o) {
			continue
		}
		o.audit(slog.LevelInfo, "ISAKMP SA dropped", slog.String("reason", "peer started anew (INITIAL-CONTACT)"))
		o.Shutdown(now)
		s.env.Host.Changed(now, o)
	}
}

// lifeNotify is RESPONDER-LIFETIME (RFC 2407 §4.6.3.1).
func lifeNotify(phase int, protocol wire.Protocol, spi []byte, life suite.V1Lifetime) wire.V1Notify {
	body, _ := wire.V1Body(wire.V1Attributes{Attributes: suite.V1WriteLifetime(phase, life)})
	return wire.V1Notify{DOI: wire.DOIIPsec, Protocol: protocol, SPI: spi, Type: wire.V1NotifyResponderLifetime, Data: body[4:]}
}

// responderLife is what a message says of the lifetime that the responder will keep.
func responderLife(m wire.V1Message, phase int) (suite.V1Lifetime, bool) {
	for _, p := range m.Payloads {
		if n, ok := p.(wire.V1Notify); ok && n.Type == wire.V1NotifyResponderLifetime {
			return readLife(n, phase)
		}
	}
	return suite.V1Lifetime{}, false
}

func readLife(n wire.V1Notify, phase int) (suite.V1Lifetime, bool) {
	list, err := wire.ParseV1AttributeList(n.Data)
	if err != nil {
		return suite.V1Lifetime{}, false
	}
	return suite.V1ReadLifetime(phase, list)
}

func shorter(a, b suite.V1Lifetime) suite.V1Lifetime {
	if b.Time > 0 && (a.Time == 0 || b.Time < a.Time) {
		a.Time = b.Time
	}
	if b.Kilobytes > 0 && (a.Kilobytes == 0 || b.Kilobytes < a.Kilobytes) {
		a.Kilobytes = b.Kilobytes
	}
	return a
}

// responderLifetime heeds what the last message of phase 1 says.
func (s *SA) responderLifetime(now time.Time, phase int, m wire.V1Message) {
	if life, ok := responderLife(m, phase); ok {
		s.suite.Lifetime = shorter(s.suite.Lifetime, life)
	}
}

// peerLifetime heeds RESPONDER-LIFETIME in a message of its own: phase 1's, or
// that of the child SA whose SPI it names.
func (s *SA) peerLifetime(now time.Time, n wire.V1Notify) {
	if n.Protocol == wire.ProtocolIKE {
		life, ok := readLife(n, 1)
		if ok && life.Time > 0 && s.state == Established && now.Add(life.Time).Before(s.hardAt) {
			s.live(now, life.Time)
		}
		return
	}
	life, ok := readLife(n, 2)
	if len(n.SPI) != 4 || !ok || life.Time == 0 {
		return
	}
	c := s.byOutbound(sadb.SPI(binary.BigEndian.Uint32(n.SPI)))
	if c == nil || !c.HardAt.IsZero() && c.HardAt.Before(now.Add(life.Time)) {
		return
	}
	soft, err := session.Soft(s.env.Rand, sadb.Lifetime{Time: life.Time})
	if err != nil {
		s.internal(err)
		return
	}
	c.SoftAt, c.HardAt = now.Add(soft.Time), now.Add(life.Time)
}

// clearInformational is what an unprotected message can do: end a phase 1 that
// has nothing to lose. Only who saw our cookie can send it.
func (s *SA) clearInformational(now time.Time, d session.Datagram) {
	if s.state != Opening {
		return
	}
	m, err := wire.ParseV1Message(d.Data)
	if err != nil {
		return
	}
	n, ok := wire.Find[wire.V1Notify](m.Payloads)
	if !ok || !n.Type.IsError() {
		return
	}
	s.trace("in", m)
	switch n.Type {
	case wire.V1NotifyNoProposalChosen:
		s.fail(now, "peer refuses phase 1 ("+n.Type.String()+"): we offered ike: "+proposals(s.conn.IKE))
	case wire.V1NotifyAuthenticationFailed, wire.V1NotifyInvalidHashInformation, wire.V1NotifyPayloadMalformed, wire.V1NotifyInvalidIDInformation:
		s.fail(now, "peer refuses our authentication ("+n.Type.String()+"): compare psk, local.id and remote.id on both ends")
	default:
		s.fail(now, "peer refuses phase 1 ("+n.Type.String()+")")
	}
}

// Refuse answers the first message of a peer that no IKEv1 connection is for.
func Refuse(env *Env, now time.Time, d session.Datagram, h wire.Header) {
	s := newSA(env, now, d.Local, d.Remote)
	s.spiI = h.InitiatorSPI
	s.refuseClear(now, wire.V1NotifyNoProposalChosen)
}

// refuseClear answers in the clear, within limits, and keeps no state.
func (s *SA) refuseClear(now time.Time, t wire.V1NotifyType) {
	if !s.env.Host.MayAnswer(now) {
		return
	}
	n := wire.V1Notify{DOI: wire.DOIIPsec, Protocol: wire.ProtocolIKE, Type: t}
	h := wire.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR, Exchange: wire.V1ExchangeInformational}
	data, err := wire.AppendV1Message(nil, h, []wire.Payload{n})
	if err != nil {
		s.internal(err)
		return
	}
	s.trace("out", wire.V1Message{Header: h, Payloads: []wire.Payload{n}})
	s.env.Out.Put(session.Send{Local: s.local, Remote: s.remote, Data: data})
}
