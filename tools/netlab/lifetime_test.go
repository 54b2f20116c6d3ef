package netlab_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"spindle/tools/netlab"
)

// ownerEnv makes the test binary the owner of a lab that it never closes.
const ownerEnv = "NETLAB_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		ownLab()
		return
	}
	os.Exit(m.Run())
}

func ownLab() {
	g, err := netlab.NewGateways("owner", netlab.Options{})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	p, err := g.R6.Start("sh", "-c", "setsid sleep 300 & sleep 300") // one escapes the process group
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for p.Signal(0) == nil && !strings.Contains(string(read(fmt.Sprintf("/proc/%d/cmdline", p.PID))), "setsid sleep") {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(g.ID(), p.PID)
	if os.Getenv(ownerEnv) == "panic" {
		panic("on purpose")
	}
	select {}
}

func read(path string) []byte {
	raw, _ := os.ReadFile(path)
	return raw
}

// owner starts the test binary again and returns the id of its lab.
func startOwner(t *testing.T, how string) (cmd *exec.Cmd, id string, pid int) {
	t.Helper()
	needRoot(t)
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerEnv+"="+how)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	if n, err := fmt.Sscan(line, &id, &pid); n != 2 {
		t.Fatalf("owner says %q: %v", line, err)
	}
	return cmd, id, pid
}

// remains lists what there is of a lab, by what it is called.
func remains(id string, pid int) []string {
	var found []string
	for _, pattern := range []string{"/run/netns/" + id + "_*", "/run/spindle-netlab/" + id} {
		files, _ := filepath.Glob(pattern)
		found = append(found, files...)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		found = append(found, fmt.Sprintf("process %d: %s", pid, read(fmt.Sprintf("/proc/%d/cmdline", pid))))
	}
	return found
}

func eventuallyGone(t *testing.T, id string, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(remains(id, pid)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", remains(id, pid))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// However the owner dies, its watchdog removes the lab.
func TestDeadOwnerLeavesNothing(t *testing.T) {
	for _, how := range []string{"panic", "interrupt", "kill"} {
		t.Run(how, func(t *testing.T) {
			cmd, id, pid := startOwner(t, how)
			switch how {
			case "interrupt":
				must(t, cmd.Process.Signal(syscall.SIGINT))
			case "kill":
				if len(remains(id, pid)) < 7 {
					t.Errorf("before: %q", remains(id, pid))
				}
				must(t, cmd.Process.Kill())
			}
			_ = cmd.Wait()
			eventuallyGone(t, id, pid)
		})
	}
}

// When the watchdog was killed as well, the next New removes the lab, and leaves
// alone those whose owner lives.
func TestNewReapsStaleLabs(t *testing.T) {
	alive := newGateways(t, "alive", netlab.Options{})
	cmd, id, pid := startOwner(t, "reap")
	killWatchdog(t, id)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	time.Sleep(50 * time.Millisecond)
	if len(remains(id, pid)) < 7 {
		t.Errorf("nothing to reap: %q", remains(id, pid))
	}
	lab, err := netlab.New("next")
	must(t, err)
	must(t, lab.Close())
	eventuallyGone(t, id, pid)
	if len(remains(alive.ID(), os.Getpid())) < 7 {
		t.Error("the lab of a living owner was touched")
	}
}

func killWatchdog(t *testing.T, id string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range entries {
		line := string(read("/proc/" + e.Name() + "/cmdline"))
		if strings.Contains(line, "netlab-watchdog\x00") && strings.Contains(line, "\x00"+id+"\x00") {
			pid, err := strconv.Atoi(e.Name())
			must(t, err)
			must(t, syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	t.Fatal("there is no watchdog")
}

func TestCloseIsIdempotent(t *testing.T) {
	g := newGateways(t, "twice", netlab.Options{})
	p, err := g.A.Start("sleep", "300")
	must(t, err)
	must(t, g.Close())
	must(t, g.Close())
	if err := syscall.Kill(p.PID, 0); err == nil {
		t.Error("the process still runs")
	}
	if _, err := g.Namespace("late"); err == nil {
		t.Error("a closed lab made a namespace")
	}
	if _, err := g.A.Start("true"); err == nil {
		t.Error("a closed lab started a process")
	}
}

func TestLeftoversSeesPinsAndProcesses(t *testing.T) {
	g := newGateways(t, "left", netlab.Options{})
	ctx := within(t, 10*time.Second)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(t, err)
	defer m.Close()
	must(t, m.Pin(g.Dir()+"/bpf-r6/spindle_pin"))
	if out, err := g.R6.Run(ctx, "ls", "/sys/fs/bpf"); err != nil || !strings.Contains(out, "spindle_pin") {
		t.Errorf("a command does not see the pins of its namespace: %q, %v", out, err)
	}
	p, err := g.R6.Start("sleep", "300")
	must(t, err)
	left := strings.Join(g.Leftovers(), "\n")
	for _, want := range []string{"namespace /run/netns/", "folder /run/", "pin /run/", "spindle_pin", fmt.Sprintf("process %d", p.PID)} {
		if !strings.Contains(left, want) {
			t.Errorf("%q is not in %s", want, left)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
