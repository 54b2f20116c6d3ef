package supervise_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/supervise"
)

func pid(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gone waits until the process is no more, or a zombie of somebody else.
func gone(t *testing.T, p int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d still runs", p)
}

// TestBothAreJoined: each process gets what it needs and no more, and an end of
// the same keysock; TERM ends control before the datapath.
func TestBothAreJoined(t *testing.T) {
	r := start(t, nil, nil)
	datapath := r.await("datapath starts ", 1)
	control := r.await("control starts ", 1)
	if datapath[2] != "[lo]" || control[2] != "1" {
		t.Errorf("datapath %v, control %v", datapath, control)
	}
	if got := r.await("control listens on ", 1); got[0] != "api.sock" {
		t.Errorf("control listens on %v", got)
	}
	if got := r.await("datapath joined ", 1); got[0] != datapath[0] || got[2] != control[0] {
		t.Errorf("datapath joined %v", got)
	}
	if got := r.await("control joined ", 1); got[0] != control[0] || got[2] != datapath[0] {
		t.Errorf("control joined %v", got)
	}
	if os.Geteuid() == 0 {
		privileges(t, pid(t, datapath[0]), pid(t, control[0]))
	} else {
		t.Log("not root: privileges not checked")
	}
	r.cancel()
	if err := <-r.result; err != nil {
		t.Error(err)
	}
	text := r.lines()
	if c, d := strings.Index(text, "control stops"), strings.Index(text, "datapath stops"); c < 0 || d < c {
		t.Errorf("not control, then datapath:\n%s", text)
	}
	gone(t, pid(t, datapath[0]))
	gone(t, pid(t, control[0]))
	if _, err := os.Stat(api.SocketPath(filepath.Join(r.dir, "run"))); err == nil {
		t.Error("the API's socket is still there")
	}
}

// privileges: the control process has none; the datapath those that it needs (capabilities(7)).
func privileges(t *testing.T, datapath, control int) {
	t.Helper()
	var mask uint64
	for _, c := range []uint{10, 12, 13, 14, 38, 39} { // NET_BIND_SERVICE, NET_ADMIN, NET_RAW, IPC_LOCK, PERFMON, BPF
		mask |= 1 << c
	}
	for p, want := range map[int]map[string]string{
		datapath: {"Uid": "0 0 0 0", "CapEff": fmt.Sprintf("%016x", mask), "CapBnd": fmt.Sprintf("%016x", mask), "NoNewPrivs": "1"},
		control:  {"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "NoNewPrivs": "1"},
	} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			if w, ok := want[key]; ok && strings.Join(strings.Fields(value), " ") != w {
				t.Errorf("process %d: %s is %q, want %q", p, key, strings.TrimSpace(value), w)
			}
		}
	}
}

// TestRestart: either process dies by kill -9 and comes back; the other one is
// the same process, with a fresh keysock to the new one.
func TestRestart(t *testing.T) {
	r := start(t, nil, nil)
	datapath, control := r.await("datapath starts ", 1)[0], r.await("control starts ", 1)[0]
	r.await("control joined ", 1)

	_ = syscall.Kill(pid(t, datapath), syscall.SIGKILL)
	second := r.await("datapath starts ", 2)[0]
	if got := r.await("control joined ", 2); got[0] != control || got[2] != second {
		t.Errorf("after the datapath died: control joined %v, want %s with %s", got, control, second)
	}
	_ = syscall.Kill(pid(t, control), syscall.SIGKILL)
	third := r.await("control starts ", 2)[0]
	if got := r.await("datapath joined ", 3); got[0] != second || got[2] != third {
		t.Errorf("after control died: datapath joined %v, want %s with %s", got, second, third)
	}
	if log := r.log.String(); strings.Count(log, "process died") != 2 || !strings.Contains(log, "signal: killed") {
		t.Errorf("log:\n%s", log)
	}
}

// TestBackoff: a process that always dies is not started in a loop.
func TestBackoff(t *testing.T) {
	r := start(t, nil, nil)
	for n := 1; n <= 4; n++ {
		_ = syscall.Kill(pid(t, r.await("control joined ", n)[0]), syscall.SIGKILL)
	}
	r.await("control starts ", 5)
	for _, wait := range []string{"restart_in=10ms", "restart_in=20ms", "restart_in=40ms", "restart_in=80ms"} {
		if !strings.Contains(r.log.String(), wait) {
			t.Errorf("no %s in:\n%s", wait, r.log)
		}
	}
}

