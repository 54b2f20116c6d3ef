package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"spindle/datapath/esp"
)

// cryptoVariable chooses whose AES-GCM runs: std, vaes or auto, or a kernel by its
// name. The supervisor passes it on to the data path.
const cryptoVariable = "SPINDLE_CRYPTO"

func chooseCrypto() (*esp.Crypto, error) {
	c, err := esp.NewCrypto(os.Getenv(cryptoVariable))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cryptoVariable, err)
	}
	return c, nil
}

// sayFaulty is loud about a processor, or a build, that computes wrongly: another
// implementation takes over, but what else is wrong there nobody knows.
func sayFaulty(log *slog.Logger, c interface{ Faulty() error }) {
	if err := c.Faulty(); err != nil {
		log.Error("an AES-GCM kernel did not pass its self-test and is left aside: what takes its place is slower", "aes_gcm", c, "error", err)
	}
}

// cryptoFeatures names what the CPU has for AES-GCM, best first.
func cryptoFeatures() string {
	var has []string
	for _, f := range []struct {
		name string
		ids  []cpuid.FeatureID
	}{
		{"vaes-avx512", []cpuid.FeatureID{cpuid.VAES, cpuid.VPCLMULQDQ, cpuid.AVX512F, cpuid.AVX512VL, cpuid.AVX512BW}},
		{"vaes-avx2", []cpuid.FeatureID{cpuid.VAES, cpuid.VPCLMULQDQ, cpuid.AVX2}},
		{"aes-ni", []cpuid.FeatureID{cpuid.AESNI, cpuid.CLMUL}},
		{"armv8-aes", []cpuid.FeatureID{cpuid.AESARM, cpuid.PMULL}},
	} {
		if cpuid.CPU.Supports(f.ids...) {
			has = append(has, f.name)
		}
	}
	return strings.Join(has, " ")
}
