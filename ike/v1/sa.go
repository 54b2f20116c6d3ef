package v1

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

const (
	halfOpenLife = 30 * time.Second // for a peer to finish phase 1, or XAUTH
	replacedLife = 10 * time.Second // a replaced ISAKMP SA still takes what is under way
	crossingTime = time.Second / 10 // that a message may be late when both ends open one at once
	detachedLife = 30 * time.Second // for a new ISAKMP SA to take the children over
	maxExchanges = 64               // remembered at once
	maxUsed      = 1 << 16          // message IDs of one ISAKMP SA
)

// Host is what an ISAKMP SA asks of the engine that runs it.
type Host interface {
	// Candidates lists the IKEv1 connections that a peer at remote may mean, best first.
	Candidates(local, remote netip.Addr) []*session.Connection
	// Peers lists the other ISAKMP SAs with the authenticated peer of this one.
	Peers(s *SA) []*SA
	// Alone reports whether nothing else is held with this peer.
	Alone(s *SA) bool
	// Own notes which ISAKMP SA a child SA belongs to, nil when it is gone.
	Own(pair sadb.SPI, s *SA)
	// UnknownToPeer says that the peer does not hold an SPI that none of this
	// ISAKMP SA's children sends to.
	UnknownToPeer(now time.Time, s *SA, spi sadb.SPI)
	// Renew asks for a new ISAKMP SA with the peer of this one.
	Renew(now time.Time, s *SA)
	// Changed says that something happened to an ISAKMP SA other than the one
	// that the engine called.
	Changed(now time.Time, s *SA)
	// Failed notes why what we negotiated is not up: a child SA, or with an
	// empty child the ISAKMP SA. It holds back the next attempt.
	Failed(now time.Time, conn, child, reason string)
	// Refused notes why a peer's negotiation was refused.
	Refused(now time.Time, conn, reason string)
	// Up notes that a child SA stands.
	Up(conn, child string)
	// MayLog and MayAnswer bound what strangers can make us log and send.
	MayLog(now time.Time) bool
	MayAnswer(now time.Time) bool
}

// Env is what all ISAKMP SAs of an engine share.
type Env struct {
	Rand        io.Reader
	SPIs        session.SPIs
	SPD         *session.SPD
	Out         *session.Outbox
	Host        Host
	Revocations *session.Revocations
	Pools       Pools
	Assigned    session.Assigned // inner addresses that servers gave to us
	Trace       bool             // one debug Audit for every message
}

// SA is one ISAKMP SA. It is used by one goroutine.
type SA struct {
	env       *Env
	state     State
	initiator bool // of phase 1: it names the cookies

	aggressive bool // made by aggressive mode, not main mode

	conn       *session.Connection // nil until the peer has said who it is
	candidates []*session.Connection

	local, remote       netip.AddrPort
	natLocal, natRemote bool
	natFaked            bool // the connection asks for UDP although there is no NAT
	draftNAT            bool // NAT traversal by a draft's numbers
	vendors             map[wire.V1Vendor]bool
	spiI, spiR          wire.SPI // the cookies
	peerID              session.Identity

	phase1 *phase1 // until phase 1 is over
	suite  suite.V1IKE
	keys   *suite.V1Keys
	chain  *suite.V1Chain // after phase 1 it starts all others

	exchanges []*exchange
	used      map[uint32]struct{} // message IDs of the peer's exchanges
	fragments fragments
	tasks     []task
	quick     *quick // that we initiated and the peer has not answered
	config    config // what the transaction exchange gave

	children []*child
	dpd      session.Liveness
	queries  queries

	began       time.Time // to be negotiated
	heard       time.Time // of the peer for the first time after phase 1
	created     time.Time
	softAt      time.Time // rekey
	hardAt      time.Time // delete
	expireAt    time.Time // half open, replaced or detached for too long
	keepaliveAt time.Time
	anew        bool // the peer says that it holds nothing else with us
	rekeyed     bool // we asked for its successor
	overdue     bool // its lifetime is over and the successor is late
}

// State is where the ISAKMP SA stands.
func (s *SA) State() State { return s.state }

// Conn is the connection it belongs to, nil while that is not known.
func (s *SA) Conn() *session.Connection { return s.conn }

// Local and Remote are its ends.
func (s *SA) Local() netip.AddrPort  { return s.local }
func (s *SA) Remote() netip.AddrPort { return s.remote }

// LocalSPI is the cookie that we chose.
func (s *SA) LocalSPI() wire.SPI {
	if s.initiator {
		return s.spiI
	}
	return s.spiR
}

