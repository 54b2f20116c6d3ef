package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const stopGrace = 5 * time.Second

// Process is a command that runs in a namespace. The lab stops it at the latest.
type Process struct {
	PID  int
	done chan struct{} // closed when it was waited for
	err  error         // valid after done
	out  lockedBuffer
}

// Start starts a command in the namespace and collects what it prints.
func (n *NS) Start(argv ...string) (*Process, error) {
	p := &Process{done: make(chan struct{})}
	cmd := n.Command(context.Background(), argv...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if n.lab.closed {
		return nil, errors.New("lab is closed")
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", argv[0], n.Name, err)
	}
	p.PID = cmd.Process.Pid
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	n.lab.processes = append(n.lab.processes, p)
	n.awaitEntry(p)
	return p, nil
}

// awaitEntry waits until the process is in the namespace, or has ended.
func (n *NS) awaitEntry(p *Process) {
	want, err := inodeOf(n.path)
	for deadline := time.Now().Add(time.Second); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		select {
		case <-p.done:
			return
		default:
		}
		if got, err := inodeOf(fmt.Sprintf("/proc/%d/ns/net", p.PID)); err == nil && got == want {
			return
		}
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns how it ended.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Output is what it printed so far, on both outputs.
func (p *Process) Output() string { return p.out.String() }

// Signal sends a signal to the process alone, not to what it started.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return errors.New("process has ended")
	default:
		return unix.Kill(p.PID, s)
	}
}

// Stop ends it with SIGTERM and, if that does not help within a few seconds,
// with SIGKILL to its process group. Stopping twice is fine.
func (p *Process) Stop() {
	if p.Signal(unix.SIGTERM) != nil {
		return
	}
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		_ = unix.Kill(-p.PID, unix.SIGKILL)
		<-p.done
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
