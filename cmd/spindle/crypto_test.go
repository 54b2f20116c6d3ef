package main

import (
	"bytes"
	"strings"
	"testing"

	"spindle/datapath/esp"
	"spindle/datapath/esp/gcm"
)

// TestCryptoVariable: SPINDLE_CRYPTO chooses whose AES-GCM runs, and results say it.
func TestCryptoVariable(t *testing.T) {
	wants := map[string]string{"std": esp.StandardLibrary, "auto": esp.StandardLibrary, "": esp.StandardLibrary}
	if best, _ := gcm.Best(); best != 0 {
		wants["auto"], wants[""], wants["vaes"] = best.String(), best.String(), best.String()
	}
	for _, v := range gcm.Variants() {
		if v.Check() == nil {
			wants[v.String()] = v.String()
		}
	}
	for choice, want := range wants {
		t.Setenv(cryptoVariable, choice)
		for _, args := range [][]string{
			{"bench", "pipeline", "--direction", "out", "--size", "64", "--sas", "1", "--seconds", "0.02", "--pages", "4k", "-o", "json"},
			{"bench", "crypto", "--suite", "aes128gcm16", "--size", "64", "--seconds", "0.002", "-o", "json"},
		} {
			var stdout, stderr bytes.Buffer
			if code := execute(t.Context(), args, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), `"impl": "`+want+`"`) {
				t.Errorf("%q %v: exit %d, want impl %q\n%s%s", choice, args, code, want, &stdout, &stderr)
			}
		}
	}
	t.Setenv(cryptoVariable, "fast")
	var stdout, stderr bytes.Buffer
	if code := execute(t.Context(), []string{"bench", "pipeline"}, &stdout, &stderr); code != exitRefused || !strings.Contains(stderr.String(), `"fast": want std, vaes, vaes-avx512, vaes-avx2 or auto`) {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}
