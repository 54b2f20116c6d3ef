package v2

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
	halfOpenLife = 30 * time.Second // for a peer to follow IKE_SA_INIT with IKE_AUTH
	closedLife   = 20 * time.Second // a closed IKE SA still answers retransmissions
	replacedLife = 60 * time.Second // for the peer to delete an IKE SA that it rekeyed
	crossingTime = 10 * time.Second // between two IKE SAs that crossed
	settleTime   = 2 * time.Second  // before the one that is too many goes
)

// Host is what an IKE SA asks of the engine that runs it.
type Host interface {
	// Candidates lists the connections that a peer at remote may mean, best first.
	Candidates(local, remote netip.Addr) []*session.Connection
	// Adopt takes over an IKE SA that replaces another (RFC 7296 §1.3.2), or looks
	// again at one that another has changed.
	Adopt(now time.Time, s *SA)
	// Alone reports whether the IKE SA is the only one with its peer.
	Alone(s *SA) bool
	// InitialContact says that the peer of this IKE SA holds no other with us.
	InitialContact(now time.Time, s *SA)
	// Established says that both ends proved who they are.
	Established(now time.Time, s *SA)
	// Own notes which IKE SA a child SA belongs to, nil when it is gone.
	Own(pair sadb.SPI, s *SA)
	// UnknownToPeer says that the peer does not hold an SPI that none of this
	// IKE SA's children sends to.
	UnknownToPeer(now time.Time, s *SA, spi sadb.SPI)
	// Failed notes why what we negotiated is not up: a child SA, or with an
	// empty child the IKE SA. It holds back the next attempt.
	Failed(now time.Time, conn, child, reason string)
	// Refused notes why a peer's negotiation was refused.
	Refused(now time.Time, conn, reason string)
	// Up notes that a child SA stands.
	Up(conn, child string)
	// CarriedBeside reports whether another IKE SA with the same peer carries a child SA
	// of that name.
	CarriedBeside(s *SA, child string) bool
	// Reauthenticate opens another IKE SA in the place of this one.
	Reauthenticate(now time.Time, s *SA)
	// MayFollow notes that a gateway sends us to another, and reports whether that
	// does not go on for too long.
	MayFollow(now time.Time, s *SA) bool
	// Redirected opens an IKE SA with the gateway that we were sent to. The child is
	// nil when this one stands and its child SAs are to go over.
	Redirected(now time.Time, s *SA, to netip.Addr, child *session.Child, flow sadb.Flow)
	// MayLog and MayAnswer bound what strangers can make us log and send.
	MayLog(now time.Time) bool
	MayAnswer(now time.Time) bool
}

// Env is what all IKE SAs of an engine share.
type Env struct {
	Rand io.Reader
	SPIs session.SPIs
	SPD  *session.SPD

	CrashSecret session.Secret // of this gateway, kept over restarts; empty does without RFC 6290

	Out *session.Outbox

	Leases   *session.Leases  // of peers
	Assigned session.Assigned // to us

	Host  Host
	Trace bool // one debug Audit for every message

	MessageIDs uint32 // after so many requests of one end an IKE SA is rekeyed

	held        int // octets of fragments at half-open IKE SAs
	Revocations *session.Revocations
	TLS         session.TLS // for EAP-TLS, nil without
}

// SA is one IKE SA. It is used by one goroutine.
type SA struct {
	env       *Env
	state     State
	initiator bool // we are the original initiator: it names keys and SPIs (RFC 7296 §2.2)

	conn       *session.Connection // nil until the peer has said who it is
	candidates []*session.Connection

	local, remote       netip.AddrPort
	natLocal, natRemote bool
	natFaked            bool // by us: ESP goes through UDP as if there were one
	mobility            mobility
	spiI, spiR          wire.SPI
	peerID              session.Identity

	handshake *handshake // until IKE_AUTH is over
	suite     suite.Proposal
	keys      *suite.IKEKeys
	protect   wire.Protector // nil until the keys are there

	nextID    uint32 // of our next request
	expectID  uint32 // of the peer's next request
	worn      bool   // one of them is high: it is being rekeyed for that
	request   *request
	answered  answered // the peer's last request
	fragments fragments
	tasks     []task
	waiting   *waiting // for news of a certificate
	asking    *attempt // the child SA that the outstanding request asks for
	rekeying  bool     // the outstanding request asks for our successor
	heir      wire.SPI // that we chose for it
	unfound   int      // how often in a row the peer had lost what we went on with

	children []*child
	series   []*series // that the peer has begun
	inside   inside

	rival  *SA    // the successor that the peer asked for while we were asking for one
	elder  *SA    // whose rival it is, until one of the two is chosen
	lowest []byte // the lower nonce of the rekey that made it (RFC 7296 §2.8.2)

	peerToken wire.QCDToken // proves that the peer has crashed (RFC 6290)

	dpd session.Liveness // from Established on

	created  time.Time
	softAt   time.Time // rekey
	hardAt   time.Time // delete
	expireAt time.Time // half open, closed or replaced for too long
	retireAt time.Time // delete: the peer opened another at the same moment
	reauthAt time.Time // authenticate again, in another IKE SA
	authEnds time.Time // delete: nobody did
	yields   bool      // to that other: one of the ends is about to delete this one
	awayAt   time.Time // delete: its peer was sent to another gateway

	client  bool // we opened the first of these IKE SAs: a REDIRECT is for us
	follows bool // the peer did, and goes where we send it (RFC 5685)

	keepaliveAt time.Time // for a NAT in front of us
}

