package supervise

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// child is one of the two processes. Only the supervisor's loop touches it.
type child struct {
	name string
	args []string
	cred *syscall.Credential // nil keeps the user

	process *os.Process // nil while it does not run
	channel *Channel
	started time.Time
	ready   bool          // this process said so
	served  bool          // some process of this name ever did
	reason  string        // what it said before it exited
	wait    time.Duration // before the next start
	restart *time.Timer   // nil unless one is due
}

// event is what happened to a child's process; exactly one of exit and message is set.
type event struct {
	child   *child
	channel *Channel // tells the process: a late message of a dead one is ignored
	message *Message
	exit    *os.ProcessState
}

// start runs the child's process. The calling thread must live as long as the
// child: Pdeathsig follows the thread (prctl(2)).
func (c *child) start(exe string, lock *os.File, events chan<- event, done <-chan struct{}) error {
	ours, theirs, err := pair("channel")
	if err != nil {
		return err
	}
	defer theirs.Close()
	channel, err := newChannel(ours)
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, c.args...)
	cmd.Args[0] = "spindle"
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C reaches the supervisor alone, which ends them in order
		Credential: c.cred,
	}
	if err := cmd.Start(); err != nil {
		_ = channel.Close()
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	c.process, c.channel, c.started = cmd.Process, channel, time.Now()
	c.ready, c.reason = false, ""
	go c.listen(cmd, channel, events, done)
	return nil
}

// listen reports what the process says and, after all of it, that it exited.
func (c *child) listen(cmd *exec.Cmd, channel *Channel, events chan<- event, done <-chan struct{}) {
	report := func(e event) {
		select {
		case events <- e:
		case <-done:
		}
	}
	for {
		m, err := channel.Receive()
		if err != nil {
			break
		}
		report(event{child: c, channel: channel, message: m})
	}
	_ = cmd.Wait()
	report(event{child: c, channel: channel, exit: cmd.ProcessState})
}

// running tells whether the process may be spoken to.
func (c *child) running() bool { return c.process != nil }

// gone forgets the process that exited.
func (c *child) gone() {
	_ = c.channel.Close()
	c.process, c.channel, c.ready = nil, nil, false
}

func (c *child) signal(s syscall.Signal) {
	if c.process != nil {
		_ = c.process.Signal(s)
	}
}

// send tells the child, or logs that it does not listen: the next start will.
func (c *child) send(log *slog.Logger, m Message) {
	if !c.running() {
		return
	}
	if err := c.channel.Send(m); err != nil {
		log.Warn("process does not listen", "process", c.name, "error", err)
	}
}
