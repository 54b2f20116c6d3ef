package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"spindle/cmd/internal/config"
	"spindle/sadb/keysock"
)

// Options is what Run needs to know. Zero times take the defaults.
type Options struct {
	Dir    *Dir
	Config *config.Config
	Load   func() (*config.Config, error) // reads the file again
	Reload <-chan os.Signal               // SIGHUP
	Log    *slog.Logger

	Datapath, Control []string // arguments of the two processes

	Executable  string        // default /proc/self/exe: the same binary, even when its file was replaced
	StartWithin time.Duration // before a first start is given up
	StopWithin  time.Duration // before a child that does not stop is killed
	Backoff     time.Duration // before the first restart; it doubles up to MaxBackoff
	MaxBackoff  time.Duration
}

const (
	defaultStart      = 30 * time.Second
	defaultStop       = 5 * time.Second
	defaultBackoff    = 100 * time.Millisecond
	defaultMaxBackoff = 10 * time.Second
	healthy           = 10 * time.Second // a process that lived so long starts its back-off anew
)

func (o *Options) defaults() {
	if o.Executable == "" {
		o.Executable = "/proc/self/exe"
	}
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.StartWithin, defaultStart)
	set(&o.StopWithin, defaultStop)
	set(&o.Backoff, defaultBackoff)
	set(&o.MaxBackoff, defaultMaxBackoff)
}

// supervisor is the state of Run's loop.
type supervisor struct {
	Options
	datapath, control child
	events            chan event
	done              chan struct{}
}

// Run starts both processes and keeps them running until ctx ends, then stops
// control, which takes leave of the peers, before the datapath. It returns an
// error when a process cannot be started at all.
func Run(ctx context.Context, o Options) error {
	o.defaults()
	result := make(chan error, 1)
	go func() {
		// The thread is never given back: children die with it, and it has lost
		// privileges that other goroutines should keep.
		runtime.LockOSThread()
		result <- run(ctx, o)
	}()
	return <-result
}

func run(ctx context.Context, o Options) error {
	s := &supervisor{
		Options:  o,
		datapath: child{name: "datapath", args: o.Datapath},
		control:  child{name: "control", args: o.Control},
		events:   make(chan event, 16),
		done:     make(chan struct{}),
	}
	defer close(s.done)
	if err := s.privileges(); err != nil {
		return err
	}
	err := s.boot(ctx)
	if err == nil {
		err = s.serve(ctx)
		s.Log.Info("gateway stopping")
	}
	s.stop(&s.control)
	s.stop(&s.datapath)
	return err
}

// privileges settles what the children may do. Without root there is nothing to give up.
func (s *supervisor) privileges() error {
	if os.Geteuid() != 0 {
		return nil
	}
	cred, err := Unprivileged(s.Config.ControlUser)
	if err != nil {
		return err
	}
	s.control.cred = cred
	return confineThread()
}

// boot starts the datapath, then control. A process that dies before it ever
// served ends the attempt: its reason is the operator's to remedy.
func (s *supervisor) boot(ctx context.Context) error {
	for _, c := range []*child{&s.datapath, &s.control} {
		if err := s.start(c); err != nil {
			return err
		}
		if err := s.awaitReady(ctx, c); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	s.Log.Info("gateway running", "runtime_dir", s.Dir.Path, "control_user", s.controlUser())
	return nil
}

// awaitReady returns when c serves, or ctx ends.
func (s *supervisor) awaitReady(ctx context.Context, c *child) error {
	late := time.NewTimer(s.StartWithin)
	defer late.Stop()
	for !c.ready && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-late.C:
			return fmt.Errorf("%s did not start: no sign of life for %v", c.name, s.StartWithin)
		case <-due(s.datapath.restart):
			s.again(&s.datapath)
		case e := <-s.events:
			s.handle(e)
			if e.exit != nil && !e.child.served {
				return fmt.Errorf("%s did not start: %s", e.child.name, e.child.why(e.exit))
			}
		}
	}
	return nil
}

func (s *supervisor) controlUser() string {
	if s.control.cred == nil {
		return "unchanged"
	}
	return fmt.Sprintf("uid %d", s.control.cred.Uid)
}

// serve is the loop of a running gateway.
func (s *supervisor) serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Reload:
			_ = s.reload()
		case e := <-s.events:
			s.handle(e)
		case <-due(s.datapath.restart):
			s.again(&s.datapath)
		case <-due(s.control.restart):
			s.again(&s.control)
		}
	}
}

