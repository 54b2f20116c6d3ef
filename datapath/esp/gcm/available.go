package gcm

import (
	"errors"
	"sync"
)

// ErrUnavailable means that this processor lacks an instruction the kernel
// needs, or that the kernel gave a wrong answer on it.
var ErrUnavailable = errors.New("AES-GCM kernel is unavailable")

// verdict is the answer of Check, found once.
var verdict = sync.OnceValue(func() error {
	if err := Supported(); err != nil {
		return err
	}
	return selfTest()
})

// Check says why the kernel may not be used, or nil. The first call tries it on
// known answers, which takes about a millisecond.
func Check() error { return verdict() }

// Available is whether New can succeed.
func Available() bool { return verdict() == nil }
