// Package tools_test holds the rules about the house as a whole.
package tools_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "spindle/"

// rule is what one room may import of ours, and why no more than that. A name
// ending in / covers everything below it.
type rule struct {
	room  string
	may   []string
	since string
}

// rules is the import table of the design. The first match counts.
var rules = []rule{
	{"bpf", nil, "the steering program knows frames and maps, not who uses them"},
	{"datapath/xsk", nil, "rings move bytes; what the bytes mean is the worker's business"},
	{"datapath/packet", nil, "header parsing is the floor everything else stands on"},
	{"datapath/fib", nil, "the mirror of the kernel's routes must be usable, and testable, alone"},
	{"datapath/tun", nil, "a device, not a policy"},
	{"datapath/nat", []string{"datapath/packet"}, "a translator knows packets and mappings, not SAs or routes"},
	{"datapath/prefetch", nil, "a hint to the processor knows addresses, not what stands there"},
	{"datapath/esp/gcm", []string{"datapath/prefetch"}, "a cipher knows keys and bytes, not SAs"},
	{"datapath/esp", []string{"datapath/esp/gcm", "datapath/packet", "datapath/prefetch", "sadb"}, "ESP needs an SA and a packet, and no ring, socket or clock"},
	{"datapath", []string{"bpf", "datapath/", "sadb", "sadb/keysock"}, "the data path never sees IKE: sadb is the only shared language"},
	{"sadb/keysock", []string{"sadb"}, "the messages speak of SAs and of nothing else"},
	{"sadb", nil, "the shared language must not depend on its speakers"},
	{"ike/wire", nil, "a codec knows bytes, not secrets or state"},
	{"ike/suite", []string{"ike/wire"}, "algorithms know their numbers on the wire"},
	{"ike/session", []string{"ike/wire", "ike/suite", "sadb"}, "what both IKE versions share cannot know either"},
	{"ike/v1", []string{"ike/session", "ike/suite", "ike/wire", "sadb"}, "the versions never import each other"},
	{"ike/v2", []string{"ike/session", "ike/suite", "ike/wire", "sadb"}, "the versions never import each other"},
	{"ike/sim", []string{"ike", "ike/session", "ike/suite", "sadb"}, "the simulator judges what an engine puts out, and knows nothing of how"},
	{"ike/ladder", []string{"ike", "ike/session", "ike/suite", "ike/wire", "sadb", "tools/pki"}, "ladders of both versions are played by one hand, that knows neither"},
	{"ike", []string{"ike/session", "ike/v1", "ike/v2", "ike/wire", "sadb"}, "the engine never meets the data path"},
	{"tools/netlab", nil, "a laboratory that imported what it tests would share its errors"},
	{"tools", nil, "only tests stand here"},
	{"tools/", []string{"bpf", "datapath", "datapath/", "ike", "ike/", "sadb", "sadb/", "tools/", "bench"}, "nobody imports cmd"},
	{"bench", []string{"bpf", "datapath", "datapath/", "ike", "ike/", "sadb", "sadb/", "tools/"}, "nobody imports cmd"},
	{"cmd/", []string{"bpf", "datapath", "datapath/", "ike", "ike/", "sadb", "sadb/", "tools/", "bench", "cmd/internal/"}, "cmd joins the pieces"},
}

// onlyCmd may be imported by cmd and by nothing else, onlyTools by tools, and
// onlyTests by tests.
const (
	onlyCmd   = "bench"
	onlyTools = "ike/sim"
	onlyTests = "ike/ladder"
)

func covers(pattern, room string) bool {
	return pattern == room || strings.HasSuffix(pattern, "/") && strings.HasPrefix(room, pattern)
}

func ruleOf(room string) (rule, bool) {
	i := slices.IndexFunc(rules, func(r rule) bool { return covers(r.room, room) })
	if i < 0 {
		return rule{}, false
	}
	return rules[i], true
}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		r, ok := ruleOf(room)
		if !ok {
			t.Errorf("%s: no room of that name in the import table", room)
			continue
		}
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if !slices.ContainsFunc(r.may, func(m string) bool { return covers(m, other) }) {
				t.Errorf("%s imports %s: %s", room, other, r.since)
			}
			if other == onlyCmd && !covers("cmd/", room) {
				t.Errorf("%s imports bench: only cmd may", room)
			}
			if other == onlyTools && !covers("tools/", room) {
				t.Errorf("%s imports the simulator: no gateway may", room)
			}
			if other == onlyTests {
				t.Errorf("%s imports the player of ladders: only tests may", room)
			}
		}
	}
}

// TestSansIO keeps clocks, sockets and global randomness out of IKE. The simulator
// and the ladders are what surrounds it: they make the randomness.
func TestSansIO(t *testing.T) {
	refused := []string{"net", "os", "crypto/rand", "math/rand", "math/rand/v2", "golang.org/x/sys/unix", "syscall"}
	for _, p := range packages(t) {
		room := strings.TrimPrefix(p.ImportPath, module)
		if room != "ike" && !strings.HasPrefix(room, "ike/") || room == onlyTools || room == onlyTests {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(refused, imported) {
				t.Errorf("%s imports %s: IKE does no I/O and is given its randomness", p.ImportPath, imported)
			}
		}
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("go list output: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}
