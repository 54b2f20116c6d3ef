package ike

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/v2"
	"spindle/ike/wire"
)

// initKey names an IKE_SA_INIT request by its octets and where it came from:
// RFC 7296 §2.1, a responder tells a retransmission from a new request by "the
// initiator's SPI, its IP address and port", and two with one SPI by the whole.
type initKey [sha256.Size]byte

func keyOf(d session.Datagram) initKey {
	h := sha256.New()
	addr := d.Remote.Addr().As16()
	h.Write(addr[:])
	h.Write([]byte{byte(d.Remote.Port() >> 8), byte(d.Remote.Port())})
	h.Write(d.Data)
	return initKey(h.Sum(nil))
}

// receive finds the IKE SA of a message by the SPI that we chose.
func (e *Engine) receive(now time.Time, d session.Datagram) {
	h, err := wire.ParseHeader(d.Data)
	if err != nil {
		e.stray(now, d, err.Error())
		return
	}
	if h.Version.Major() == wire.Version1.Major() {
		e.receiveV1(now, d, h)
		return
	}
	if h.Version.Major() != wire.Version2.Major() {
		e.otherVersion(now, d, h)
		return
	}
	ours := h.ResponderSPI
	if !h.Initiator() {
		ours = h.InitiatorSPI
	}
	if m := e.bySPI[ours]; m != nil {
		m.Receive(now, d, h)
		e.sync(now, m)
		return
	}
	if h.Exchange == wire.ExchangeIKESAInit && h.Initiator() && !h.Response() && h.ResponderSPI == 0 && h.MessageID == 0 {
		e.open(now, d)
		return
	}
	if !e.hearsay(now, d, h) {
		e.unknownIKE(now, d, h)
	}
}

// open lets a peer open an IKE SA, within limits.
func (e *Engine) open(now time.Time, d session.Datagram) {
	key := keyOf(d)
	if m := e.byInit[key]; m != nil {
		m.Repeat(d)
		return
	}
	msg, err := wire.ParseMessage(d.Data)
	if err != nil {
		e.unreadable(now, d, err)
		return
	}
	if msg.Header.InitiatorSPI == 0 {
		e.stray(now, d, "IKE_SA_INIT without initiator SPI")
		return
	}
	if e.bySPI[msg.Header.InitiatorSPI] != nil {
		e.stray(now, d, "IKE_SA_INIT of our own, reflected")
		return
	}
	if e.refuseVersion(now, d, 2) {
		if e.answers.take(now) {
			e.answerClear(d, msg.Header, wire.Notify{Type: wire.NotifyNoProposalChosen})
		}
		return
	}
	if !e.admit(now, d, msg) {
		return
	}
	if sa := v2.Respond(e.env, now, d, msg); sa != nil {
		m := e.add(now, sa)
		m.init = key
		e.byInit[key] = m
	}
}

// unreadable drops a request in the clear that cannot be parsed. RFC 7296 §2.5
// has an unknown critical payload refused aloud; INVALID_SYNTAX "may only be
// returned for and in an encrypted packet" (§3.10.1).
func (e *Engine) unreadable(now time.Time, d session.Datagram, err error) {
	e.stray(now, d, err.Error())
	var critical *wire.UnsupportedCriticalError
	h, bad := wire.ParseHeader(d.Data)
	if errors.As(err, &critical) && bad == nil && e.answers.take(now) {
		e.answerClear(d, h, wire.Notify{Type: wire.NotifyUnsupportedCriticalPayload, Data: []byte{byte(critical.Type)}})
	}
}

// greedy reports whether one source holds its share of half-open IKE SAs. Who
// returns cookies has that address; a NAT may have many behind it. In IKEv1 anybody
// may have opened them.
func (e *Engine) greedy(from netip.Addr) bool {
	held := 0
	for _, m := range e.byPeer[from] {
		if _, ok := m.association.(*v2.SA); ok && m.halfOpen {
			held++
		}
	}
	return held >= sourceShare
}

// admit asks for a cookie when many IKE SAs are half open (RFC 7296 §2.6), and
// lets nobody in beyond the limit.
func (e *Engine) admit(now time.Time, d session.Datagram, msg wire.Message) bool {
	if e.halfOpen < cookieThreshold {
		return true
	}
	if e.halfOpen >= halfOpenLimit {
		e.stray(now, d, "too many half-open IKE SAs")
		return false
	}
	if e.greedy(d.Remote.Addr()) {
		e.stray(now, d, "too many half-open IKE SAs from one source")
		return false
	}
	nonce, ok := wire.Find[wire.Nonce](msg.Payloads)
	if !ok {
		return false
	}
	spi := msg.Header.InitiatorSPI
	if n, ok := wire.FindNotify(msg.Payloads, wire.NotifyCookie); ok && e.cookies.check(now, n.Data, nonce.Data, d.Remote, spi) {
		return true
	}
	cookie, err := e.cookies.make(now, nonce.Data, d.Remote, spi)
	if err != nil {
		e.out.Audit(slog.LevelError, "internal fault", slog.String("error", err.Error()))
		return false
	}
	e.answerClear(d, msg.Header, wire.Notify{Type: wire.NotifyCookie, Data: cookie})
	return false
}

