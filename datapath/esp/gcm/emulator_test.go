package gcm_test

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// emulator runs the assembly as it is written, one instruction after the other, so
// that a kernel can be tried on processors that lack its registers. It knows what
// the instructions do from the manuals of the processor, and no more of them than
// the kernels use. Memory is what a test gives it, to the byte.
type emulator struct {
	general [16]uint64
	vector  [32][64]byte
	mask    [8]uint64
	zero    bool // ZF
	carry   bool // CF
	frame   []byte
	memory  []region
	symbols map[string]uint64
}

type region struct {
	at    uint64
	bytes []byte
}

// program is a function: its instructions, and where its labels are.
type program struct {
	code   []instruction
	labels map[string]int
}

type instruction struct {
	line string
	op   string
	args []argument
}

type kind uint8

const (
	immediate kind = iota
	register
	wide // X, Y or Z
	opmask
	memory
	frame
	label
)

type argument struct {
	kind  kind
	n     int    // register number; -1 in memory without one
	index int    // register, -1 without
	scale uint64 // of index
	value uint64 // immediate or displacement
	size  int    // bytes of a wide register
	name  string
}

var generalNames = []string{"AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"}

var memoryForm = regexp.MustCompile(`^(?:([\w·]+)(?:<>)?\+)?(-?\d+)?\((\w+)\)(?:\((\w+)\*(\d)\))?$`)

func parseArgument(s string) (a argument) {
	switch {
	case strings.HasPrefix(s, "$"):
		v, err := strconv.ParseInt(s[1:], 0, 64)
		if err != nil {
			u, _ := strconv.ParseUint(s[1:], 0, 64)
			v = int64(u)
		}
		return argument{kind: immediate, value: uint64(v)}
	case len(s) == 2 && s[1] == 'L': // the lowest byte of one of the first four
		return argument{kind: register, n: slices.Index(generalNames, s[:1]+"X")}
	case slices.Contains(generalNames, s):
		return argument{kind: register, n: slices.Index(generalNames, s)}
	}
	if m := memoryForm.FindStringSubmatch(s); m != nil {
		d, _ := strconv.ParseInt(m[2], 10, 64)
		a = argument{kind: memory, n: slices.Index(generalNames, m[3]), index: -1, value: uint64(d), name: m[1]}
		if m[3] == "FP" {
			a.kind = frame
		}
		if m[4] != "" {
			a.index = slices.Index(generalNames, m[4])
			a.scale, _ = strconv.ParseUint(m[5], 10, 64)
		}
		return a
	}
	if size := map[byte]int{'X': 16, 'Y': 32, 'Z': 64, 'K': 8}[s[0]]; size > 0 {
		if n, err := strconv.Atoi(s[1:]); err == nil && size == 8 {
			return argument{kind: opmask, n: n}
		} else if err == nil {
			return argument{kind: wide, n: n, size: size}
		}
	}
	return argument{kind: label, name: s}
}

// loadAssembly returns the functions of a file and an emulator with its tables.
func loadAssembly(file string) (map[string]*program, *emulator, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	functions, e := map[string]*program{}, &emulator{symbols: map[string]uint64{}}
	var p *program
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "//")
		op, rest, _ := strings.Cut(line, " ")
		switch {
		case op == "" || strings.HasPrefix(op, "#") || op == "GLOBL" || op == "PCALIGN":
		case op == "DATA":
			e.table(rest)
		case op == "TEXT":
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "·"), "(")
			p = &program{labels: map[string]int{}}
			functions[name] = p
		case strings.HasSuffix(op, ":"):
			p.labels[strings.TrimSuffix(op, ":")] = len(p.code)
		default:
			i := instruction{line: line, op: op}
			if rest = strings.TrimSpace(rest); rest != "" {
				for _, s := range operand.Split(rest, -1) {
					i.args = append(i.args, parseArgument(s))
				}
			}
			p.code = append(p.code, i)
		}
	}
	return functions, e, nil
}

// table takes a line like "name<>+8(SB)/8, $0x0102030405060708".
func (e *emulator) table(rest string) {
	name, _, _ := strings.Cut(rest, "<>")
	_, value, _ := strings.Cut(rest, ", $")
	v, _ := strconv.ParseUint(value, 0, 64)
	if _, known := e.symbols[name]; !known {
		e.symbols[name] = uint64(1+len(e.symbols)) << 32
		e.memory = append(e.memory, region{at: e.symbols[name]})
	}
	last := &e.memory[len(e.memory)-1]
	last.bytes = binary.LittleEndian.AppendUint64(last.bytes, v)
}

