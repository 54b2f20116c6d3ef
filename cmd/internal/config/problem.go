package config

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Problem is one thing wrong in a file, and where.
type Problem struct {
	File         string
	Line, Column int // from 1; Column counts characters
	Text         string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

func (p Problem) compare(o Problem) int {
	return cmp.Or(cmp.Compare(p.Line, o.Line), cmp.Compare(p.Column, o.Column))
}

// Problems is everything wrong with a file, in the order of the file.
type Problems []Problem

// Error is one line per problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// position is where a node starts, in the file.
type position struct{ line, column int }

func (p position) String() string { return fmt.Sprintf("%d:%d", p.line, p.column) }

// where finds the start of a node: for a block mapping that is its first key,
// where the parser names the colon.
func where(n ast.Node) position {
	if n == nil {
		return position{1, 1}
	}
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return where(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return where(m.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return position{t.Position.Line, t.Position.Column}
	}
	return position{1, 1}
}

func (d *decoder) problem(at position, format string, args ...any) {
	d.problems = append(d.problems, Problem{d.file, at.line, at.column, fmt.Sprintf(format, args...)})
}

func (d *decoder) refuse(n ast.Node, format string, args ...any) {
	d.problem(where(n), format, args...)
}

func (d *decoder) warn(n ast.Node, format string, args ...any) {
	at := where(n)
	d.warnings = append(d.warnings, Problem{d.file, at.line, at.column, fmt.Sprintf(format, args...)})
}
