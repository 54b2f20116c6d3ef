package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is one network namespace of a lab.
type NS struct {
	Name string
	lab  *Lab
	path string // of the mount that keeps it
	fd   netns.NsHandle
	nl   *netlink.Handle
}

// Namespace makes a namespace with its loopback up. IPv6 addresses are usable
// at once in it, and nothing in it is configured by router advertisements.
func (l *Lab) Namespace(name string) (*NS, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("namespace name %q: want lower-case letters, digits and single dashes", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("lab is closed")
	}
	n := &NS{Name: name, lab: l, path: filepath.Join(netnsDir, l.id+"_"+name)}
	if err := n.create(); err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err)
	}
	l.spaces = append(l.spaces, n)
	inode, err := inodeOf(n.path)
	if err != nil {
		return nil, err
	}
	l.inodes[inode] = true
	return n, n.prepare()
}

// create makes the namespace on a thread of its own and keeps it by a mount.
func (n *NS) create() error {
	file, err := os.OpenFile(n.path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	file.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", n.path, "", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return errors.Join(err, os.Remove(n.path))
	}
	if n.fd, err = netns.GetFromPath(n.path); err != nil {
		return err
	}
	n.nl, err = netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE)
	return err
}

func (n *NS) prepare() error {
	if err := os.Mkdir(n.bpfDir(), 0o700); err != nil {
		return err
	}
	if err := unix.Mount("bpf", n.bpfDir(), "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpf file system: %w", err)
	}
	for _, scope := range []string{"all", "default"} {
		for key, value := range map[string]string{"accept_dad": "0", "dad_transmits": "0", "accept_ra": "0", "router_solicitations": "0"} {
			if err := n.Sysctl("net/ipv6/conf/"+scope+"/"+key, value); err != nil {
				return err
			}
		}
	}
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return n.nl.LinkSetUp(lo)
}

// bpfDir holds the BPF file system that commands in the namespace see.
func (n *NS) bpfDir() string { return filepath.Join(n.lab.Dir(), bpfPrefix+n.Name) }

// Path is the file that stands for the namespace, as setns(2) and nsenter(1) take it.
func (n *NS) Path() string { return n.path }

// Netlink configures the namespace, from any thread.
func (n *NS) Netlink() *netlink.Handle { return n.nl }

// Do runs f on a thread inside the namespace. Sockets that f itself creates stay
// in it; goroutines that f starts are not in it.
func (n *NS) Do(f func() error) (err error) {
	runtime.LockOSThread()
	back, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("remember namespace: %w", err)
	}
	defer back.Close()
	if err := netns.Set(n.fd); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", n.Name, err)
	}
	defer func() {
		if e := netns.Set(back); e != nil {
			// The thread stays locked, so that the runtime ends it with this
			// goroutine instead of running others in the wrong namespace.
			err = errors.Join(err, fmt.Errorf("leave namespace %s: %w", n.Name, e))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Sysctl sets a network parameter, named by its path below /proc/sys.
func (n *NS) Sysctl(key, value string) error {
	return n.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644) })
}

// enter gives a command what `ip netns exec` would: the network namespace, and a
// /sys that shows it. Each program replaces the one before, so the pid is the
// command's own.
const enter = `mount -t sysfs sysfs /sys && mount --bind "$0" /sys/fs/bpf && exec "$@"`

// Command prepares a command inside the namespace, in a process group of its
// own which the end of the context kills. The lab kills what still runs at its
// end, but the caller waits for what it starts; [NS.Start] does both.
func (n *NS) Command(ctx context.Context, argv ...string) *exec.Cmd {
	args := append([]string{"--net=" + n.path, "--", "unshare", "--mount", "--propagation", "slave", "--",
		"sh", "-c", enter, n.bpfDir()}, argv...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// Run runs a command to its end and returns what it printed on both outputs.
func (n *NS) Run(ctx context.Context, argv ...string) (string, error) {
	out, err := n.Command(ctx, argv...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("in %s: %s: %w: %s", n.Name, strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

func (n *NS) closeHandles() {
	if n.nl != nil {
		n.nl.Close()
	}
	n.fd.Close()
}