// TestKilledSupervisor: nothing of it is left, and the next one can start at once.
func TestKilledSupervisor(t *testing.T) {
	r := prepare(t)
	cmd := exec.Command("/proc/self/exe", "fake-supervisor", r.dir)
	cmd.Stderr = r.log
	r.must(cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	datapath, control := r.await("datapath starts ", 1)[0], r.await("control starts ", 1)[0]
	r.await("control joined ", 1)
	if _, err := supervise.OpenDir(filepath.Join(r.dir, "run")); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(process %d)", cmd.Process.Pid)) {
		t.Errorf("a second gateway in the same directory: %v", err)
	}
	r.must(cmd.Process.Kill())
	_ = cmd.Wait()
	d, err := supervise.OpenDir(filepath.Join(r.dir, "run"))
	r.must(err)
	defer d.Close()
	for _, p := range []string{datapath, control} {
		if err := syscall.Kill(pid(t, p), 0); err == nil {
			gone(t, pid(t, p))
		}
	}
	if strings.Contains(r.lines(), "stops") {
		t.Error("somebody had time to stop")
	}
}

// TestDoesNotStart: a first start that fails ends the attempt with its reason.
func TestDoesNotStart(t *testing.T) {
	r := start(t, []string{"refuse"}, nil)
	if err := <-r.result; err == nil || err.Error() != "datapath did not start: open eth9: no such device" {
		t.Errorf("got %v", err)
	}
	r = start(t, nil, []string{"refuse"})
	if err := <-r.result; err == nil || err.Error() != "control did not start: open eth9: no such device" {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(r.lines(), "datapath stops") {
		t.Error("the datapath was not stopped")
	}
}

// TestDeaf: who does not stop is killed, and the other one still stops in order.
func TestDeaf(t *testing.T) {
	r := start(t, nil, []string{"deaf"})
	control := r.await("control starts ", 1)[0]
	r.await("control joined ", 1)
	r.cancel()
	if err := <-r.result; err != nil {
		t.Error(err)
	}
	gone(t, pid(t, control))
	if text := r.lines(); !strings.Contains(text, "control ignores") || !strings.Contains(text, "datapath stops") {
		t.Error(text)
	}
}

// TestReload: a good file reaches control, one with an error changes nothing,
// by signal and by the operator's request alike.
func TestReload(t *testing.T) {
	r := start(t, nil, nil)
	control := pid(t, r.await("control starts ", 1)[0])
	r.await("control joined ", 1)

	two := yaml + strings.NewReplacer("r8", "r9", "10.0.0.2", "10.0.0.3").Replace(yaml[strings.Index(yaml, "  - name"):])
	r.must(os.WriteFile(r.path, []byte(two), 0o600))
	r.hangup <- syscall.SIGHUP
	if got := r.await("control config ", 1); got[0] != "2" {
		t.Errorf("control got %v", got)
	}
	r.must(os.WriteFile(r.path, []byte(two+"colour: red\n"), 0o600))
	_ = syscall.Kill(control, syscall.SIGUSR1)
	if got := strings.Join(r.await("control reloaded ", 1), " "); !strings.Contains(got, `unknown key \"colour\"`) || !strings.HasPrefix(got, "7 ") {
		t.Errorf("control was answered %s", got)
	}
	r.must(os.WriteFile(r.path, []byte(strings.Replace(two, "[lo]", "[lo, eth9]", 1)), 0o600))
	_ = syscall.Kill(control, syscall.SIGUSR1)
	if got := strings.Join(r.await("control reloaded ", 2), " "); !strings.Contains(got, "changes of outside need a restart") {
		t.Errorf("control was answered %s", got)
	}
	_ = syscall.Kill(control, syscall.SIGKILL)
	if got := r.await("control starts ", 2); got[2] != "2" {
		t.Errorf("the restarted control has %s connections, not those of the last good file", got[2])
	}
	if strings.Count(r.lines(), "control config") != 1 || !strings.Contains(r.log.String(), "configuration refused, the old one stays") {
		t.Errorf("log:\n%s", r.log)
	}
}

func TestOpenDir(t *testing.T) {
	dir := t.TempDir()
	// A socket that an earlier run left.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: api.SocketPath(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	d, err := supervise.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(api.SocketPath(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v %v, want mode 0600", info, err)
	}
	want := fmt.Sprintf("a gateway already runs in %s (process %d): stop it, or choose another --runtime-dir", dir, os.Getpid())
	if _, err := supervise.OpenDir(dir); err == nil || err.Error() != want {
		t.Errorf("second: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 120))
	if _, err := supervise.OpenDir(long); err == nil || !strings.Contains(err.Error(), "choose a shorter one") {
		t.Errorf("long path: %v", err)
	}
}

func TestControlUser(t *testing.T) {
	if _, err := supervise.Unprivileged("root"); err == nil || !strings.Contains(err.Error(), "is root") {
		t.Errorf("root: %v", err)
	}
	if _, err := supervise.Unprivileged("no-such-user"); err == nil || !strings.Contains(err.Error(), "no user no-such-user") {
		t.Errorf("no-such-user: %v", err)
	}
	if c, err := supervise.Unprivileged(""); err != nil || c.Uid == 0 {
		t.Errorf("default: %v %v", c, err)
	}
}

func TestAttachByHand(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", "fake-datapath", prepare(t).report).CombinedOutput()
	if err == nil {
		t.Errorf("a child without supervisor ran: %s", out)
	}
}
