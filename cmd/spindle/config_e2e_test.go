package main_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// TestRefusedConfigurations: spindle run ends with exit code 1 and says where and
// what to write instead, before it has touched anything.
func TestRefusedConfigurations(t *testing.T) {
	b := newBed(t, "config", netlab.Options{})
	good := testbed.R6(b.Gateways)
	good.LocalTS, good.RemoteTS = good.LocalTS[:1], good.RemoteTS[:1]
	twin := good
	twin.Conn = "twin"
	for _, c := range []struct {
		name, config string
		want         []string
	}{
		{"unknown key", strings.Replace(good.YAML(), "        esp:", "        eps:", 1), []string{":13:9: ", `"eps"`, `did you mean "esp"`}},
		{"bad prefix", strings.Replace(good.YAML(), "10.8.8.8/32", "10.8.8.8/42", 1), []string{":15:", "10.8.8.8/42", "prefix"}},
		{"same selectors", good.YAML() + twin.Connection(), []string{"twin", "r8", "selectors"}},
		{"missing PSK file", strings.Replace(good.YAML(), fmt.Sprintf("{value: %q}", testbed.PSK), "{file: missing.psk}", 1),
			[]string{"missing.psk", "does not exist: create it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := testbed.Start(t.Context(), b.Lab, b.R6, b.exe, c.config)
			if err == nil {
				t.Fatal("the gateway runs")
			}
			var exit *exec.ExitError
			if <-g.Ended(); !errors.As(g.ExitError(), &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit code 1", g.ExitError())
			}
			file := filepath.Join(filepath.Dir(g.Runtime), "spindle.yaml")
			if lines := strings.Split(strings.TrimSpace(g.Log()), "\n"); len(lines) != 1 || !placed(lines[0], file) {
				t.Errorf("want one line that begins with %s:LINE:COLUMN: got %q", file, lines)
			}
			for _, w := range c.want {
				if !strings.Contains(g.Log(), w) {
					t.Errorf("%q is missing in %q", w, g.Log())
				}
			}
			b.nothingLeft(b.R6)
		})
	}
}

// placed tells whether a message begins with the place of the error.
func placed(line, file string) bool {
	var row, column int
	rest, ok := strings.CutPrefix(line, file+":")
	n, _ := fmt.Sscanf(rest, "%d:%d:", &row, &column)
	return ok && n == 2 && row > 0 && column > 0
}
