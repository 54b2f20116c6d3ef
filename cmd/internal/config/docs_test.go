package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"spindle/cmd/internal/config"
)

const manual = "../../../docs/configuration.md"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// examples are the YAML blocks of a document.
func examples(t *testing.T, path string) (list []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, path), -1) {
		list = append(list, m[1])
	}
	if len(list) == 0 {
		t.Fatalf("%s has no example", path)
	}
	return list
}

// plain are the examples' files that are one line of text.
var plain = regexp.MustCompile(`/etc/spindle/([a-z0-9]+\.(?:psk|users))`)

// settle writes an example with the files that it names, all in one directory.
func settle(t *testing.T, example string, papers []string) string {
	t.Helper()
	files := slices.Clone(papers)
	for _, m := range plain.FindAllStringSubmatch(example, -1) {
		files = append(files, m[1], "alice the key\n")
	}
	files = append([]string{"f.yaml", strings.ReplaceAll(example, "/etc/spindle/", "")}, files...)
	return write(t, files...)
}

// TestExamplesOfTheManual: what the documents show is what the gateway takes, without a warning.
func TestExamplesOfTheManual(t *testing.T) {
	files := papers(t)
	for i := 0; i < len(files); i += 2 {
		files[i] = strings.Replace(files[i], "r6.", "gw.", 1)
	}
	for _, path := range []string{manual, "../../../README.md"} {
		for i, example := range examples(t, path) {
			c, err := config.Load(settle(t, example, files))
			if err != nil {
				t.Errorf("%s, example %d: %v", filepath.Base(path), i+1, err)
			} else if len(c.Warnings) > 0 {
				t.Errorf("%s, example %d: %v", filepath.Base(path), i+1, c.Warnings)
			}
		}
	}
}

// probe is a key so far from any other that its refusal lists them all.
const probe = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"

// plant puts the probe, with its path, into every mapping of a document, and
// notes the path of every key.
func plant(node any, path string, seen map[string]bool) any {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			seen[path+key] = true
			n[key] = plant(value, path+key+".", seen)
		}
		n[probe+path] = 1
	case []any:
		for i := range n {
			n[i] = plant(n[i], path, seen)
		}
	}
	return node
}

// accepted asks the decoder which keys it takes: at each level that an example
// has, the refusal of the probe names them.
func accepted(t *testing.T, example string, seen map[string]bool) (keys []string) {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(example), &tree); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(plant(tree, "", seen))
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.Load(write(t, "f.yaml", string(text)))
	if err == nil {
		t.Fatal("the probe was accepted")
	}
	refusal := regexp.MustCompile(`unknown key "` + probe + `([a-z_.]*)" in [^:]*: write (.*)`)
	for _, m := range refusal.FindAllStringSubmatch(err.Error(), -1) {
		for _, key := range strings.Split(strings.ReplaceAll(m[2], " or ", ", "), ", ") {
			keys = append(keys, m[1]+key)
		}
	}
	return keys
}

// sections of the manual that list keys, and where in the file those stand.
var sections = map[string]string{"The gateway": "", "A connection": "connections.", "A child": "connections.children."}

func documented(t *testing.T) map[string]bool {
	t.Helper()
	rows := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|")
	for _, section := range strings.Split(read(t, manual), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		prefix, ok := sections[title]
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			if !ok {
				t.Errorf("section %q lists keys of no level", title)
			}
			rows[prefix+m[1]] = true
		}
	}
	return rows
}

// TestManualIsComplete: every key that the decoder accepts has a row and stands in
// an example, and no row is of a key that it does not. As each key that holds
// others stands in an example, no level escapes the probe.
func TestManualIsComplete(t *testing.T) {
	shown, takes := map[string]bool{}, map[string]bool{}
	for _, example := range examples(t, manual) {
		for _, key := range accepted(t, example, shown) {
			takes[key] = true
		}
	}
	rows := documented(t)
	for _, key := range slices.Sorted(maps.Keys(takes)) {
		if !rows[key] {
			t.Errorf("%s has no row", key)
		}
		if !shown[key] {
			t.Errorf("%s stands in no example", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if !takes[key] {
			t.Errorf("%s has a row and is not accepted", key)
		}
	}
	if len(takes) < 80 {
		t.Errorf("only %d keys found", len(takes))
	}
}
