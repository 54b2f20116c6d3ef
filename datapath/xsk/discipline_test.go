package xsk_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"regexp"
	"testing"
)

// TestOneStorePerBatch: an atomic store is a locked instruction. There is one
// in publish and one in release and none elsewhere in the hot files, and
// nothing calls these two in a loop.
func TestOneStorePerBatch(t *testing.T) {
	stores := map[string]int{}
	for _, file := range []string{"ring.go", "rx.go", "tx.go", "kick.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			stores[fn.Name.Name] += len(callsIn(fn.Body, "Store"))
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.ForStmt, *ast.RangeStmt:
					if calls := callsIn(n, "Store", "publish", "release"); len(calls) > 0 {
						t.Errorf("%s: %s calls %v in a loop", file, fn.Name.Name, calls)
					}
				}
				return true
			})
		}
	}
	for name, n := range stores {
		want := 0
		if name == "publish" || name == "release" {
			want = 1
		}
		if n != want {
			t.Errorf("%s has %d atomic stores, want %d", name, n, want)
		}
	}
}

func callsIn(n ast.Node, names ...string) (found []string) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
			for _, name := range names {
				if sel.Sel.Name == name {
					found = append(found, name)
				}
			}
		}
		return true
	})
	return found
}

// TestHotFunctionsAreInlined asks the compiler.
func TestHotFunctionsAreInlined(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Skipf("go build: %v: %s", err, out)
	}
	for _, fn := range []string{
		`\(\*producer\[.*\]\)\.room`, `\(\*producer\[.*\]\)\.put`, `\(\*producer\[.*\]\)\.publish`,
		`\(\*producer\[.*\]\)\.pending`, `\(\*producer\[.*\]\)\.needsWakeup`,
		`\(\*consumer\[.*\]\)\.ready`, `\(\*consumer\[.*\]\)\.take`, `\(\*consumer\[.*\]\)\.release`,
		`\(\*Socket\)\.Reserve`,
	} {
		if !regexp.MustCompile(`can inline ` + fn).Match(out) {
			t.Errorf("%s is not inlinable", fn)
		}
	}
}
