package supervise

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// kept are the capabilities that a data path can have: to attach XDP and set up
// devices and routes, to open packet sockets, to load programs, to lock memory,
// to bind the ports of IKE. CAP_PERFMON spares the program the verifier's rules
// against leaking pointers, and the masking that they cost per packet.
var kept = [...]uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_IPC_LOCK,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_PERFMON}

// confineThread limits what children started by the calling thread can ever
// have: only the capabilities kept, and none by executing a file. It needs
// CAP_SETPCAP. The thread itself goes on as before, and must not outlive its use.
func confineThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(kept[:], c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// Harden keeps the keys of the calling process out of core dumps and away from
// debuggers of its own user.
func Harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid debuggers: %w", err)
	}
	return nil
}

// controlUsers are tried in order when the configuration names none.
var controlUsers = [...]string{"spindle", "nobody"}

// Unprivileged finds the user that the control process runs as: name, or the
// first of the default ones that exists.
func Unprivileged(name string) (*syscall.Credential, error) {
	names := controlUsers[:]
	if name != "" {
		names = []string{name}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		return credential(u)
	}
	return nil, fmt.Errorf("control_user: no user %s on this machine: create it, or name another", strings.Join(names, " or "))
}

func credential(u *user.User) (*syscall.Credential, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("control_user %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("control_user %s: %w", u.Username, err)
	}
	if uid == 0 {
		return nil, fmt.Errorf("control_user %s is root: the control process parses what strangers send, name an unprivileged user", u.Username)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// environment is what a child may see of ours: the knobs of the Go runtime and our own.
func environment() []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "GO") || strings.HasPrefix(kv, "SPINDLE_") {
			env = append(env, kv)
		}
	}
	return env
}
