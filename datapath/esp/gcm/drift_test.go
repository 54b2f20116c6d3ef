package gcm_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestAssemblyIsWhatTheGeneratorWrites runs the generator again. The first line
// names its arguments and differs.
func TestAssemblyIsWhatTheGeneratorWrites(t *testing.T) {
	const generator = "../../../tools/gen"
	if out, err := exec.Command("go", "mod", "-C", generator, "download").CombinedOutput(); err != nil {
		t.Skipf("the generator's modules are not to be had: %v\n%s", err, out)
	}
	for _, kernel := range []struct{ command, file string }{{"./gcm", "avx512_amd64"}, {"./gcmavx2", "avx2_amd64"}} {
		dir := t.TempDir()
		asm, stubs := filepath.Join(dir, kernel.file+".s"), filepath.Join(dir, kernel.file+".go")
		run := exec.Command("go", "run", "-C", generator, kernel.command, "-pkg", "gcm", "-out", asm, "-stubs", stubs)
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, path := range []string{asm, stubs} {
			if !bytes.Equal(body(t, path), body(t, filepath.Base(path))) {
				t.Errorf("%s is not what tools/gen writes: run go generate ./datapath/esp/gcm", filepath.Base(path))
			}
		}
	}
}

func body(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(data, []byte("\n"))
	return rest
}
