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
// those that hold nothing secret.
func TestSecretsDoNotStayBehind(t *testing.T) {
	all := map[string]string{}
	for _, file := range []string{"avx2_amd64.s", "avx512_amd64.s"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		asm := string(data)
		found := functions.FindAllStringSubmatchIndex(asm, -1)
		for i, f := range found {
			end := len(asm)
			if i+1 < len(found) {
				end = found[i+1][0]
			}
			name, frame := asm[f[2]:f[3]], asm[f[4]:f[5]]
			if frame != "0" {
				t.Errorf("%s has a stack frame of %s bytes", name, frame)
			}
			all[name] = asm[f[0]:end]
		}
	}
	if len(all) != 11 {
		t.Errorf("%d functions, want 11", len(all))
	}
	for name, text := range all {
		switch short, long, both := strings.Cut(text, "\nlong:\n"); {
		case strings.HasSuffix(name, "AVX2"):
			checkCleared(t, name, text, "13", "15") // the length block, and a constant
			for _, r := range []string{"AX", "DX", "R13", "R10"} {
				if !cleansGeneral(text[strings.LastIndex(text, "\ntag:\n"):], r) {
					t.Errorf("%s leaves a part of the text in %s", name, r)
				}
			}
		case both:
			// Ciphertext (Z5 to Z9) while no hash is added to it, which is so in short
			// packets, and the length block (Z10).
			checkCleared(t, name+", short", short, "5", "6", "7", "8", "9", "10")
			start, _, _ := strings.Cut(short, " long\n") // up to the jump
			checkCleared(t, name+", long", start+"\n"+long, "10")
		default:
			checkCleared(t, name, text)
		}
	}
}

// cleansGeneral is whether code clears a general register.
func cleansGeneral(code, r string) bool {
	return regexp.MustCompile(`(?m)^\tXORL\s+` + r + `, ` + r + `$`).MatchString(code)
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