func due(t *time.Timer) <-chan time.Time {
	if t == nil {
		return nil
	}
	return t.C
}

// start runs a process and, when both run, joins them.
func (s *supervisor) start(c *child) error {
	if err := c.start(s.Options.Executable, s.Dir.lock, s.events, s.done); err != nil {
		return err
	}
	first, err := s.first(c)
	if err != nil {
		return err
	}
	c.send(s.Log, first)
	first.Close()
	return s.join()
}

// first is the message that a new process waits for.
func (s *supervisor) first(c *child) (Message, error) {
	m := Message{Kind: Start}
	if c == &s.datapath {
		m.Datapath = &s.Config.Datapath // no secrets: it has no use for them
		return m, nil
	}
	if err := carryConfig(&m, s.Config); err != nil {
		return m, err
	}
	l, err := s.Dir.listener.File()
	if err != nil {
		m.Close()
		return m, fmt.Errorf("pass on listener: %w", err)
	}
	m.carry(listenerFile, l)
	return m, nil
}

func carryConfig(m *Message, c *config.Config) error {
	data, err := c.Encode()
	if err != nil {
		return err
	}
	f, err := memory("spindle configuration", data)
	if err != nil {
		return err
	}
	m.carry(configFile, f)
	return nil
}

// join gives a fresh keysock to both processes, once both run. Neither end is
// ever used twice: half a conversation with a dead process helps nobody.
func (s *supervisor) join() error {
	if !s.datapath.running() || !s.control.running() {
		return nil
	}
	a, b, err := keysock.Pair()
	if err != nil {
		return err
	}
	for c, f := range map[*child]*os.File{&s.datapath: a, &s.control: b} {
		m := Message{Kind: Keysock}
		m.carry(keysockFile, f)
		c.send(s.Log, m)
		m.Close()
	}
	return nil
}

// handle takes one event. What a process that was replaced still says is dropped.
func (s *supervisor) handle(e event) {
	c := e.child
	if c.channel != e.channel {
		if e.message != nil {
			e.message.Close()
		}
		return
	}
	if e.exit != nil {
		s.exited(c, e.exit)
		return
	}
	defer e.message.Close()
	switch e.message.Kind {
	case Ready:
		c.ready, c.served = true, true
		s.Log.Debug("process ready", "process", c.name, "pid", c.process.Pid)
	case Failed:
		c.reason = e.message.Error
	case Reload:
		s.answerReload(c, e.message.Request)
	default:
		s.Log.Warn("unexpected message", "process", c.name, "kind", e.message.Kind)
	}
}

// exited plans the restart of a process that died, later each time.
func (s *supervisor) exited(c *child, state *os.ProcessState) {
	lived := time.Since(c.started)
	c.gone()
	if lived >= healthy || c.wait == 0 {
		c.wait = s.Backoff
	} else {
		c.wait = min(2*c.wait, s.MaxBackoff)
	}
	c.restart = time.NewTimer(c.wait)
	if c.served {
		s.Log.Error("process died", "process", c.name, "reason", c.why(state), "restart_in", c.wait)
	}
}

// why is what the process said of itself, else what the kernel says of it.
func (c *child) why(state *os.ProcessState) string {
	if c.reason != "" {
		return c.reason
	}
	if state == nil {
		return "unknown"
	}
	return state.String()
}

// again is start for a process that ran before: there is always a next time.
func (s *supervisor) again(c *child) {
	c.restart = nil
	err := s.start(c)
	if err == nil {
		return
	}
	s.Log.Error("process not restarted", "process", c.name, "error", err)
	if !c.running() {
		c.wait = min(2*max(c.wait, s.Backoff), s.MaxBackoff)
		c.restart = time.NewTimer(c.wait)
	}
}

// stop asks the process to end, and makes it after a while.
func (s *supervisor) stop(c *child) {
	c.signal(syscall.SIGTERM)
	late := time.NewTimer(s.StopWithin)
	defer late.Stop()
	for c.running() {
		select {
		case e := <-s.events:
			if e.exit != nil && e.child == c && e.channel == c.channel {
				c.gone()
				continue
			}
			s.handle(e)
		case <-late.C:
			s.Log.Error("process does not stop: killed", "process", c.name, "after", s.StopWithin)
			c.signal(syscall.SIGKILL)
		}
	}
}