// State is where the IKE SA stands.
func (s *SA) State() State { return s.state }

// Conn is the connection it belongs to, nil while that is not known.
func (s *SA) Conn() *session.Connection { return s.conn }

// Remote is where its peer is.
func (s *SA) Remote() netip.AddrPort { return s.remote }

// LocalSPI is the IKE SPI that we chose: the peer's messages carry it.
func (s *SA) LocalSPI() wire.SPI {
	if s.initiator {
		return s.spiI
	}
	return s.spiR
}

// HalfOpen reports whether a peer that we know nothing about made us hold it.
func (s *SA) HalfOpen() bool { return s.state == InitAnswered }

// Retiring reports whether it is about to be deleted in favour of another.
func (s *SA) Retiring() bool { return s.yields || !s.retireAt.IsZero() }

// Expects reports whether the IKE SA asked its peer for a successor with that SPI
// of ours: the peer may hold it already, and send to it.
func (s *SA) Expects(spi wire.SPI) bool { return s.rekeying && s.heir == spi }

// Deadline is when the IKE SA wants a Tick, zero for never.
func (s *SA) Deadline() time.Time {
	first := session.Earliest(s.softAt, s.hardAt, s.expireAt, s.retireAt, s.keepaliveAt, s.mobility.probeAt, s.reauthAt, s.authEnds, s.awayAt)
	if s.waiting != nil {
		first = session.Earliest(first, s.waiting.until)
	}
	if s.request != nil {
		first = session.Earliest(first, s.request.retransmission.Due())
	}
	if s.state == Established {
		first = session.Earliest(first, s.dpd.Due())
	}
	for _, c := range s.children {
		first = session.Earliest(first, c.Due())
	}
	for _, o := range s.series {
		first = session.Earliest(first, o.until)
	}
	return first
}

// Tick does what has become due.
func (s *SA) Tick(now time.Time) {
	s.retransmit(now)
	if session.Passed(now, s.expireAt) {
		s.expire(now)
	}
	if session.Passed(now, s.hardAt) && s.state == Established {
		s.audit(slog.LevelWarn, "IKE SA expired")
		s.closeNow(now)
	}
	if session.Passed(now, s.retireAt) {
		s.retire(now)
	}
	s.tickAuth(now)
	s.tickAway(now)
	if session.Passed(now, s.softAt) {
		s.softAt = time.Time{}
		s.push(now, task{kind: taskRekeyIKE})
	}
	if s.state == Established && session.Passed(now, s.dpd.Due()) {
		s.probe(now)
	}
	if session.Passed(now, s.mobility.probeAt) {
		s.mobility.probeAt = time.Time{}
		s.push(now, task{kind: taskMapping})
	}
	s.keepAlive(now)
	s.void(func(o *series) bool { return session.Passed(now, o.until) })
	for _, c := range append([]*child(nil), s.children...) {
		s.tickChild(now, c)
	}
	s.pump(now)
}

// expire ends what waited too long for its peer.
func (s *SA) expire(now time.Time) {
	s.expireAt = time.Time{}
	if s.state == InitAnswered && s.env.Host.MayLog(now) {
		s.audit(slog.LevelInfo, "half-open IKE SA timed out")
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

// free forgets everything about the IKE SA. Its children go with it.
func (s *SA) free(now time.Time) {
	if s.state == Dead {
		return
	}
	s.dropChildren()
	s.giveBack()
	s.giveUp()
	s.still()
	s.expireAt = time.Time{}
	s.wipe()
	s.move(Dead)
}

// close forgets everything but the answer to the peer's last request, in case
// that one gets lost.
func (s *SA) close(now time.Time) {
	s.dropChildren()
	s.giveBack()
	s.giveUp()
	s.still()
	s.expireAt = now.Add(closedLife)
	s.wipe()
	s.move(Closed)
}

// still stops what an IKE SA does by the clock while it is in use.
func (s *SA) still() {
	s.softAt, s.hardAt, s.retireAt = time.Time{}, time.Time{}, time.Time{}
	s.keepaliveAt, s.mobility.probeAt = time.Time{}, time.Time{}
	s.reauthAt, s.authEnds, s.awayAt = time.Time{}, time.Time{}, time.Time{}
}

// wipe overwrites the keys.
func (s *SA) wipe() {
	if s.keys != nil {
		s.keys.Wipe()
	}
	s.keys, s.protect = nil, nil
}

// giveUp forgets what is under way.
func (s *SA) giveUp() {
	if s.asking != nil && s.asking.spi != 0 {
		s.env.SPIs.Free(s.asking.spi)
	}
	s.withdraw()
	s.voidAll()
	s.rival = nil
	s.letGo()
	s.fragments = fragments{}
	if s.handshake != nil && s.handshake.eap != nil {
		s.handshake.eap.close()
	}
	s.request, s.tasks, s.handshake, s.asking, s.waiting = nil, nil, nil, nil, nil
}

func (s *SA) dropChildren() {
	for len(s.children) > 0 {
		s.remove(s.children[0])
	}
}

func (s *SA) audit(level slog.Level, event string, attrs ...slog.Attr) {
	s.env.Out.Audit(level, event, append(s.attrs(), attrs...)...)
}

// internal reports a fault that is ours and not the peer's.
func (s *SA) internal(err error) {
	s.audit(slog.LevelError, "internal fault", slog.String("error", err.Error()))
}

// newNonce draws a nonce.
func (e *Env) newNonce() ([]byte, error) { return session.NewNonce(e.Rand) }
