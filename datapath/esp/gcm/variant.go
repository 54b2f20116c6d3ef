package gcm

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/cpuid/v2"
)

// ErrUnavailable means that this processor lacks an instruction the kernel
// needs, or that the kernel gave a wrong answer on it.
var ErrUnavailable = errors.New("AES-GCM kernel is unavailable")

// Variant is one of the kernels. The zero value stands for the best that works.
type Variant uint8

const (
	AVX2   Variant = iota + 1 // two blocks a register
	AVX512                    // four
)

// Variants are all of them, the fastest first.
func Variants() []Variant { return []Variant{AVX512, AVX2} }

func (v Variant) String() string {
	switch v {
	case AVX2:
		return "vaes-avx2"
	case AVX512:
		return "vaes-avx512"
	}
	return "none"
}

// needs are the instructions of a variant.
func (v Variant) needs() []cpuid.FeatureID {
	all := []cpuid.FeatureID{cpuid.AESNI, cpuid.CLMUL, cpuid.VAES, cpuid.VPCLMULQDQ, cpuid.BMI2, cpuid.AVX2}
	if v == AVX512 {
		all = append(all, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX512VBMI2)
	}
	return all
}

// supported names what a processor with those features does not offer.
func (v Variant) supported(has func(cpuid.FeatureID) bool) error {
	for _, f := range v.needs() {
		if !has(f) {
			return fmt.Errorf("%w: no %v", ErrUnavailable, f)
		}
	}
	return nil
}

// Supported names what the processor, or the operating system that has to save
// its registers, does not offer.
func (v Variant) Supported() error { return v.supported(cpuid.CPU.Has) }

// verdicts are the answers of Check, each found once.
var verdicts = map[Variant]func() error{AVX2: sync.OnceValue(AVX2.try), AVX512: sync.OnceValue(AVX512.try)}

func (v Variant) try() error {
	if err := v.Supported(); err != nil {
		return err
	}
	return v.selfTest(knownAnswers())
}

// Check says why a kernel may not be used, or nil. The first call tries it on
// known answers, which takes about a millisecond.
func (v Variant) Check() error { return verdicts[v]() }

// Best is the fastest kernel that works, 0 if none does. The error says why those
// that are faster were passed over although the processor has all they need.
func Best() (best Variant, fault error) { return bestOf(Variant.Supported, Variant.Check) }

func bestOf(supported, check func(Variant) error) (best Variant, fault error) {
	for _, v := range Variants() {
		if supported(v) != nil {
			continue
		}
		err := check(v)
		if err == nil {
			return v, fault
		}
		fault = errors.Join(fault, fmt.Errorf("%v: %w", v, err))
	}
	return 0, fault
}
