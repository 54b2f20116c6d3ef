package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"spindle/bpf"
)

// With fail_closed, traffic that needs protection is dropped while no data path
// runs: the steering program stays attached, and a new one that takes over knows
// what to hold back from its first frame on.

// pinDir is where the attachments of a fail-closed gateway outlive a crash, for
// the next start to take over; one for each network namespace, whose interface
// numbers are its own. Otherwise nothing is pinned, and what an earlier gateway
// with other settings left there is removed, for it would hold the ports.
func pinDir(failClosed bool) (string, error) {
	var ns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &ns); err != nil {
		return "", fmt.Errorf("identify network namespace: %w", err)
	}
	dir := fmt.Sprintf("/sys/fs/bpf/spindle-%d", ns.Ino)
	if !failClosed {
		return "", os.RemoveAll(dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("fail_closed: make a folder on the BPF file system, mount one with `mount -t bpf bpf /sys/fs/bpf`: %w", err)
	}
	return dir, nil
}

// guarded steers prefixes to the workers from before the ports are attached, where
// without a policy their packets are dropped. The first policy for a prefix takes
// it over.
type guarded struct {
	*bpf.Steer
	waiting map[netip.Prefix]bool
}

func guard(steer *bpf.Steer, protected []netip.Prefix) (*guarded, error) {
	g := &guarded{steer, map[netip.Prefix]bool{}}
	for _, p := range protected {
		if err := steer.AddPrefix(p); err != nil {
			return nil, err
		}
		g.waiting[p] = true
	}
	return g, nil
}

func (g *guarded) AddPrefix(p netip.Prefix) error {
	if g.waiting[p] {
		delete(g.waiting, p)
		return nil
	}
	return g.Steer.AddPrefix(p)
}
