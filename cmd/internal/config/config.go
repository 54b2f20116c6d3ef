// Package config reads the operator's file: one YAML document, checked as a
// whole before any of it is applied. Every problem is reported with its line,
// its column and what would be right; nothing is ignored, and what the gateway
// cannot do yet is refused in those words.
//
// It also carries the result to the unprivileged control process, secrets
// included, so that that process needs no access to any file. It never opens
// an interface: whether eth1 exists is known only at start.
package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"spindle/ike/session"
	"spindle/sadb"
)

// maxFile bounds the configuration file: 10,000 connections take about 5 MB.
const maxFile = 16 << 20

// Config is a file of which every value was found valid.
type Config struct {
	Path        string
	Datapath    Datapath
	Metrics     netip.AddrPort // zero: none
	ControlUser string         // "" takes spindle, else nobody
	Idle        time.Duration  // of children that name none (T1); 0 never
	Policies    []sadb.Policy  // bypass and discard, in the order of the file
	Connections []session.Connection

	// CrashSecret is of no file: the supervisor keeps it over restarts, for quick
	// crash detection (RFC 6290).
	CrashSecret session.Secret

	// Warnings are worth an operator's attention and no reason to refuse.
	Warnings Problems

	source  []byte            // the file, for Encode
	secrets map[string][]byte // the files it names, by path
}

// Datapath is what the data path needs of the configuration: no secret in it.
type Datapath struct {
	Outside, Inside []string // interface names; a port may be both
	Workers         int      // 0 is one per RX queue, up to the number of CPUs
	CPUs            []int    // worker n is pinned to CPUs[n]; empty leaves the choice to the data path
	XDP             string   // auto, native, generic
	UMEM            string   // auto, pages, hugepages
	Priority        []uint8  // DSCPs that go first when a worker is overloaded (N7)
	FailClosed      bool     // protected traffic is dropped while no data path runs

	// Protected is where protected traffic goes, with FailClosed: known before the
	// control process has said a word.
	Protected []netip.Prefix
}

// Load reads and checks the file at path and the secrets it names. The error is
// a Problems when the file could be read.
func Load(path string) (*Config, error) {
	source, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	secrets := make(map[string][]byte)
	read := func(name string) (secret, error) {
		s, err := readSecret(name)
		if err == nil {
			secrets[name] = s.data
		}
		return s, err
	}
	c, err := parse(path, source, read)
	if err != nil {
		return nil, err
	}
	c.secrets = secrets
	return c, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// parse is Load without files: source is the text, read gives the content of a
// file that it names.
func parse(path string, source []byte, read func(name string) (secret, error)) (*Config, error) {
	d := &decoder{file: path, dir: filepath.Dir(path), read: read}
	c := &Config{Path: path, source: source}
	if root := d.document(source); root != nil {
		d.config(root, c)
	}
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, Problem.compare)
		return nil, d.problems
	}
	c.Warnings = d.warnings
	return c, nil
}

// Children counts those of all connections.
func (c *Config) Children() int {
	n := 0
	for i := range c.Connections {
		n += len(c.Connections[i].Children)
	}
	return n
}

// RestartNeeded names the keys in which c differs from old and that a running
// gateway does not change.
func (c *Config) RestartNeeded(old *Config) []string {
	a, b := c.Datapath, old.Datapath
	var keys []string
	differ := func(key string, equal bool) {
		if !equal {
			keys = append(keys, key)
		}
	}
	differ("outside", slices.Equal(a.Outside, b.Outside))
	differ("inside", slices.Equal(a.Inside, b.Inside))
	differ("workers", a.Workers == b.Workers)
	differ("cpus", slices.Equal(a.CPUs, b.CPUs))
	differ("xdp", a.XDP == b.XDP)
	differ("umem", a.UMEM == b.UMEM)
	differ("priority", slices.Equal(a.Priority, b.Priority))
	differ("fail_closed", a.FailClosed == b.FailClosed)
	differ("control_user", c.ControlUser == old.ControlUser)
	return keys
}

// Summary is one line for the operator.
func (c *Config) Summary() string {
	s := fmt.Sprintf("%s, %s, outside %s", count(len(c.Connections), "connection", "connections"),
		count(c.Children(), "child", "children"), strings.Join(c.Datapath.Outside, " "))
	if len(c.Datapath.Inside) > 0 {
		s += ", inside " + strings.Join(c.Datapath.Inside, " ")
	}
	return s
}

// Format keeps the secrets in the file's text out of logs: every verb prints the summary.
func (c *Config) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s: %s", c.Path, c.Summary()) }

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
