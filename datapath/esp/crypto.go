package esp

import (
	"fmt"

	"spindle/datapath/esp/gcm"
	"spindle/sadb"
)

// Crypto is where new SAs get AES-GCM with an ICV of 16 bytes from: package gcm,
// or the standard library. All else comes from there in any case. A process has
// one, and may use it from several goroutines; nil is the standard library.
type Crypto struct {
	keys *gcm.Pool // nil: the standard library
	why  error
}

// The implementations by name, as Crypto.String and the operator spell them.
const (
	StandardLibrary = "standard library"
	VAES            = "vaes-avx512"
)

// NewCrypto makes a choice: "std" is the standard library, "vaes" package gcm,
// "auto" or "" package gcm where it works. With "vaes" it is an error when it
// does not.
func NewCrypto(choice string) (*Crypto, error) {
	switch choice {
	case "std":
		return &Crypto{}, nil
	case "", "auto", "vaes":
	default:
		return nil, fmt.Errorf("AES-GCM implementation %q: want std, vaes or auto", choice)
	}
	err := gcm.Check()
	switch {
	case err == nil:
		return &Crypto{keys: &gcm.Pool{}}, nil
	case choice == "vaes":
		return nil, err
	}
	return &Crypto{why: err}, nil
}

// String names the implementation of AES-GCM.
func (c *Crypto) String() string {
	if c == nil || c.keys == nil {
		return StandardLibrary
	}
	return VAES
}

// Faulty says why a kernel that this processor should be able to run was left
// aside: it gave wrong answers, or no memory could be locked for its keys. It is
// nil when there is nothing to worry about.
func (c *Crypto) Faulty() error {
	if c == nil || c.why == nil || gcm.Supported() != nil {
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
