package gcm

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// SupportedBy is Supported for a processor with those features.
func SupportedBy(v Variant, has func(cpuid.FeatureID) bool) error { return v.supported(has) }

// Digests are the known answers, by key size.
func Digests() map[int]string {
	all := map[int]string{}
	for _, k := range knownAnswers() {
		all[k.key] = k.digest
	}
	return all
}

// TrialStep and TrialCount let a test make the known answers another way.
const (
	TrialStep  = trialStep
	TrialCount = trialCount
)

// Memory is where the key of c lies, for tests that look at it after Close.
func Memory(c *Context) []byte {
	return unsafe.Slice(c.page.pointer(), unsafe.Sizeof(*c.page))
}
