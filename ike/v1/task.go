package v1

import (
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

// task is a quick mode that waits for its turn: ours run one at a time, so that
// a refusal, which names nothing, is about one.
type task struct {
	conf     *session.Child
	pair     pair
	replaces *child
}

// maxTasks bounds what can queue up behind a peer that does not answer.
const maxTasks = 256

// push queues a task unless the same one waits already.
func (s *SA) push(t task) {
	if len(s.tasks) < maxTasks && !slices.Contains(s.tasks, t) {
		s.tasks = append(s.tasks, t)
	}
}

// pump starts the next quick mode.
func (s *SA) pump(now time.Time) {
	for s.quick == nil && len(s.tasks) > 0 && s.state == Established {
		t := s.tasks[0]
		s.tasks = s.tasks[1:]
		s.beginQuick(now, t)
	}
}

// done reports whether the child SA that a task asks for stands or is under way, over
// any ISAKMP SA with the peer: both ends may have opened one.
func (s *SA) done(t task) bool {
	for _, o := range s.all() {
		if s.goesElsewhere(o) {
			continue
		}
		stands := o.findChild(func(c *child) bool {
			return c.Conf.Name == t.conf.Name && c.pair == t.pair && c.state < childLingering && (c.Sends() || c.Waits())
		})
		if stands != nil || o.quick != nil && o.quick.conf.Name == t.conf.Name && o.quick.pair == t.pair {
			return true
		}
	}
	return false
}

// Want negotiates the child SAs of a configured child unless they stand or are
// under way. The flow is the packet that asked, zero for none.
func (s *SA) Want(now time.Time, conf *session.Child, flow sadb.Flow) {
	if s.wantsConfig() && s.state != Established {
		// What there is to select is known when the address is.
		s.config.wanted = append(s.config.wanted, wanted{conf, flow})
		return
	}
	if flow != (sadb.Flow{}) && s.conn.Hides(conf) {
		flow.Src = s.config.addr // as it will be once it is translated
	}
	for _, p := range s.leased(choosePairs(conf, sadb.Flow{})) {
		if t := (task{conf: conf, pair: p}); p.carries(flow) && !s.done(t) {
			s.push(t)
		}
	}
	s.pump(now)
}

// Rekey makes new keys: for the child SAs of that name by a quick mode each, and if
// it is empty for the ISAKMP SA by another phase 1.
func (s *SA) Rekey(now time.Time, name string) {
	if s.state != Established {
		return
	}
	if name == "" {
		s.renew(now)
		return
	}
	for _, c := range s.children {
		if c.Conf.Name == name && c.state == childInstalled {
			s.rekeyChild(now, c)
		}
	}
	s.pump(now)
}

// Terminate deletes the child SAs of that name, or everything if it is empty.
func (s *SA) Terminate(now time.Time, name string) {
	if name == "" {
		s.Shutdown(now)
		return
	}
	s.tasks = slices.DeleteFunc(s.tasks, func(t task) bool { return t.conf.Name == name })
	for _, c := range slices.Clone(s.children) {
		if c.Conf.Name == name {
			s.deleteChild(now, c)
		}
	}
}

// Shutdown deletes everything at once and tells the peer: the child SAs, then
// the ISAKMP SA.
func (s *SA) Shutdown(now time.Time) {
	if s.state == Established || s.state == Replaced {
		s.sayDelete(now, s.children...)
	}
	s.dropChildren()
	if s.state == Established || s.state == Replaced || s.state == Authenticating {
		s.deleteISAKMP()
	}
	s.free(now)
}
