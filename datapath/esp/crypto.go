package esp

import (
	"errors"
	"fmt"

	"spindle/datapath/esp/gcm"
	"spindle/sadb"
)

// Crypto is where new SAs get AES-GCM with an ICV of 16 bytes from: package gcm,
// or the standard library. All else comes from there in any case. A process has
// one, and may use it from several goroutines; nil is the standard library.
type Crypto struct {
	keys *gcm.Pool // nil: the standard library
	why  error     // a faster kernel was left aside
}

// StandardLibrary is what Crypto.String calls it; a kernel has the name of its
// gcm.Variant.
const StandardLibrary = "standard library"

// NewCrypto makes a choice: "std" is the standard library, "vaes" the best kernel of
// package gcm that works, "auto" or "" that or else the standard library, and the
// name of a kernel that kernel. It is an error when what was named does not work.
func NewCrypto(choice string) (*Crypto, error) {
	for _, v := range gcm.Variants() {
		if choice == v.String() {
			return newKernelCrypto(v, v.Check(), nil)
		}
	}
	switch choice {
	case "std":
		return &Crypto{}, nil
	case "", "auto", "vaes":
	default:
		return nil, fmt.Errorf("AES-GCM implementation %q: want std, vaes, vaes-avx512, vaes-avx2 or auto", choice)
	}
	best, fault := gcm.Best()
	switch {
	case best != 0:
		return newKernelCrypto(best, nil, fault)
	case choice == "vaes":
		return nil, errors.Join(gcm.AVX2.Supported(), fault)
	}
	return &Crypto{why: fault}, nil
}

func newKernelCrypto(v gcm.Variant, err, fault error) (*Crypto, error) {
	if err != nil {
		return nil, err
	}
	return &Crypto{keys: &gcm.Pool{Variant: v}, why: fault}, nil
}

// String names the implementation of AES-GCM.
func (c *Crypto) String() string {
	if c == nil || c.keys == nil {
		return StandardLibrary
	}
	return c.keys.Variant.String()
}

// Faulty says why a kernel that this processor should be able to run was left
// aside: it gave wrong answers, or no memory could be locked for its keys. It is
// nil when there is nothing to worry about.
func (c *Crypto) Faulty() error {
	if c == nil {
		return nil
	}
	return c.why
}

// Keys is how many keys package gcm holds; an SA has one until its Wipe.
func (c *Crypto) Keys() int {
	if c == nil || c.keys == nil {
		return 0
	}
	return c.keys.Keys()
}

// Close gives the memory of the keys back. Every SA must have been wiped.
func (c *Crypto) Close() error {
	if c == nil || c.keys == nil {
		return nil
	}
	return c.keys.Close()
}

// NewInbound is Crypto.NewInbound with the standard library.
func NewInbound(sa *sadb.SA) (*Inbound, error) { return (*Crypto)(nil).NewInbound(sa) }

// NewOutbound is Crypto.NewOutbound with the standard library.
func NewOutbound(sa *sadb.SA) (*Outbound, error) { return (*Crypto)(nil).NewOutbound(sa) }
