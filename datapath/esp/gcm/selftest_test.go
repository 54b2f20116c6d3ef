package gcm_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"spindle/datapath/esp/gcm"
)

// TestKnownAnswersAreTheStandardLibrarys makes them again with crypto/cipher.
func TestKnownAnswersAreTheStandardLibrarys(t *testing.T) {
	for size, want := range gcm.Digests() {
		aead := standard(t, counting(size, 1))
		digest := sha256.New()
		for i := range gcm.TrialCount {
			text, aad := counting(gcm.TrialStep*i, byte(i)), counting(8+i%2*4, 200)
			nonce := nonceOf(counting(4, 100), uint64(i)<<56|uint64(i))
			digest.Write(aead.Seal(nil, nonce, text, aad))
		}
		if got := hex.EncodeToString(digest.Sum(nil)); got != want {
			t.Errorf("key of %d bytes: %s, known answer is %s", size, got, want)
		}
	}
}
