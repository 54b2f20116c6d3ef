// Package testbed runs real gateways in the namespaces of a lab: spindle with its
// own two processes, its configuration file and its operator's socket, just as a
// user would. The demo and the end-to-end tests stand on it.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"spindle/cmd/internal/api"
	"spindle/tools/netlab"
)

// Gateway is one running spindle.
type Gateway struct {
	*api.Client
	Name    string
	NS      *netlab.NS
	Runtime string // its runtime directory

	exe, config string
	process     *netlab.Process
}

// startTimeout is generous: the machine may be busy with other tests.
const startTimeout = 20 * time.Second

// Start writes the configuration and runs the spindle binary exe with it in a
// namespace. It returns when the gateway answers its operator.
func Start(ctx context.Context, lab *netlab.Lab, ns *netlab.NS, exe, config string) (*Gateway, error) {
	dir := filepath.Join(lab.Dir(), ns.Name)
	g := &Gateway{
		Name: ns.Name, NS: ns, exe: exe,
		Runtime: filepath.Join(dir, "run"), config: filepath.Join(dir, "spindle.yaml"),
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := g.Configure(config); err != nil {
		return nil, err
	}
	return g, g.Run(ctx)
}

// Configure replaces the configuration file. A running gateway reads it on SIGHUP.
func (g *Gateway) Configure(config string) error {
	return os.WriteFile(g.config, []byte(config), 0o600)
}

// Run starts the gateway, again if it was stopped or killed.
func (g *Gateway) Run(ctx context.Context) error {
	p, err := g.NS.Start(g.exe, "run", "--config", g.config, "--runtime-dir", g.Runtime, "--log-level", "debug")
	if err != nil {
		return err
	}
	g.process, g.Client = p, api.NewClient(g.Runtime)
	return g.Await(ctx, startTimeout, "answer its operator", func() bool {
		_, err := Table[api.Connection](ctx, g, api.Connections)
		return err == nil
	})
}

// Await polls until a condition holds, the gateway ends, or the time is over. The
// error says what was waited for and shows the end of the gateway's log.
func (g *Gateway) Await(ctx context.Context, limit time.Duration, what string, holds func() bool) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.process.Done():
			return fmt.Errorf("gateway %s ended before it could %s:\n%s", g.Name, what, g.tail())
		case <-deadline.C:
			return fmt.Errorf("gateway %s did not %s within %v:\n%s", g.Name, what, limit, g.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Table reads one table of the gateway, as spindle show does.
func Table[Row any](ctx context.Context, g *Gateway, name string) (rows []Row, err error) {
	err = g.Client.Table(ctx, name, &rows)
	return rows, err
}

// AwaitChild waits for an installed child SA and returns it.
func (g *Gateway) AwaitChild(ctx context.Context, limit time.Duration) (child api.ChildSA, err error) {
	err = g.Await(ctx, limit, "install a child SA", func() bool {
		children, err := Table[api.ChildSA](ctx, g, api.ChildSAs)
		if err != nil || len(children) == 0 {
			return false
		}
		child = children[len(children)-1]
		return child.State == "installed"
	})
	return child, err
}

// Log is what the gateway logged since its last start.
func (g *Gateway) Log() string { return g.process.Output() }

// tail is the end of the log, for an error message.
func (g *Gateway) tail() string {
	lines := strings.Split(strings.TrimSpace(g.Log()), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// Stop ends the gateway as an operator would.
func (g *Gateway) Stop() { g.process.Stop() }

// Signal sends a signal to the supervisor alone.
func (g *Gateway) Signal(s syscall.Signal) error { return g.process.Signal(s) }

// Ended is closed when the gateway has ended, by itself or not.
func (g *Gateway) Ended() <-chan struct{} { return g.process.Done() }

// ExitError waits for the gateway's end and says how it ended.
func (g *Gateway) ExitError() error { return g.process.Wait() }

// PID is of one of the gateway's processes: run, datapath or control.
func (g *Gateway) PID(role string) (int, error) {
	if role == "run" {
		return g.process.PID, nil
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", g.process.PID))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread may have ended meanwhile
		for _, word := range strings.Fields(string(text)) {
			command, _ := os.ReadFile(filepath.Join("/proc", word, "cmdline"))
			if words := strings.Split(string(command), "\x00"); len(words) > 1 && words[1] == role {
				return strconv.Atoi(word)
			}
		}
	}
	return 0, fmt.Errorf("gateway %s has no %s process", g.Name, role)
}

// KillProcess ends one of the processes without a word to anybody.
func (g *Gateway) KillProcess(role string) error {
	pid, err := g.PID(role)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// Kill ends all of the gateway's processes at once, without a word to anybody. The
// supervisor goes last, and does nothing before: a control process that sees it
// gone may still take leave of its peers.
func (g *Gateway) Kill() error {
	err := errors.Join(g.process.Signal(syscall.SIGSTOP), g.KillProcess("control"), g.KillProcess("datapath"),
		g.process.Signal(syscall.SIGKILL))
	<-g.process.Done()
	return err
}

// Drops are the packets that a gateway dropped, by worker and verdict or by port
// and reason: where each lost packet went.
func (g *Gateway) Drops(ctx context.Context) (map[string]uint64, error) {
	counters, err := Table[api.Counter](ctx, g, api.Counters)
	if err != nil {
		return nil, err
	}
	drops := map[string]uint64{}
	for _, c := range counters {
		if strings.HasPrefix(c.Name, "drop_") && c.Value > 0 {
			drops[c.Source+" "+c.Name] = c.Value
		}
	}
	return drops, nil
}

// Verdicts are the packets of all workers by verdict.
func (g *Gateway) Verdicts(ctx context.Context) (map[string]uint64, error) {
	workers, err := Table[api.Worker](ctx, g, api.Workers)
	sum := map[string]uint64{}
	for _, w := range workers {
		for name, n := range w.Verdicts {
			sum[name] += n
		}
	}
	return sum, err
}
