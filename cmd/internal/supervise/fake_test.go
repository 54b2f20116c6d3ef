package supervise_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"spindle/cmd/internal/config"
	"spindle/cmd/internal/supervise"
)

// TestMain lets the test binary be the two processes that it supervises, and
// the supervisor that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || !strings.HasPrefix(os.Args[1], "fake-") {
		os.Exit(m.Run())
	}
	switch name := strings.TrimPrefix(os.Args[1], "fake-"); name {
	case "supervisor":
		fakeSupervisor(os.Args[2])
	default:
		fakeChild(name, os.Args[2], os.Args[3:])
	}
}

// fakeChild reports what it sees as lines appended to a file.
func fakeChild(name, report string, how []string) {
	out, err := os.OpenFile(report, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, name, err)
		os.Exit(1)
	}
	say := func(format string, args ...any) { fmt.Fprintf(out, name+" "+format+"\n", args...) }
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	channel, err := supervise.Attach()
	if err != nil {
		say("%v", err)
		os.Exit(1)
	}
	if strings.Join(how, " ") == "refuse" {
		_ = channel.Send(supervise.Message{Kind: supervise.Failed, Error: "open eth9: no such device"})
		os.Exit(1)
	}
	messages := make(chan *supervise.Message)
	go func() {
		for {
			m, err := channel.Receive()
			if err != nil {
				os.Exit(0)
			}
			messages <- m
		}
	}()
	for {
		select {
		case s := <-signals:
			switch {
			case s == syscall.SIGUSR1:
				_ = channel.Send(supervise.Message{Kind: supervise.Reload, Request: 7})
			case strings.Join(how, " ") == "deaf":
				say("ignores %v", s)
			default:
				say("stops")
				os.Exit(0)
			}
		case m := <-messages:
			fakeMessage(channel, m, say)
		}
	}
}

func fakeMessage(channel *supervise.Channel, m *supervise.Message, say func(string, ...any)) {
	defer m.Close()
	switch m.Kind {
	case supervise.Start:
		if m.Datapath != nil {
			say("starts %d outside %v", os.Getpid(), m.Datapath.Outside)
		}
		if c, err := m.Config(); err == nil {
			say("starts %d connections %d", os.Getpid(), len(c.Connections))
		}
		if l, err := m.Listener(); err == nil {
			say("listens on %s", filepath.Base(l.Addr().String()))
		}
		_ = channel.Send(supervise.Message{Kind: supervise.Ready})
	case supervise.Keysock:
		f, err := m.Keysock()
		if err != nil {
			say("keysock: %v", err)
			return
		}
		fmt.Fprint(f, os.Getpid())
		peer := make([]byte, 16)
		n, err := f.Read(peer)
		say("joined %d with %s %v", os.Getpid(), peer[:n], err)
		go func() { // hold the end until the other side is gone, as a real process does
			_, _ = io.Copy(io.Discard, f)
			f.Close()
		}()
	case supervise.Config:
		c, err := m.Config()
		say("config %v %v", len(c.Connections), err)
	case supervise.Reloaded:
		say("reloaded %d %q", m.Request, m.Error)
	}
}

const yaml = `outside: [lo]
control_user: nobody
connections:
  - name: r8
    local: {address: 192.0.2.1}
    remote: {addresses: [192.0.2.2]}
    psk: {value: secret}
    children: [{name: lan, local: [10.0.0.1], remote: [10.0.0.2]}]
`

// rig is one supervised gateway of fakes.
type rig struct {
	t      *testing.T
	dir    string // of everything
	path   string // of the configuration
	report string
	log    *buffer
	hangup chan os.Signal
	cancel context.CancelFunc
	result chan error
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// prepare makes the files; a report that any user may write.
func prepare(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "spl-cmd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, path: filepath.Join(dir, "f.yaml"), report: filepath.Join(dir, "report"), log: &buffer{}}
	r.must(os.Chmod(dir, 0o755))
	r.must(os.WriteFile(r.path, []byte(yaml), 0o600))
	r.must(os.WriteFile(r.report, nil, 0o600))
	r.must(os.Chmod(r.report, 0o666))
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func options(dir string, log io.Writer, datapath, control []string) (supervise.Options, error) {
	path, report := filepath.Join(dir, "f.yaml"), filepath.Join(dir, "report")
	d, err := supervise.OpenDir(filepath.Join(dir, "run"))
	if err != nil {
		return supervise.Options{}, err
	}
	c, err := config.Load(path)
	return supervise.Options{
		Dir: d, Config: c,
		Load:       func() (*config.Config, error) { return config.Load(path) },
		Log:        slog.New(slog.NewTextHandler(log, nil)),
		Datapath:   append([]string{"fake-datapath", report}, datapath...),
		Control:    append([]string{"fake-control", report}, control...),
		StopWithin: 3 * time.Second,
		Backoff:    10 * time.Millisecond,
	}, err
}

// start runs the supervisor in this process.
func start(t *testing.T, datapath, control []string) *rig {
	t.Helper()
	r := prepare(t)
	o, err := options(r.dir, r.log, datapath, control)
	r.must(err)
	r.hangup = make(chan os.Signal, 1)
	o.Reload = r.hangup
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.result = cancel, make(chan error, 1)
	go func() {
		err := supervise.Run(ctx, o)
		o.Dir.Close()
		r.result <- err
		close(r.result)
	}()
	t.Cleanup(func() {
		cancel()
		for range r.result {
		}
		if t.Failed() {
			t.Logf("report:\n%slog:\n%s", r.lines(), r.log)
		}
	})
	return r
}

// fakeSupervisor is start in a process of its own.
func fakeSupervisor(dir string) {
	o, err := options(dir, os.Stderr, nil, nil)
	if err == nil {
		err = supervise.Run(context.Background(), o)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (r *rig) lines() string {
	text, err := os.ReadFile(r.report)
	r.must(err)
	return string(text)
}

// await returns the fields of the nth line (from 1) that starts with prefix.
func (r *rig) await(prefix string, nth int) []string {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		seen := 0
		for line := range strings.Lines(r.lines()) {
			if strings.HasPrefix(line, prefix) && strings.HasSuffix(line, "\n") {
				if seen++; seen == nth {
					return strings.Fields(strings.TrimPrefix(line, prefix))
				}
			}
		}
	}
	r.t.Fatalf("no %d. line %q in:\n%slog:\n%s", nth, prefix, r.lines(), r.log)
	return nil
}
