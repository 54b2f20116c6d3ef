package v2

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// maxHeld bounds the octets of fragments that all half-open IKE SAs together may
// wait with for the rest: whoever completes IKE_SA_INIT can seal a fragment. One
// of them holds wire.MaxReassembled at most.
const maxHeld = 16 << 20

// fragments is what IKE fragmentation (RFC 7383) adds to an IKE SA.
type fragments struct {
	on       bool // both announced it
	requests wire.Reassembly
	answers  wire.Reassembly
	first    [sha256.Size]byte // digest of fragment 1 of the request that is put together
	held     int               // octets counted in Env.held
}

// fragmentSize is the largest IP packet that carries one of our messages, 0 to
// leave cutting to IP. A responder does not know the connection before IKE_AUTH:
// the first that the peer may mean decides.
func (s *SA) fragmentSize() int {
	switch {
	case s.conn != nil:
		return s.conn.FragmentSize
	case len(s.candidates) > 0:
		return s.candidates[0].FragmentSize
	}
	return 0
}

// announceFragmentation is in IKE_SA_INIT: the responder answers only an
// announcement (RFC 7383 §2.3).
func (s *SA) announceFragmentation() []wire.Payload {
	if s.fragmentSize() == 0 || !s.initiator && !s.fragments.on {
		return nil
	}
	return []wire.Payload{wire.Notify{Type: wire.NotifyFragmentationSupported}}
}

// learnFragmentation takes the peer's announcement.
func (s *SA) learnFragmentation(m wire.Message) {
	_, said := wire.FindNotify(m.Payloads, wire.NotifyFragmentationSupported)
	s.fragments.on = said && s.fragmentSize() > 0
}

// messageSize is how many octets of a packet of fragmentSize are left for IKE
// behind IP, UDP and the non-ESP marker.
func (s *SA) messageSize() int {
	size := s.fragmentSize() - 20 - 8
	if s.remote.Addr().Is6() {
		size -= 20
	}
	if s.local.Port() != ikePort {
		size -= 4
	}
	return size
}

const ikePort = 500

// cut seals a message, in fragments when it is larger than it may be and the
// peer takes fragments.
func (s *SA) cut(h wire.Header, payloads []wire.Payload) ([][]byte, error) {
	if s.fragments.on {
		return wire.AppendFragments(h, payloads, s.protect, s.messageSize())
	}
	data, err := wire.AppendEncrypted(nil, h, payloads, s.protect)
	return [][]byte{data}, err
}

// errIncomplete says that more fragments are to come.
var errIncomplete = errors.New("message is not complete")

// open decrypts a message, or adds a fragment to what is there. errIncomplete,
// like wire.ErrUnauthenticated, asks for silence.
func (s *SA) open(d session.Datagram, h wire.Header, parts *wire.Reassembly) (wire.Message, error) {
	if h.NextPayload != wire.PayloadSKF {
		return wire.OpenEncrypted(d.Data, s.protect)
	}
	if !s.fragments.on || !s.hold(len(d.Data)) {
		return wire.Message{}, errIncomplete
	}
	m, complete, err := parts.Add(d.Data, s.protect)
	if (err == nil || complete) && parts == &s.fragments.requests && fragmentNumber(d.Data, h) == 1 {
		s.fragments.first = sha256.Sum256(d.Data)
	}
	switch {
	case complete:
		s.letGo()
		return m, err
	case errors.Is(err, wire.ErrUnauthenticated):
		return wire.Message{}, err
	case err != nil && !errors.Is(err, wire.ErrRepeated) && !errors.Is(err, wire.ErrOutdated):
		s.audit(slog.LevelDebug, "IKE fragment dropped", slog.String("reason", err.Error()))
	}
	return wire.Message{}, errIncomplete
}

// hold counts what a half-open IKE SA may make us remember, up to the bound of
// one, or refuses it.
func (s *SA) hold(octets int) bool {
	octets = min(octets, wire.MaxReassembled-s.fragments.held)
	if s.state != InitAnswered || octets <= 0 {
		return true
	}
	if s.env.held+octets > maxHeld {
		return false
	}
	s.env.held += octets
	s.fragments.held += octets
	return true
}

// letGo gives back what was counted.
func (s *SA) letGo() {
	s.env.held -= s.fragments.held
	s.fragments.held = 0
}

// fragmentNumber is that of a message whose only payload is an SKF payload, 0 of
// any other.
func fragmentNumber(data []byte, h wire.Header) uint16 {
	const at = wire.HeaderSize + 4
	if h.NextPayload != wire.PayloadSKF || len(data) < at+2 {
		return 0
	}
	return binary.BigEndian.Uint16(data[at:])
}

// digest names a request by its octets, one in fragments by those of the first.
func (s *SA) digest(d session.Datagram, h wire.Header) [sha256.Size]byte {
	if fragmentNumber(d.Data, h) == 0 {
		return sha256.Sum256(d.Data)
	}
	return s.fragments.first
}

// repeated reports whether a message is the last request once more. Only its
// very octets count: RFC 7296 §2.1, "a retransmission MUST be bitwise
// identical"; so nobody else can make us send, and it costs no decryption. A
// peer may cut a request smaller the next time (RFC 7383 §2.5.2): then fragment 1
// must authenticate. Other fragments are no reason to answer (§2.6.1).
func (s *SA) repeated(d session.Datagram, h wire.Header) bool {
	if sha256.Sum256(d.Data) == s.answered.digest {
		return true
	}
	if !s.fragments.on || fragmentNumber(d.Data, h) != 1 {
		return false
	}
	var once wire.Reassembly
	_, _, err := once.Add(d.Data, s.protect)
	return err == nil
}
