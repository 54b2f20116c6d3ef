package v2

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

const (
	// maxAddresses bounds what a peer can make us remember of its addresses.
	maxAddresses = 16
	// detourAfter is from which transmission on a request that is not answered
	// also goes to the peer's other addresses.
	detourAfter = 3
	// probeInterval is how often an initiator behind a NAT asks how its peer
	// sees it.
	probeInterval = 30 * time.Second
	firstProbe    = 2 * time.Second
)

// mobility is what RFC 4555 adds to an IKE SA: both ends may change their
// addresses, and the original initiator decides which ones are used.
type mobility struct {
	on      bool         // both said MOBIKE_SUPPORTED
	others  []netip.Addr // of the peer, besides the one in use
	ours    []netip.Addr // of this host, as last heard
	carried path         // of the child SAs
	moves   int          // how often we moved: an answer from before the last move says nothing
	seen    []byte       // the peer's NAT_DETECTION_DESTINATION_IP: how it saw us last
	probeAt time.Time
}

// path is where an IKE SA or its children run.
type path struct {
	local, remote netip.AddrPort
	encap         bool
}

func (s *SA) path() path { return path{s.local, s.remote, s.encap()} }

// mobikePayloads announce in IKE_AUTH that addresses may change, and under
// which others we can be reached (RFC 4555 §3.2, §3.4).
func (s *SA) mobikePayloads() []wire.Payload {
	if !s.conn.MOBIKE {
		return nil
	}
	return append([]wire.Payload{wire.Notify{Type: wire.NotifyMobikeSupported}}, s.otherAddresses()...)
}

// answerAnnounced is the responder's part of it.
func (s *SA) answerAnnounced() []wire.Payload {
	if !s.mobility.on {
		return nil
	}
	return s.mobikePayloads()
}

// learnMobike takes the peer's announcement. Both must have made one.
func (s *SA) learnMobike(now time.Time, payloads []wire.Payload) {
	_, said := wire.FindNotify(payloads, wire.NotifyMobikeSupported)
	s.mobility.on = said && s.conn.MOBIKE
	s.mobility.carried = s.path()
	if s.mobility.on {
		s.learnAddresses(payloads)
	}
}

// otherAddresses are those of this host beside the one in use. Only the
// initiator chooses among addresses, so only a responder tells its own.
func (s *SA) otherAddresses() []wire.Payload {
	if s.initiator {
		return nil
	}
	var list []wire.Payload
	for _, a := range s.mobility.ours {
		if a != s.local.Addr() && len(list) < maxAddresses {
			list = append(list, wire.AdditionalAddress(a).Notify())
		}
	}
	return list
}

// learnAddresses takes the list of the peer's other addresses, if there is one:
// it replaces what was known (RFC 4555 §3.6). It reports whether there was one.
func (s *SA) learnAddresses(payloads []wire.Payload) bool {
	var list []netip.Addr
	told := false
	for _, p := range payloads {
		n, ok := p.(wire.Notify)
		switch {
		case !ok:
		case n.Type == wire.NotifyNoAdditionalAddresses:
			told = true
		case n.Type == wire.NotifyAdditionalIP4Address || n.Type == wire.NotifyAdditionalIP6Address:
			told = true
			if a, err := wire.ParseAdditionalAddress(n); err == nil && len(list) < maxAddresses {
				list = append(list, netip.Addr(a))
			}
		}
	}
	if told {
		s.mobility.others = list
	}
	return told
}

// chase follows a responder whose address in use is not in its list any more,
// to where the list came from: the source of the message belongs to the list.
func (s *SA) chase(now time.Time, d session.Datagram) {
	if s.initiator && d.Remote.Addr() != s.remote.Addr() && !slices.Contains(s.mobility.others, s.remote.Addr()) {
		s.relocate(now, d.Local, d.Remote)
	}
}

// Readdress tells the IKE SA by which addresses this host can be reached now.
func (s *SA) Readdress(now time.Time, addresses []netip.Addr) {
	before := s.mobility.ours
	s.mobility.ours = addresses
	if !s.mobility.on || s.state != Established {
		return
	}
	if slices.Contains(addresses, s.local.Addr()) {
		if !s.initiator && !slices.Equal(before, addresses) {
			s.push(now, task{kind: taskAddresses})
			s.pump(now)
		}
		return
	}
	for _, a := range addresses {
		if a.Is4() == s.remote.Addr().Is4() {
			s.relocate(now, netip.AddrPortFrom(a, s.local.Port()), s.remote)
			return
		}
	}
	s.audit(slog.LevelWarn, "local address is gone and there is no other", slog.String("local", s.local.Addr().String()))
}

