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
		stands := s.findChild(func(c *child) bool {
			return c.Conf.Name == conf.Name && c.pair == p && c.state < childLingering && (c.Sends() || c.Waits())
		})
		underway := s.quick != nil && s.quick.conf.Name == conf.Name && s.quick.pair == p
		if p.carries(flow) && stands == nil && !underway {
			s.push(task{conf: conf, pair: p})
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
