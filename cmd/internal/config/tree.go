package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"spindle/ike/suite"
)

// decoder walks the syntax tree of one file and collects every problem on its
// way. A reader that finds one says so and goes on, so that one run of check
// shows them all.
type decoder struct {
	file, dir string
	read      func(name string) (secret, error)
	problems  Problems
	open      []openSide // of the connection that is being read
	warnings  Problems

	weak suite.AllowWeak // of the connection that is being read
}

// field is one key that a mapping may have.
type field struct {
	key      string
	required bool
	read     func(ast.Node)
}

func must(key string, read func(ast.Node)) field { return field{key, true, read} }
func may(key string, read func(ast.Node)) field  { return field{key, false, read} }

// document parses the source and returns the tree of its only document, or nil
// after saying what is wrong.
func (d *decoder) document(source []byte) ast.Node {
	file, err := parseYAML(source)
	if err != nil {
		d.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			d.refuse(doc.Body, "a second document: the configuration is one")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		d.problem(position{1, 1}, "the file is empty: it needs at least outside and connections")
	}
	return body
}

// parseYAML turns a panic of the parser into an error: what an editor saved half
// way must not take a reloading gateway down.
func parseYAML(source []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			file, err = nil, fmt.Errorf("not YAML: %v", r)
		}
	}()
	if deep(source) {
		return nil, errors.New("not a configuration: brackets nested too deep")
	}
	return parser.ParseBytes(source, 0, parser.AllowDuplicateMapKey())
}

// deep guards the recursive parser against a file of brackets.
func deep(source []byte) bool {
	const most = 1000
	depth := 0
	for _, b := range source {
		switch b {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > most {
			return true
		}
	}
	return false
}

func (d *decoder) syntax(err error) {
	var s *yaml.SyntaxError
	if errors.As(err, &s) && s.Token != nil && s.Token.Position != nil {
		text := strings.TrimSpace(s.Message)
		if strings.Contains(text, "'\t'") {
			text = "a tab: YAML indents with blanks"
		}
		d.problem(position{s.Token.Position.Line, s.Token.Position.Column}, "%s", text)
		return
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	d.problem(position{1, 1}, "%s", first)
}

// object reads a mapping: no key but those of fields, none twice, all that are
// required. what names it in messages.
func (d *decoder) object(n ast.Node, what string, fields ...field) {
	values, ok := mapping(n)
	if !ok {
		d.refuse(n, "%s is %s, not a mapping of keys and values: write for example {%s: ...}", what, kind(n), example(fields))
		return
	}
	seen := make(map[string]position)
	for _, v := range values {
		key := keyText(v.Key)
		at := where(v.Key)
		if first, twice := seen[key]; twice {
			d.problem(at, "%q stands twice in %s: first at %v", key, what, first)
			continue
		}
		seen[key] = at
		d.entry(v, key, what, fields)
	}
	for _, f := range fields {
		if _, ok := seen[f.key]; f.required && !ok {
			d.refuse(n, "%s lacks the key %q", what, f.key)
		}
	}
}

// example is the key that a mapping needs, else its first.
func example(fields []field) string {
	i := slices.IndexFunc(fields, func(f field) bool { return f.required })
	return fields[max(i, 0)].key
}

func (d *decoder) entry(v *ast.MappingValueNode, key, what string, fields []field) {
	words := make([]string, len(fields))
	for i, f := range fields {
		if f.key != key {
			words[i] = f.key
			continue
		}
		if v.Value == nil || v.Value.Type() == ast.NullType {
			d.refuse(v.Key, "%q has no value", key)
			return
		}
		f.read(v.Value)
		return
	}
	d.refuse(v.Key, "unknown key %q in %s: %s", key, what, meant(key, words))
}

// list reads a sequence of at least one entry.
func (d *decoder) list(n ast.Node, what string, read func(ast.Node)) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.refuse(n, "%s is %s, not a list: write [%s]", what, kind(n), listExample(n))
		return
	}
	if len(s.Values) == 0 {
		d.refuse(n, "%s is empty: it needs at least one entry", what)
	}
	for _, v := range s.Values {
		if v == nil || v.Type() == ast.NullType {
			d.refuse(n, "%s has an empty entry", what)
			continue
		}
		read(v)
	}
}

func listExample(n ast.Node) string {
	if s, ok := raw(n); ok {
		return s
	}
	return "..."
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

func keyText(k ast.MapKeyNode) string {
	if k == nil || k.GetToken() == nil {
		return ""
	}
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.GetToken().Value
}

// kind names what a node is, for a message, without its content.
func kind(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	}
	return "an anchor, alias or tag (not supported)"
}
