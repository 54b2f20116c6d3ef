package supervise

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"spindle/cmd/internal/api"
)

// maxSocketPath is sun_path without its terminator (unix(7)).
const maxSocketPath = 107

// Dir is a runtime directory that this process holds: nobody else runs in it.
type Dir struct {
	Path     string
	lock     *os.File
	listener *net.UnixListener
}

// OpenDir makes the directory if need be, locks it and opens the API's socket.
func OpenDir(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("runtime directory: %w", err)
	}
	if socket := api.SocketPath(path); len(socket) > maxSocketPath {
		return nil, fmt.Errorf("runtime directory %s: its path is too long for a socket by %d bytes: choose a shorter one", path, len(socket)-maxSocketPath)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make runtime directory: %w", err)
	}
	lock, err := acquire(filepath.Join(path, "lock"))
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: path, lock: lock}
	if d.listener, err = listen(api.SocketPath(path)); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

// Secret is random and the same for as long as the directory exists: what this
// gateway proves with that it made an IKE SA before it crashed (RFC 6290).
func (d *Dir) Secret() ([]byte, error) {
	path := filepath.Join(d.Path, "crash.secret")
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) == secretLen {
		return secret, nil
	}
	secret = make([]byte, secretLen)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("draw secret: %w", err)
	}
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		return nil, fmt.Errorf("keep secret: %w", err)
	}
	return secret, nil
}

const secretLen = 32

// dying is how long the children of a killed supervisor may hold its lock: the
// kernel is taking them down.
const dying = 5 * time.Second

// acquire locks the file, or says who holds it. A holder that no longer exists
// is waited for: its children are on their way out and still own the ports.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for deadline := time.Now().Add(dying); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		holder := holderOf(f)
		if !errors.Is(err, unix.EWOULDBLOCK) || alive(holder) || time.Now().After(deadline) {
			_ = f.Close()
			return nil, held(path, holder, err)
		}
	}
	if err := sign(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write lock: %w", err)
	}
	return f, nil
}

func held(path string, holder int, err error) error {
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return fmt.Errorf("a gateway already runs in %s (process %d): stop it, or choose another --runtime-dir", filepath.Dir(path), holder)
}

func holderOf(f *os.File) int {
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return 0
	}
	return pid
}

func alive(pid int) bool { return pid > 0 && unix.Kill(pid, 0) != unix.ESRCH }

func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// listen opens the API's socket for its owner alone. What an earlier run left
// under that name is dead: the lock is ours.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	mask := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// Close removes the socket and gives the directory free.
func (d *Dir) Close() error {
	return errors.Join(d.listener.Close(), d.lock.Close())
}
