package gcm_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTimeTellsNoSecret follows what is secret through the general registers of the
// assembly, along every jump: text, tail, key, salt, and whatever comes out of a
// vector register. No comparison, no jump and no address may depend on it, and no
// instruction is there whose time depends on its operands. Vector registers and
// masks can do neither.
func TestTimeTellsNoSecret(t *testing.T) {
	functions := assembly(t)
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		f := &flow{at: map[string]set{}}
		for f.changed = true; f.changed; {
			f.changed, f.wrong = false, nil
			f.pass(functions[name])
		}
		for _, line := range f.wrong {
			t.Errorf("%s: depends on a secret: %s", name, line)
		}
	}
}

// TestSecretsAreFollowed is the test of that test.
func TestSecretsAreFollowed(t *testing.T) {
	for code, wrong := range map[string]bool{
		"MOVQ (SI), AX\nCMPQ AX, $0x08\nJEQ end":                                       true,
		"MOVQ (SI), AX\nMOVQ AX, BX\nSHLQ $0x03, BX\nMOVB (DI)(BX*1), CL":              true,
		"VMOVQ X1, DX\nTESTQ DX, DX":                                                   true,
		"MOVQ (SI), AX\nADDQ AX, BX\nJNE end":                                          true,
		"JMP on\nback:\nTESTQ AX, AX\nJMP end\non:\nVMOVQ X1, AX\nJMP back\nend:\nRET": true,
		"VPGATHERDD Y1, (SI)(Y2*1), Y3":                                                true,
		"MOVQ n+24(FP), CX\nCMPQ CX, $0x08\nJEQ end":                                   false,
		"MOVQ (SI), AX\nXORL AX, AX\nTESTQ AX, AX":                                     false,
		"MOVQ (SI), AX\nMOVQ AX, (DI)":                                                 false,
		"MOVL 244(R8), R12\nCMPL R12, $0x000000a0\nJEQ end":                            false,
	} {
		f := &flow{at: map[string]set{}}
		for f.changed = true; f.changed; {
			f.changed, f.wrong = false, nil
			f.pass(code)
		}
		if (len(f.wrong) > 0) != wrong {
			t.Errorf("%q: %q", code, f.wrong)
		}
	}
}

// assembly returns the text of every function, by name.
func assembly(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, file := range []string{"avx2_amd64.s", "avx512_amd64.s"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range strings.Split(string(data), "\n// func ")[1:] {
			name, _, _ := strings.Cut(text, "(")
			all[name] = text
		}
	}
	return all
}

type set map[string]bool

// flow is which general registers hold a secret, line by line and at each label.
type flow struct {
	now     set
	flags   bool // were made of a secret
	at      map[string]set
	changed bool
	wrong   []string
}

var (
	general = regexp.MustCompile(`\b(AX|BX|CX|DX|SI|DI|R8|R9|R1[0-5])\b`)
	vectors = regexp.MustCompile(`^[XYZ]\d+$`)
	address = regexp.MustCompile(`\([A-Z]`)
	operand = regexp.MustCompile(`,\s+`)
)

// open memory is what is no secret: arguments but the tail, tables, the number of
// rounds.
func openMemory(m string) bool {
	return strings.HasSuffix(m, "(SB)") || m == "244(R8)" || strings.HasSuffix(m, "(FP)") && !strings.HasPrefix(m, "tail+")
}

func (f *flow) pass(text string) {
	f.now, f.flags = set{}, false
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "//")
		if label, ok := strings.CutSuffix(line, ":"); ok {
			f.meet(label)
			maps.Copy(f.now, f.at[label])
			continue
		}
		op, rest, _ := strings.Cut(line, " ")
		if op == "" || op == "TEXT" || op == "PCALIGN" || op == "RET" || op == "VZEROUPPER" || strings.ToUpper(op) != op {
			continue
		}
		f.step(line, op, operand.Split(strings.TrimSpace(rest), -1))
	}
}

// meet joins what is secret here with what is elsewhere when it jumps to a label.
func (f *flow) meet(label string) {
	if f.at[label] == nil {
		f.at[label] = set{}
	}
	for r := range f.now {
		f.changed = f.changed || !f.at[label][r]
		f.at[label][r] = true
	}
}

func (f *flow) step(line, op string, args []string) {
	last := args[len(args)-1]
	if strings.HasPrefix(op, "J") {
		if op != "JMP" && f.flags {
			f.wrong = append(f.wrong, line)
		}
		f.meet(last)
		if op == "JMP" {
			f.now = set{} // what follows is reached by its label alone
		}
		return
	}
	secret := false
	for i, a := range args {
		memory := strings.HasSuffix(a, ")")
		if memory && address.MatchString(a) && slices.ContainsFunc(general.FindAllString(a, -1), func(r string) bool { return f.now[r] }) ||
			strings.Contains(op, "GATHER") || strings.Contains(op, "DIV") {
			f.wrong = append(f.wrong, line)
			return
		}
		isTarget := i == len(args)-1 && (strings.HasPrefix(op, "MOV") || strings.HasPrefix(op, "VMOV") || strings.HasPrefix(op, "LEA") || strings.HasPrefix(op, "SET"))
		switch {
		case isTarget:
		case memory && strings.HasPrefix(op, "LEA"):
		case memory:
			secret = secret || !openMemory(a)
		case vectors.MatchString(a):
			secret = true
		default:
			secret = secret || f.now[a]
		}
	}
	switch {
	case op == "VPTEST": // its answer is the function's
		return
	case strings.HasPrefix(op, "CMP") || strings.HasPrefix(op, "TEST"):
		if f.flags = secret; secret {
			f.wrong = append(f.wrong, line)
		}
		return
	case strings.HasPrefix(op, "XOR") && args[0] == last:
		secret = false
	}
	if general.MatchString(last) && !strings.HasSuffix(last, ")") {
		if secret {
			f.now[last] = true
		} else {
			delete(f.now, last)
		}
		if !strings.HasPrefix(op, "MOV") && !strings.HasPrefix(op, "LEA") && !strings.HasSuffix(op, "XQ") && !strings.HasPrefix(op, "SET") {
			f.flags = secret
		}
	}
}
