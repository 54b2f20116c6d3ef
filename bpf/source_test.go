package bpf_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"spindle/bpf"
)

func TestReasonNamesMirrorTheProgram(t *testing.T) {
	source, err := os.ReadFile("reason.h")
	check(t, err)
	enum := regexp.MustCompile(`(?s)enum reason \{(.*?)\n\};`).FindSubmatch(source)
	if enum == nil {
		t.Fatal("no enum reason in reason.h")
	}
	names := regexp.MustCompile(`(?m)^\tREASON_(\w+),`).FindAllSubmatch(enum[1], -1)
	if len(names) != int(bpf.Reasons) {
		t.Fatalf("%d reasons in C, %d in Go", len(names), bpf.Reasons)
	}
	for i, m := range names {
		if want := strings.ToLower(string(m[1])); bpf.Reason(i).String() != want {
			t.Errorf("reason %d is %s in C, %s in Go", i, want, bpf.Reason(i))
		}
	}
}

func TestLimitsMirrorTheProgram(t *testing.T) {
	limits, err := bpf.MapLimits()
	check(t, err)
	want := map[string]uint32{
		"ports": bpf.MaxPorts, "counters": bpf.MaxPorts + 1, "xsks": bpf.MaxPorts * bpf.MaxQueues,
		"locals": bpf.MaxLocalAddrs, "prefixes": bpf.MaxPrefixes, "homes": bpf.MaxPrefixes, "spis": 1 << 18,
	}
	for name, n := range want {
		if limits[name] != n {
			t.Errorf("map %s holds %d entries, Go says %d", name, limits[name], n)
		}
	}
}

// The committed object is what the source compiles to, byte for byte.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	if _, err := exec.LookPath("clang-19"); err != nil {
		t.Skip("needs clang-19 to regenerate the XDP object: apt-get install clang-19 llvm-19 libbpf-dev")
	}
	dir := t.TempDir()
	source, err := os.ReadFile("doc.go")
	check(t, err)
	line := regexp.MustCompile(`(?m)^//go:generate (.*bpf2go) (.*)$`).FindSubmatch(source)
	if line == nil {
		t.Fatal("no go:generate line in doc.go")
	}
	out, err := exec.Command("sh", "-c", string(line[1])+" -output-dir "+dir+" "+string(line[2])).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"steer_bpfel.o", "steer_bpfel.go"} {
		fresh, err := os.ReadFile(filepath.Join(dir, name))
		check(t, err)
		committed, err := os.ReadFile(name)
		check(t, err)
		if !bytes.Equal(fresh, committed) {
			t.Errorf("%s is not what its source compiles to: run `go generate ./bpf` and commit", name)
		}
	}
}