// call runs a function with those words as arguments, and returns the word behind
// them, its result.
func (e *emulator) call(p *program, buffers []region, words ...uint64) (result uint64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	e.frame = nil
	for _, w := range append(words, 0) {
		e.frame = binary.LittleEndian.AppendUint64(e.frame, w)
	}
	tables := len(e.symbols)
	e.memory = append(e.memory[:tables:tables], buffers...)
	for at := 0; ; at++ {
		i := &p.code[at]
		if i.op == "RET" {
			return binary.LittleEndian.Uint64(e.frame[8*len(words):]), nil
		}
		if strings.HasPrefix(i.op, "J") {
			if e.jumps(i) {
				to, known := p.labels[i.args[0].name]
				if !known {
					panic("no label: " + i.line)
				}
				at = to - 1
			}
			continue
		}
		if i.op[0] == 'V' || i.op[0] == 'K' {
			e.vectors(i)
		} else {
			e.words(i)
		}
	}
}

func (e *emulator) jumps(i *instruction) bool {
	switch i.op {
	case "JMP":
		return true
	case "JEQ":
		return e.zero
	case "JNE":
		return !e.zero
	case "JCS":
		return e.carry
	case "JCC":
		return !e.carry
	case "JLS":
		return e.carry || e.zero
	case "JHI":
		return !e.carry && !e.zero
	}
	panic("unknown jump: " + i.line)
}

func (e *emulator) address(a argument) uint64 {
	v := a.value
	if a.name != "" {
		return v + e.symbols[a.name]
	}
	if a.n >= 0 {
		v += e.general[a.n]
	}
	if a.index >= 0 {
		v += e.general[a.index] * a.scale
	}
	return v
}

// at is n bytes of memory, all of which a test must have given.
func (e *emulator) at(i *instruction, a argument, n int) []byte {
	if a.kind == frame {
		return e.frame[a.value:][:n]
	}
	from := e.address(a)
	for _, r := range e.memory {
		if from >= r.at && from-r.at+uint64(n) <= uint64(len(r.bytes)) {
			return r.bytes[from-r.at:][:n]
		}
	}
	panic(fmt.Sprintf("touches %d bytes at %#x, which are not its: %s", n, from, i.line))
}

// words does what is done in general registers.
func (e *emulator) words(i *instruction) {
	size := map[byte]int{'Q': 8, 'L': 4, 'B': 1}[i.op[len(i.op)-1]]
	op := i.op[:len(i.op)-1]
	last := i.args[len(i.args)-1]
	switch i.op {
	case "MOVBLZX":
		e.general[last.n] = uint64(e.at(i, i.args[0], 1)[0])
		return
	case "LEAQ":
		e.general[last.n] = e.address(i.args[0])
		return
	case "SETEQ":
		e.put(i, last, 1, map[bool]uint64{true: 1}[e.zero])
		return
	}
	a := e.get(i, i.args[0], size)
	var b uint64
	if len(i.args) > 1 && op != "MOV" {
		b = e.get(i, i.args[1], size)
	}
	width := uint64(8 * size)
	result, compare := uint64(0), false
	switch op {
	case "MOV":
		e.put(i, last, size, a)
		return
	case "ADD":
		result = b + a
	case "SUB":
		result, e.carry = b-a, b < a
	case "CMP":
		result, e.carry, compare = a-b, a < b, true
	case "TEST":
		result, e.carry, compare = a&b, false, true
	case "AND":
		result, e.carry = a&b, false
	case "OR":
		result, e.carry = a|b, false
	case "XOR":
		result, e.carry = a^b, false
	case "DEC":
		result = a - 1
	case "SHL":
		result = b << (a % width)
	case "SHR":
		result = b >> (a % width)
	case "NOT":
		e.put(i, last, size, ^a)
		return
	case "BSWAP":
		e.put(i, last, size, bits.ReverseBytes64(a)>>(64-width))
		return
	case "SHLX":
		e.put(i, last, size, b<<(a%width))
		return
	case "SHRX":
		e.put(i, last, size, b>>(a%width))
		return
	case "BZHI":
		result = b
		if n := a & 0xff; n < width {
			result = b & (1<<n - 1)
		}
	default:
		panic("unknown instruction: " + i.line)
	}
	e.zero = result<<(64-width) == 0
	if !compare {
		e.put(i, last, size, result)
	}
}

func (e *emulator) get(i *instruction, a argument, size int) (v uint64) {
	switch a.kind {
	case immediate:
		v = a.value
	case register:
		v = e.general[a.n]
	default:
		var whole [8]byte
		copy(whole[:], e.at(i, a, size))
		v = binary.LittleEndian.Uint64(whole[:])
	}
	return v << (64 - 8*size) >> (64 - 8*size)
}

// put writes a word; a register's upper half is cleared by one of 4 bytes, and kept
// by one of 1.
func (e *emulator) put(i *instruction, a argument, size int, v uint64) {
	var whole [8]byte
	binary.LittleEndian.PutUint64(whole[:], v)
	switch {
	case a.kind != register:
		copy(e.at(i, a, size), whole[:size])
	case size == 1:
		e.general[a.n] = e.general[a.n]&^0xff | v&0xff
	default:
		e.general[a.n] = v << (64 - 8*size) >> (64 - 8*size)
	}
}
