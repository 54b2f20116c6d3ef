package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

const (
	runDir     = "/run/spindle-netlab" // one folder per lab
	netnsDir   = "/run/netns"          // where `ip netns` looks, for diagnosis by hand
	idPrefix   = "spl-"
	ownerFile  = "owner"
	maxSameLab = 100
)

var validName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Lab is a set of namespaces that live and die together. Its methods may be
// called from any goroutine.
type Lab struct {
	id       string
	before   outside
	watchdog *watchdog

	mu        sync.Mutex
	spaces    []*NS
	processes []*Process
	inodes    map[uint64]bool // network namespaces that were made, also after Close
	closed    bool
}

// New makes an empty lab. It first removes labs whose owner is dead.
func New(name string) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("netlab needs root: it makes network namespaces")
	}
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("lab name %q: want lower-case letters, digits and single dashes", name)
	}
	if err := prepareDirs(); err != nil {
		return nil, err
	}
	if err := Reap(); err != nil {
		return nil, fmt.Errorf("remove stale labs: %w", err)
	}
	id, err := claimID(name)
	if err != nil {
		return nil, err
	}
	l := &Lab{id: id, before: lookOutside(), inodes: map[uint64]bool{}}
	if l.watchdog, err = watch(id, l.Dir()); err != nil {
		return nil, errors.Join(err, destroy(id))
	}
	return l, nil
}

// claimID makes the lab's folder; its exclusive creation makes the id unique.
func claimID(name string) (string, error) {
	pid := os.Getpid()
	base := fmt.Sprintf("%s%s-%d", idPrefix, name, pid)
	for i := range maxSameLab {
		id := base
		if i > 0 {
			id += "." + strconv.Itoa(i)
		}
		dir := filepath.Join(runDir, id)
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		start, err := startTime(pid)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, ownerFile), fmt.Appendf(nil, "%d %s\n", pid, start), 0o600)
		}
		if err != nil {
			return "", errors.Join(err, os.RemoveAll(dir))
		}
		return id, nil
	}
	return "", fmt.Errorf("lab %s: too many of that name in one process", name)
}

// ID is the prefix of every name that the lab makes outside its namespaces.
func (l *Lab) ID() string { return l.id }

// Dir is a folder for files of the lab. It goes with the lab.
func (l *Lab) Dir() string { return filepath.Join(runDir, l.id) }

// Close stops what was started, removes the namespaces with all in them, and
// the folder. Later calls do nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for i := len(l.processes) - 1; i >= 0; i-- {
		l.processes[i].Stop()
	}
	for _, n := range l.spaces {
		n.closeHandles()
	}
	return errors.Join(destroy(l.id), l.watchdog.dismiss())
}

// Leftovers names what there is of the lab: after Close, what could not be
// removed; processes in its namespaces; devices and pins in the caller's
// namespace that were not there before. Empty is what a test wants to see.
func (l *Lab) Leftovers() []string {
	l.mu.Lock()
	inodes := make(map[uint64]bool, len(l.inodes))
	for inode := range l.inodes {
		inodes[inode] = true
	}
	l.mu.Unlock()
	var found []string
	for _, path := range namespaceFiles(l.id) {
		found = append(found, "namespace "+path)
	}
	if _, err := os.Stat(l.Dir()); err == nil {
		found = append(found, "folder "+l.Dir())
	}
	for _, pid := range processesIn(inodes) {
		found = append(found, fmt.Sprintf("process %d %s", pid, commandLine(pid)))
	}
	for _, pin := range l.pins() {
		found = append(found, "pin "+pin)
	}
	return append(found, lookOutside().since(l.before)...)
}

// pins are the objects pinned in the BPF file systems of the namespaces.
func (l *Lab) pins() []string {
	var pins []string
	dirs, _ := filepath.Glob(filepath.Join(l.Dir(), bpfPrefix+"*"))
	for _, dir := range dirs {
		for _, file := range filesBelow(dir) {
			if !strings.HasSuffix(file, ".debug") { // the kernel's own iterators
				pins = append(pins, file)
			}
		}
	}
	return pins
}

func commandLine(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " "))
}
