package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const bpfPrefix = "bpf-"

// prepareDirs makes the folders. The one of the namespaces is a shared mount, as
// `ip netns` makes it: an unmount then reaches the mount namespaces of running
// processes, and no namespace outlives its lab because of a stranger's copy.
func prepareDirs() error {
	for _, dir := range []string{runDir, netnsDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	err := unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(netnsDir, netnsDir, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", netnsDir, "", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	return nil
}

// Reap removes the labs of dead owners. [New] calls it.
func Reap() error {
	ids, err := stale()
	if err != nil {
		return err
	}
	var all []error
	for _, id := range ids {
		all = append(all, destroy(id))
	}
	return errors.Join(all...)
}

// stale names the labs of dead owners.
func stale() ([]string, error) {
	entries, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), idPrefix) && !ownerAlive(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

var idPID = regexp.MustCompile(`-(\d+)(\.\d+)?$`)

// ownerAlive compares the start time as well, for pids are used again. Without
// the owner file, which is written a moment after the folder, the pid decides.
func ownerAlive(id string) bool {
	m := idPID.FindStringSubmatch(id)
	if m == nil {
		return true // not one of ours
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		return true
	}
	now, err := startTime(pid)
	if err != nil {
		return false
	}
	raw, err := os.ReadFile(filepath.Join(runDir, id, ownerFile))
	if err != nil {
		return true
	}
	fields := strings.Fields(string(raw))
	return len(fields) != 2 || fields[1] == now
}

// startTime is field 22 of proc_pid_stat(5); a zombie counts as gone.
func startTime(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	name := strings.LastIndexByte(string(raw), ')') // which may hold anything
	fields := strings.Fields(string(raw)[name+1:])
	if len(fields) < 20 {
		return "", fmt.Errorf("stat of process %d: too short", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fs.ErrNotExist
	}
	return fields[19], nil
}

// destroy removes everything of a lab, whoever made it. What another reaper has
// removed meanwhile is no error.
func destroy(id string) error {
	var all []error
	files := namespaceFiles(id)
	inodes := map[uint64]bool{}
	for _, path := range files {
		if inode, err := inodeOf(path); err == nil {
			inodes[inode] = true
		}
	}
	all = append(all, killAll(inodes))
	for _, path := range files {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			all = append(all, fmt.Errorf("unmount %s: %w", path, err))
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
	}
	dir := filepath.Join(runDir, id)
	mounts, _ := filepath.Glob(filepath.Join(dir, bpfPrefix+"*"))
	for _, m := range mounts {
		_ = unix.Unmount(m, unix.MNT_DETACH) // not mounted is as good
	}
	return errors.Join(append(all, os.RemoveAll(dir))...)
}

// killAll kills, by pid, the processes whose network namespace is one of the
// lab's: whatever was started there, and whatever that started.
func killAll(inodes map[uint64]bool) error {
	var left []int
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if left = processesIn(inodes); len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL) // it may be gone by now
		}
	}
	return fmt.Errorf("processes %v do not die", left)
}

// processesIn lists the processes in the given network namespaces, never our own.
func processesIn(inodes map[uint64]bool) []int {
	if len(inodes) == 0 {
		return nil
	}
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if inode, err := inodeOf(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && inodes[inode] {
			pids = append(pids, pid)
		}
	}
	return pids
}

func namespaceFiles(id string) []string {
	files, _ := filepath.Glob(filepath.Join(netnsDir, id+"_*"))
	return files
}

func inodeOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("stat %s: no inode", path)
	}
	return st.Ino, nil
}

// outside is what a gateway could leave in the caller's own namespace.
type outside map[string]bool

func lookOutside() outside {
	found := outside{}
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			if name := l.Attrs().Name; strings.HasPrefix(name, "spindle") || strings.HasPrefix(name, idPrefix) {
				found["link "+name] = true
			}
		}
	}
	for _, pin := range filesBelow("/sys/fs/bpf") {
		if strings.Contains(pin, "spindle") {
			found["pin "+pin] = true
		}
	}
	return found
}

func (o outside) since(before outside) []string {
	var fresh []string
	for what := range o {
		if !before[what] {
			fresh = append(fresh, what)
		}
	}
	slices.Sort(fresh)
	return fresh
}

func filesBelow(dir string) []string {
	var files []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}
