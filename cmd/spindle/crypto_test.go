package main

import (
	"bytes"
	"errors"
	"log/slog"
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

type faulty struct{ why error }

func (f faulty) Faulty() error { return f.why }
func (faulty) String() string  { return "vaes-avx2" }

// TestFaultyKernelIsLoud: an error, with what was wrong and what runs instead; and not
// a word when nothing is wrong.
func TestFaultyKernelIsLoud(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	sayFaulty(log, faulty{})
	if out.Len() > 0 {
		t.Errorf("says %q", &out)
	}
	sayFaulty(log, faulty{errors.New("vaes-avx512: digest 00, want 01")})
	for _, words := range []string{"level=ERROR", "did not pass its self-test", "aes_gcm=vaes-avx2", "digest 00, want 01"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("%q is missing in %q", words, &out)
		}
	}
}
