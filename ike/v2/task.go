package v2

import (
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// taskKind is an exchange that waits for the window.
type taskKind uint8

const (
	taskCreateChild taskKind = iota
	taskRekeyChild
	taskDeleteChild
	taskRekeyIKE
	taskDeleteIKE
	taskInvalidSPI
	taskAbandon
	taskCrashToken
	taskUpdateAddresses
	taskAddresses
	taskReachable
	taskMapping
	taskRedirect
)

type task struct {
	kind  taskKind
	conf  *session.Child // create
	flow  sadb.Flow      // create: the packet that asked, if any
	child *child         // rekey, delete
	spi   sadb.SPI       // invalid SPI, abandon
}

// maxTasks bounds what can queue up behind a peer that does not answer.
const maxTasks = 256

// push queues a task unless the same one waits already.
func (s *SA) push(now time.Time, t task) {
	same := func(o task) bool {
		return o.kind == t.kind && o.conf == t.conf && o.child == t.child && o.spi == t.spi
	}
	if len(s.tasks) < maxTasks && !slices.ContainsFunc(s.tasks, same) {
		s.tasks = append(s.tasks, t)
	}
}

// pump starts the next exchange when the window is free. While the peer makes a
// successor of the IKE SA, what is about a child SA waits for that.
func (s *SA) pump(now time.Time) {
	for s.request == nil && len(s.tasks) > 0 && (s.state == Established || s.state == Replaced) {
		t := s.tasks[0]
		if s.succeeding() != nil && t.kind != taskDeleteIKE {
			return
		}
		s.tasks = s.tasks[1:]
		s.start(now, t)
	}
}

func (s *SA) start(now time.Time, t task) {
	switch t.kind {
	case taskCreateChild:
		if !s.stands(t.conf, t.flow) { // the peer may have been faster
			s.createChild(now, t.conf, t.flow)
		}
	case taskRekeyChild:
		s.rekeyChild(now, t.child)
	case taskDeleteChild:
		s.deleteChild(now, t.child)
	case taskRekeyIKE:
		s.rekeyIKE(now)
	case taskDeleteIKE:
		s.deleteIKE(now)
	case taskInvalidSPI:
		s.sendInvalidSPI(now, t.spi)
	case taskAbandon:
		s.abandon(now, t.spi)
	case taskCrashToken:
		s.sendCrashToken(now)
	case taskUpdateAddresses:
		s.updateAddresses(now)
	case taskAddresses:
		s.tellAddresses(now)
	case taskReachable:
		s.checkReachable(now)
	case taskMapping:
		s.askMapping(now)
	case taskRedirect:
		s.redirectStanding(now)
	}
}

// Want negotiates a child SA unless one stands or is under way. The flow is the
// packet that asked for it, zero for none: one that a narrowed child SA does
// not carry asks for another.
func (s *SA) Want(now time.Time, conf *session.Child, flow sadb.Flow) {
	if s.stands(conf, flow) || s.wanted(conf) {
		return
	}
	s.push(now, task{kind: taskCreateChild, conf: conf, flow: flow})
	s.pump(now)
}

// stands reports whether there is a child SA of that name for the packet.
func (s *SA) stands(conf *session.Child, flow sadb.Flow) bool {
	return s.find(func(c *child) bool {
		return c.Conf.Name == conf.Name && c.state <= childReplaced && !c.redundant && c.Carries(flow)
	}) != nil
}

// wanted reports whether the child SA is being negotiated.
func (s *SA) wanted(conf *session.Child) bool {
	if s.asking != nil && s.asking.conf == conf || s.handshake != nil && s.handshake.child == conf {
		return true
	}
	return slices.ContainsFunc(s.tasks, func(t task) bool { return t.kind == taskCreateChild && t.conf == conf })
}

// Rekey replaces the child SAs of that name, or the IKE SA if it is empty.
func (s *SA) Rekey(now time.Time, name string) {
	if s.state != Established || s.elder != nil {
		return
	}
	if name == "" {
		s.push(now, task{kind: taskRekeyIKE})
	}
	for _, c := range s.children {
		if name != "" && c.Conf.Name == name {
			s.push(now, task{kind: taskRekeyChild, child: c})
		}
	}
	s.pump(now)
}

// Terminate deletes the child SAs of that name, or everything if it is empty.
func (s *SA) Terminate(now time.Time, name string) {
	if name != "" {
		for _, c := range s.children {
			if c.Conf.Name == name && c.state < childDeleting {
				s.push(now, task{kind: taskDeleteChild, child: c})
			}
		}
		s.pump(now)
		return
	}
	if s.elder != nil {
		return // the one that it competes to succeed hands the task over
	}
	if s.state < AuthSent {
		s.free(now)
		return
	}
	// With IKE_AUTH under way the peer may hold an IKE SA already: its answer
	// is awaited, so that the Delete can follow.
	s.tasks = []task{{kind: taskDeleteIKE}}
	s.pump(now)
}

// Discard drops an IKE SA that the peer says it does not hold. A Delete follows,
// patiently, in case it does: two ends may open at the same moment.
func (s *SA) Discard(now time.Time) {
	s.dropChildren()
	s.giveBack()
	s.withdraw()
	s.voidAll()
	if s.asking != nil && s.asking.spi != 0 {
		s.env.SPIs.Free(s.asking.spi)
		s.asking = nil
	}
	if s.request != nil {
		s.request.answer = func(time.Time, wire.Message) {}
	}
	s.still()
	s.expireAt = now.Add(replacedLife)
	s.tasks = []task{{kind: taskDeleteIKE}}
	s.move(Replaced)
	s.pump(now)
}

// Crossed handles two IKE SAs that the two ends opened at the same moment: the
// one with the lower initiator SPI is too many, and its initiator deletes it
// once the other one has settled. RFC 7296 leaves that open.
func (s *SA) Crossed(now time.Time, o *SA) {
	if s.state != Established || o.state != Established || s.initiator == o.initiator ||
		max(s.created.Sub(o.created), o.created.Sub(s.created)) > crossingTime {
		return
	}
	if o.spiI < s.spiI {
		s = o
	}
	s.yields = true
	if s.initiator {
		s.retireAt = now.Add(settleTime)
	}
}

// retire deletes a superfluous IKE SA without losing a packet: first its child
// SAs, whose inbound halves linger, and when those are gone the IKE SA.
func (s *SA) retire(now time.Time) {
	s.retireAt = time.Time{}
	if len(s.children) == 0 {
		s.push(now, task{kind: taskDeleteIKE})
		return
	}
	for _, c := range s.children {
		s.push(now, task{kind: taskDeleteChild, child: c})
	}
	s.retireAt = now.Add(session.LingerTime + time.Second)
}

// Shutdown deletes everything at once and tells the peer without waiting.
func (s *SA) Shutdown(now time.Time) {
	s.dropChildren()
	if s.state == Established || s.state == Replaced {
		s.sendOnce(wire.ExchangeInformational, wire.Delete{Protocol: wire.ProtocolIKE})
	}
	s.free(now)
}