// relocate moves the IKE SA and its children to another path, in the order of
// RFC 4555 §3.5: the IKE SA, the child SAs, what is outstanding, then the word
// to the peer. A responder whose address is gone may do so as well; it tells
// the initiator its addresses.
func (s *SA) relocate(now time.Time, local, remote netip.AddrPort) {
	s.local, s.remote = local, remote
	s.mobility.moves++
	s.audit(slog.LevelInfo, "IKE SA moves", slog.String("local", local.String()), slog.String("remote", remote.String()))
	s.moveChildren()
	s.resend(now)
	kind := taskUpdateAddresses
	if !s.initiator {
		kind = taskAddresses
	}
	s.push(now, task{kind: kind})
	s.pump(now)
}

// resend sends what is outstanding by the path that is in use now.
func (s *SA) resend(now time.Time) {
	if s.request != nil {
		s.request.retransmission.Start(now, s.request.retransmission.Schedule)
		s.transmit(s.request.messages)
	}
}

// updateAddresses tells the peer to use the path that this message takes.
func (s *SA) updateAddresses(now time.Time) {
	moves := s.mobility.moves
	payloads := append([]wire.Payload{wire.Notify{Type: wire.NotifyUpdateSAAddresses}}, s.natPayloads(s.local, s.remote)...)
	s.send(now, wire.ExchangeInformational, payloads, func(now time.Time, m wire.Message) {
		if moves == s.mobility.moves {
			s.addressesUpdated(now, m)
		}
	})
}

// addressesUpdated takes the answer: a NAT may have come between or gone.
func (s *SA) addressesUpdated(now time.Time, m wire.Message) {
	if n, ok := refusal(m.Payloads); ok {
		s.fail(now, "peer refuses our new address "+s.local.Addr().String()+" ("+n.Type.String()+")")
		return
	}
	s.learnAddresses(m.Payloads)
	s.senseNAT(session.Datagram{Local: s.local, Remote: s.remote}, m)
	s.planProbe(now)
}

// senseNAT looks for NATs on the path of a message, if it has the hashes, and
// lets the child SAs follow.
func (s *SA) senseNAT(d session.Datagram, m wire.Message) {
	n, ok := wire.FindNotify(m.Payloads, wire.NotifyNATDetectionDestinationIP)
	if !ok {
		return
	}
	s.mobility.seen = slices.Clone(n.Data)
	s.detectNAT(d, m)
	if s.mobility.carried != s.path() {
		s.moveChildren()
	}
}

// answerMobike obeys what an INFORMATIONAL request says about addresses and
// returns what the response must hold besides.
func (s *SA) answerMobike(now time.Time, d session.Datagram, m wire.Message) []wire.Payload {
	if !s.mobility.on {
		return nil
	}
	if s.learnAddresses(m.Payloads) {
		s.chase(now, d)
	}
	var answer []wire.Payload
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifyCookie2); ok {
		// RFC 4555 §3.7: returned as it is.
		answer = append(answer, n)
	}
	_, update := wire.FindNotify(m.Payloads, wire.NotifyUpdateSAAddresses)
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifyNoNATsAllowed); ok && !unchanged(n, d) {
		return append(answer, wire.Notify{Type: wire.NotifyUnexpectedNATDetected})
	}
	if update && !s.initiator {
		s.peerMoves(now, d, m)
	}
	if _, ok := wire.FindNotify(m.Payloads, wire.NotifyNATDetectionSourceIP); ok {
		answer = append(answer, s.natPayloads(d.Local, d.Remote)...)
	}
	return answer
}

// unchanged reports whether addresses and ports arrived as the peer sent them
// (RFC 4555 §3.9).
func unchanged(n wire.Notify, d session.Datagram) bool {
	p, err := wire.ParseNoNATsAllowed(n)
	return err == nil && p.Source == d.Remote && p.Destination == d.Local
}

