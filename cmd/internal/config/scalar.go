package config

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// raw is the text of any plain scalar as it stands in the file.
func raw(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		if s.Value == nil {
			return "", false
		}
		return s.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return s.GetToken().Value, true
	}
	return "", false
}

// scalar is raw with the complaint.
func (d *decoder) scalar(n ast.Node, what string) (string, bool) {
	s, ok := raw(n)
	if !ok {
		d.refuse(n, "%s is %s, not a single value", what, kind(n))
	}
	return s, ok
}

// text reads a scalar that YAML takes for text, never for a number: 007 and 7
// would be two names.
func (d *decoder) text(n ast.Node, what string) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return raw(n)
	}
	d.refuse(n, "%s is %s, not text: put it in quotes", what, kind(n))
	return "", false
}

// name reads what the operator calls a thing. A slash is what separates
// CONN/CHILD on the command line.
func (d *decoder) name(n ast.Node, what string) string {
	s, ok := d.text(n, what)
	if !ok {
		return ""
	}
	word := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	if s == "" || len(s) > 64 || strings.IndexFunc(s, func(r rune) bool { return !word(r) }) >= 0 {
		d.refuse(n, "%s %q: up to 64 letters, digits and . _ - are allowed", what, s)
		return ""
	}
	return s
}

// choice is one word that a key takes. later marks what is not built yet.
type choice[T any] struct {
	word  string
	value T
	later bool
}

func chooseInto[T any](d *decoder, into *T, what string, choices ...choice[T]) func(ast.Node) {
	return func(n ast.Node) {
		s, ok := d.scalar(n, what)
		if !ok {
			return
		}
		var words []string
		for _, c := range choices {
			if !c.later {
				words = append(words, c.word)
			}
		}
		for _, c := range choices {
			if c.word == s && c.later {
				d.refuse(n, "%s: %s is not supported yet: write %s", what, s, alternatives(words))
				return
			}
			if c.word == s {
				*into = c.value
				return
			}
		}
		d.refuse(n, "%s: %q is none of its words: %s", what, s, meant(s, words))
	}
}

func (d *decoder) boolean(into *bool, what string) func(ast.Node) {
	return chooseInto(d, into, what, choice[bool]{"true", true, false}, choice[bool]{"false", false, false})
}

// duration reads a length of time between low and high.
func (d *decoder) duration(into *time.Duration, what string, low, high time.Duration) func(ast.Node) {
	return func(n ast.Node) {
		s, ok := d.scalar(n, what)
		if !ok {
			return
		}
		v, err := time.ParseDuration(s)
		switch {
		case err != nil && digits(s):
			d.refuse(n, "%s: %s has no unit: write %ss, or ms, m, h", what, s, s)
		case err != nil:
			d.refuse(n, "%s: %q is not a duration: write for example 10s, 5m or 1h30m", what, s)
		case v < low || v > high:
			d.refuse(n, "%s: %s is out of range: %s to %s", what, s, short(low), short(high))
		default:
			*into = v
		}
	}
}

// short drops what a duration's String adds for nothing: 1h0m0s.
func short(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var units = []struct {
	suffix string
	bytes  uint64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// size reads a number of bytes with its unit; 0 needs none.
func (d *decoder) size(into *uint64, what string) func(ast.Node) {
	return func(n ast.Node) {
		s, ok := d.scalar(n, what)
		if !ok {
			return
		}
		v, err := parseSize(s)
		if err != nil {
			d.refuse(n, "%s: %v", what, err)
			return
		}
		*into = v
	}
}

func parseSize(s string) (uint64, error) {
	if s == "0" {
		return 0, nil
	}
	if digits(s) {
		return 0, fmt.Errorf("%s has no unit: write %sB, or KiB, MiB, GiB", s, s)
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if err != nil {
			break
		}
		hi, lo := bits.Mul64(v, u.bytes)
		if hi != 0 {
			return 0, fmt.Errorf("%s is more than 2^64 bytes", s)
		}
		return lo, nil
	}
	return 0, fmt.Errorf("%q is not a size: write for example 512MiB or 64GiB", s)
}

// number reads a whole number between low and high.
func number[T int | uint32 | uint64](d *decoder, into *T, what string, low, high T) func(ast.Node) {
	return func(n ast.Node) {
		s, ok := d.scalar(n, what)
		if !ok {
			return
		}
		v, err := strconv.ParseUint(s, 10, 64)
		switch {
		case err != nil:
			d.refuse(n, "%s: %q is not a whole number", what, s)
		case v < uint64(low) || v > uint64(high):
			d.refuse(n, "%s: %s is out of range: %s", what, s, span(uint64(low), uint64(high)))
		default:
			*into = T(v)
		}
	}
}

func span(low, high uint64) string {
	if high == math.MaxUint64 {
		return fmt.Sprintf("at least %d", low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func alternatives(words []string) string {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" })
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