// otherVersion: RFC 7296 §2.5, "if an endpoint receives a message with a higher
// major version number, it MUST drop the message and SHOULD send an
// unauthenticated Notify message of type INVALID_MAJOR_VERSION containing the
// highest (closest) version number it supports".
func (e *Engine) otherVersion(now time.Time, d session.Datagram, h wire.Header) {
	e.stray(now, d, "IKE version "+h.Version.String())
	if h.Version.Major() > wire.Version2.Major() && !h.Response() && e.answers.take(now) {
		h.Version = wire.Version2
		e.answerClear(d, h, wire.Notify{Type: wire.NotifyInvalidMajorVersion})
	}
}

// unknownIKE: RFC 7296 §2.21.4, a request for an IKE SA that we do not hold is
// answered "without cryptographic protection" and not too often. A response
// never is.
func (e *Engine) unknownIKE(now time.Time, d session.Datagram, h wire.Header) {
	e.stray(now, d, "no IKE SA with these SPIs")
	if !h.Response() && h.ResponderSPI != 0 && e.answers.take(now) {
		e.answerClear(d, h, append([]wire.Payload{wire.Notify{Type: wire.NotifyInvalidIKESPI}}, e.crashToken(h)...)...)
	}
}

// crashToken proves to a peer that its IKE SA with us is lost (RFC 6290 §4.2, V9).
// Nobody gets the token of one that lives, however he turns its SPIs round, nor
// of one that a rekey is about to make: the peer has it before its answer is here.
func (e *Engine) crashToken(h wire.Header) []wire.Payload {
	if e.bySPI[h.InitiatorSPI] != nil || e.bySPI[h.ResponderSPI] != nil {
		return nil
	}
	expected := func(m *machine) bool {
		sa, ok := m.association.(*v2.SA)
		return ok && (sa.Expects(h.InitiatorSPI) || sa.Expects(h.ResponderSPI))
	}
	if slices.ContainsFunc(e.sas, expected) {
		return nil
	}
	if token := e.env.CrashToken(h.InitiatorSPI, h.ResponderSPI); token != nil {
		return []wire.Payload{token.Notify()}
	}
	return nil
}

// answerClear answers a request with notifications, and keeps nothing of it.
func (e *Engine) answerClear(d session.Datagram, h wire.Header, notifies ...wire.Payload) {
	answer := wire.Header{InitiatorSPI: h.InitiatorSPI, ResponderSPI: h.ResponderSPI, Exchange: h.Exchange,
		Flags: wire.FlagResponse | (^h.Flags & wire.FlagInitiator), MessageID: h.MessageID}
	data, err := wire.AppendMessage(nil, answer, notifies)
	if err != nil {
		e.out.Audit(slog.LevelError, "internal fault", slog.String("error", err.Error()))
		return
	}
	if e.cfg.Trace {
		e.out.Audit(slog.LevelDebug, "IKE message", slog.String("peer", d.Remote.String()), slog.String("direction", "out"),
			slog.String("message", wire.Message{Header: answer, Payloads: notifies}.String()))
	}
	e.out.Put(session.Send{Local: d.Local, Remote: d.Remote, Data: data})
}

// stray notes a message that belongs to no IKE SA.
func (e *Engine) stray(now time.Time, d session.Datagram, reason string) {
	if e.logs.take(now) {
		e.out.Audit(slog.LevelInfo, "IKE message dropped",
			slog.String("peer", d.Remote.String()), slog.String("reason", reason))
	}
}

// sources remembers whose unknown SPIs were logged lately, in bounded memory.
type sources struct{ seen map[netip.Addr]time.Time }

// mayLog lets each source be logged once in sourceQuiet. When the table is
// full of fresh ones, new sources wait for the next sweep.
func (s *sources) mayLog(now time.Time, from netip.Addr) bool {
	if at, ok := s.seen[from]; ok && now.Before(at.Add(sourceQuiet)) {
		return false
	}
	if len(s.seen) >= sourceLimit {
		for addr, at := range s.seen {
			if !now.Before(at.Add(sourceQuiet)) {
				delete(s.seen, addr)
			}
		}
		if len(s.seen) >= sourceLimit {
			return false
		}
	}
	s.seen[from] = now
	return true
}
