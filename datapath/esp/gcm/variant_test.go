package gcm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/cpuid/v2"

	"spindle/datapath/esp/gcm"
)

// TestMaskedFeatures: a processor gets the widest kernel that it has every
// instruction for, and is told the first one missing.
func TestMaskedFeatures(t *testing.T) {
	wide := []cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX512VBMI2}
	narrow := []cpuid.FeatureID{cpuid.AESNI, cpuid.CLMUL, cpuid.VAES, cpuid.VPCLMULQDQ, cpuid.BMI2, cpuid.AVX2}
	all := slices.Concat(narrow, wide)
	without := func(masked cpuid.FeatureID) func(cpuid.FeatureID) bool {
		return func(f cpuid.FeatureID) bool { return f != masked && slices.Contains(all, f) }
	}
	for _, v := range gcm.Variants() {
		if err := gcm.SupportedBy(v, without(cpuid.UNKNOWN)); err != nil {
			t.Errorf("%v with all of them: %v", v, err)
		}
	}
	for _, f := range all {
		for _, v := range gcm.Variants() {
			err := gcm.SupportedBy(v, without(f))
			needed := v == gcm.AVX512 || slices.Contains(narrow, f)
			if (err != nil) != needed || err != nil && !strings.HasSuffix(err.Error(), "no "+f.String()) {
				t.Errorf("%v without %v: %v", v, f, err)
			}
		}
	}
}

// TestBestIsTheFirstThatWorks, and that none of those before it is broken.
func TestBestIsTheFirstThatWorks(t *testing.T) {
	best, fault := gcm.Best()
	if fault != nil {
		t.Error(fault)
	}
	list := append(working(), 0)
	if best != list[0] {
		t.Errorf("best is %v, want %v", best, list[0])
	}
	var p gcm.Pool
	c, err := p.New(counting(16, 1), counting(4, 1))
	if (err == nil) != (best != 0) {
		t.Fatalf("best is %v, and New says %v", best, err)
	}
	if err == nil {
		c.Close()
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestBrokenKernelsAreLeftAside: one that gives wrong answers is passed over for the
// next, and that is said; one that the processor cannot run is nothing to speak of.
func TestBrokenKernelsAreLeftAside(t *testing.T) {
	broken := errors.New("digest 00, want 01")
	failing := func(list ...gcm.Variant) func(gcm.Variant) error {
		return func(v gcm.Variant) error {
			if slices.Contains(list, v) {
				return broken
			}
			return nil
		}
	}
	for _, c := range []struct {
		cannot, broken []gcm.Variant
		best           gcm.Variant
		fault          string
	}{
		{nil, nil, gcm.AVX512, ""},
		{[]gcm.Variant{gcm.AVX512}, nil, gcm.AVX2, ""},
		{nil, []gcm.Variant{gcm.AVX512}, gcm.AVX2, "vaes-avx512: digest 00, want 01"},
		{[]gcm.Variant{gcm.AVX512}, []gcm.Variant{gcm.AVX2}, 0, "vaes-avx2: digest 00, want 01"},
		{nil, gcm.Variants(), 0, "vaes-avx512: digest 00, want 01\nvaes-avx2: digest 00, want 01"},
		{gcm.Variants(), gcm.Variants(), 0, ""},
	} {
		best, fault := gcm.BestOf(failing(c.cannot...), failing(c.broken...))
		if best != c.best || (fault == nil) != (c.fault == "") || fault != nil && fault.Error() != c.fault {
			t.Errorf("cannot run %v, broken %v: %v, %v", c.cannot, c.broken, best, fault)
		}
	}
}

// TestSelfTestFindsAWrongKernel asks for answers that it does not give.
func TestSelfTestFindsAWrongKernel(t *testing.T) {
	each(t, func(t *testing.T, v gcm.Variant) {
		if err := gcm.SelfTest(v, gcm.Digests()); err != nil {
			t.Error(err)
		}
		for size := range gcm.Digests() {
			wrong := gcm.Digests()
			wrong[size] = wrong[size][:63] + "x"
			if err := gcm.SelfTest(v, wrong); !errors.Is(err, gcm.ErrUnavailable) || !strings.Contains(err.Error(), "self-test") {
				t.Errorf("key of %d bytes with another answer: %v", size, err)
			}
		}
	})
}