// peerMoves takes the initiator's new path from the IP header of its request.
// The child SAs follow once the peer has shown that it can be reached there: an
// authenticated peer could name a victim for its traffic (RFC 4555 §5.3).
func (s *SA) peerMoves(now time.Time, d session.Datagram, m wire.Message) {
	moved := s.remote != d.Remote || s.local != d.Local
	s.local, s.remote = d.Local, d.Remote
	if moved {
		s.audit(slog.LevelInfo, "peer moves", slog.String("to", d.Remote.String()))
		s.resend(now)
	}
	s.detectNAT(d, m)
	if s.mobility.carried != s.path() {
		s.push(now, task{kind: taskReachable})
	}
}

// checkReachable asks the peer at its new address to return a cookie
// (RFC 4555 §3.7) before its child SAs are moved there.
func (s *SA) checkReachable(now time.Time) {
	cookie := make([]byte, 16)
	if _, err := io.ReadFull(s.env.Rand, cookie); err != nil {
		s.internal(err)
		return
	}
	asked := s.path()
	s.send(now, wire.ExchangeInformational, []wire.Payload{wire.Cookie2(cookie).Notify()}, func(now time.Time, m wire.Message) {
		n, ok := wire.FindNotify(m.Payloads, wire.NotifyCookie2)
		if !ok || !bytes.Equal(n.Data, cookie) {
			// RFC 4555 §3.7: "If the values do not match, the IKE_SA MUST be closed."
			s.audit(slog.LevelWarn, "tunnel down", slog.String("reason", "peer does not return COOKIE2 at its new address"))
			s.closeNow(now)
			return
		}
		if s.path() == asked && s.mobility.carried != asked {
			s.moveChildren()
		}
	})
}

// tellAddresses gives the initiator the whole list of our other addresses.
func (s *SA) tellAddresses(now time.Time) {
	payloads := s.otherAddresses()
	if len(payloads) == 0 {
		payloads = []wire.Payload{wire.Notify{Type: wire.NotifyNoAdditionalAddresses}}
	}
	s.send(now, wire.ExchangeInformational, payloads, func(time.Time, wire.Message) {})
}

// detour sends a request that is not answered to the peer's other addresses in
// turn. Whichever path the answer takes is the one to use from then on.
func (s *SA) detour() {
	r := s.request
	if !s.mobility.on || !s.initiator || r.retransmission.Sent() < detourAfter || len(s.mobility.others) == 0 {
		return
	}
	other := s.mobility.others[r.retransmission.Sent()%len(s.mobility.others)]
	if other.Is4() == s.local.Addr().Is4() && other != s.remote.Addr() {
		s.transmitTo(s.local, netip.AddrPortFrom(other, natPort), r.messages)
	}
}

// arrived notes which path an authenticated response took.
func (s *SA) arrived(now time.Time, d session.Datagram) {
	from := d.Remote.Addr()
	if s.mobility.on && s.initiator && s.state == Established && from != s.remote.Addr() && slices.Contains(s.mobility.others, from) {
		s.mobility.others = append(slices.DeleteFunc(s.mobility.others, func(a netip.Addr) bool { return a == from }), s.remote.Addr())
		s.relocate(now, d.Local, d.Remote)
	}
}

// planProbe sets when to ask next how the peer sees us. Only the initiator acts
// on a changed mapping, so only it asks.
func (s *SA) planProbe(now time.Time) {
	s.mobility.probeAt = time.Time{}
	if !s.mobility.on || !s.initiator || !s.natLocal || s.state != Established {
		return
	}
	wait := probeInterval
	if s.mobility.seen == nil {
		wait = firstProbe // there is nothing yet to compare with
	}
	s.mobility.probeAt = now.Add(wait)
}

// askMapping asks the peer how it sees us: RFC 4555 §3.8, when the hash of our
// address has changed, the mapping of the NAT in front of us has.
func (s *SA) askMapping(now time.Time) {
	moves := s.mobility.moves
	s.send(now, wire.ExchangeInformational, s.natPayloads(s.local, s.remote), func(now time.Time, m wire.Message) {
		defer s.planProbe(now)
		n, ok := wire.FindNotify(m.Payloads, wire.NotifyNATDetectionDestinationIP)
		if !ok || moves != s.mobility.moves || bytes.Equal(n.Data, s.mobility.seen) {
			return
		}
		known := s.mobility.seen != nil
		s.mobility.seen = slices.Clone(n.Data)
		if known {
			s.audit(slog.LevelInfo, "NAT in front of us has another mapping")
			s.push(now, task{kind: taskUpdateAddresses})
		}
	})
}
