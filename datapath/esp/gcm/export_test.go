package gcm

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// SupportedBy is Supported for a processor with those features.
func SupportedBy(v Variant, has func(cpuid.FeatureID) bool) error { return v.supported(has) }

// BestOf is Best for a processor and self-tests that say what they are told to.
func BestOf(supported, check func(Variant) error) (Variant, error) { return bestOf(supported, check) }

// Digests are the known answers, by key size.
func Digests() map[int]string {
	all := map[int]string{}
	for _, k := range knownAnswers() {
		all[k.key] = k.digest
	}
	return all
}

// SelfTest is the self-test with other answers.
func SelfTest(v Variant, digests map[int]string) error {
	var list []knownAnswer
	for key, digest := range digests {
		list = append(list, knownAnswer{key, digest})
	}
	return v.selfTest(list)
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
