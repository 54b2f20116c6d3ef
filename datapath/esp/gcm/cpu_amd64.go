package gcm

import (
	"fmt"

	"github.com/klauspost/cpuid/v2"
)

// Supported names what the processor, or the operating system that has to save
// its registers, does not offer.
func Supported() error {
	for _, f := range []cpuid.FeatureID{
		cpuid.AESNI, cpuid.CLMUL, cpuid.VAES, cpuid.VPCLMULQDQ, cpuid.BMI2,
		cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX512VBMI2,
	} {
		if !cpuid.CPU.Has(f) {
			return fmt.Errorf("%w: no %v", ErrUnavailable, f)
		}
	}
	return nil
}
