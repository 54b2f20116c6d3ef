package gcm_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	written   = regexp.MustCompile(`\b[XYZ](\d+)$`)
	cleared   = regexp.MustCompile(`^VPXORD?\s+(X\d+), (X\d+), (X\d+)$`)
	functions = regexp.MustCompile(`(?m)^TEXT ·(\w+)\(SB\), NOSPLIT, \$(\d+)-`)
)

// TestSecretsDoNotStayBehind reads the assembly: no function has a stack frame,
// and each clears, before it returns, every vector register it ever wrote, but
// those that hold nothing secret: ciphertext (Z5 to Z9) while no hash is added to
// it, which is so in short packets, and the length block (Z10).
func TestSecretsDoNotStayBehind(t *testing.T) {
	data, err := os.ReadFile("kernel_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	asm := string(data)
	found := functions.FindAllStringSubmatchIndex(asm, -1)
	if len(found) != 9 {
		t.Errorf("%d functions, want 9", len(found))
	}
	for i, f := range found {
		end := len(asm)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name, frame, text := asm[f[2]:f[3]], asm[f[4]:f[5]], asm[f[0]:end]
		if frame != "0" {
			t.Errorf("%s has a stack frame of %s bytes", name, frame)
		}
		short, long, both := strings.Cut(text, "\nlong:\n")
		if !both {
			checkCleared(t, name, text)
			continue
		}
		checkCleared(t, name+", short", short, "5", "6", "7", "8", "9", "10")
		start, _, _ := strings.Cut(short, " long\n") // up to the jump
		checkCleared(t, name+", long", start+"\n"+long, "10")
	}
}

// checkCleared looks at code that ends with its only RET.
func checkCleared(t *testing.T, name, code string, public ...string) {
	t.Helper()
	if strings.Count(code, "\tRET\n") != 1 {
		t.Errorf("%s returns %d times", name, strings.Count(code, "\tRET\n"))
	}
	dirty := map[string]bool{}
	for line := range strings.Lines(code) {
		line = strings.TrimSpace(line)
		if c := cleared.FindStringSubmatch(line); c != nil && c[1] == c[2] && c[2] == c[3] {
			delete(dirty, c[1][1:])
		} else if w := written.FindStringSubmatch(line); w != nil {
			dirty[w[1]] = true
		}
	}
	for r := range dirty {
		if !slices.Contains(public, r) {
			t.Errorf("%s leaves something in vector register %s", name, r)
		}
	}
}