// HalfOpen reports whether a peer that we know nothing about made us hold it: in hybrid
// authentication phase 1 proves nothing of its initiator, and XAUTH is all there is.
func (s *SA) HalfOpen() bool {
	bare := !s.suite.Auth.PSK() && !s.suite.Auth.Signs(true)
	return s.state == HalfOpen || s.state == Authenticating && !s.initiator && bare && s.config.user == ""
}

// Gone reports whether nothing more comes from it.
func (s *SA) Gone() bool { return s.state == Dead }

// Established reports whether it can carry exchanges.
func (s *SA) Established() bool { return s.state == Established }

// Deadline is when the ISAKMP SA wants a Tick, zero for never.
func (s *SA) Deadline() time.Time {
	first := session.Earliest(s.expireAt, s.keepaliveAt, s.queries.retransmission.Due())
	if s.state == Established {
		first = session.Earliest(first, s.softAt, s.hardAt, s.dueDPD())
	}
	for _, x := range s.exchanges {
		first = session.Earliest(first, x.retransmission.Due(), x.until)
	}
	for _, c := range s.children {
		first = session.Earliest(first, c.deadline())
	}
	return first
}

// Tick does what has become due.
func (s *SA) Tick(now time.Time) {
	s.retransmit(now)
	s.tickDPD(now)
	if session.Passed(now, s.keepaliveAt) {
		s.keepalive(now)
	}
	if session.Passed(now, s.expireAt) {
		s.expire(now)
	}
	if session.Passed(now, s.hardAt) && s.state == Established {
		s.outlived(now)
	}
	if session.Passed(now, s.softAt) && s.state == Established {
		s.softAt = time.Time{}
		s.renew(now)
	}
	for _, c := range append([]*child(nil), s.children...) {
		s.tickChild(now, c)
	}
	s.pump(now)
}

// expire ends what waited too long.
func (s *SA) expire(now time.Time) {
	s.expireAt = time.Time{}
	if s.state == Replaced && s.busy() {
		s.expireAt = now.Add(time.Second)
		return
	}
	switch s.state {
	case HalfOpen:
		if s.env.Host.MayLog(now) {
			s.audit(slog.LevelInfo, "half-open ISAKMP SA timed out")
		}
	case Authenticating:
		s.fail(now, "peer does not finish XAUTH or mode config")
		return
	case Replaced:
		s.bequeath(now)
		s.sayDelete(now, s.children...)
		s.deleteISAKMP()
	}
	s.free(now)
}

// move changes the state. An illegal move is a mistake of ours: it is said
// aloud and does not happen.
func (s *SA) move(next State) {
	state, err := s.state.to(next)
	if err != nil {
		s.internal(err)
		return
	}
	s.state = state
}

// free forgets everything about the ISAKMP SA. Its children go with it.
func (s *SA) free(now time.Time) {
	if s.state == Dead {
		return
	}
	s.dropChildren()
	s.giveUp()
	s.release()
	s.softAt, s.hardAt, s.expireAt, s.keepaliveAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	s.wipe()
	s.move(Dead)
}

// wipe overwrites the keys.
func (s *SA) wipe() {
	if s.keys != nil {
		s.keys.Wipe()
	}
	s.keys, s.chain = nil, nil
}

// giveUp forgets what is under way.
func (s *SA) giveUp() {
	for _, x := range s.exchanges {
		if x.quick != nil {
			s.dropQuick(x.quick)
		}
	}
	s.exchanges, s.tasks, s.phase1, s.quick = nil, nil, nil, nil
	s.queries = queries{}
}

func (s *SA) dropChildren() {
	for len(s.children) > 0 {
		s.remove(s.children[0])
	}
}

// attrs name the ISAKMP SA in the operator's log.
func (s *SA) attrs() []slog.Attr {
	var list []slog.Attr
	if s.conn != nil {
		list = append(list, slog.String("conn", s.conn.Name))
	}
	return append(list, slog.String("peer", s.remote.String()))
}

func (s *SA) audit(level slog.Level, event string, attrs ...slog.Attr) {
	s.env.Out.Audit(level, event, append(s.attrs(), attrs...)...)
}

// internal reports a fault that is ours and not the peer's.
func (s *SA) internal(err error) {
	s.audit(slog.LevelError, "internal fault", slog.String("error", err.Error()))
}

// newNonce draws a nonce of twice the 16 octets that any PRF here asks for.
func (e *Env) newNonce() ([]byte, error) { return session.NewNonce(e.Rand) }
