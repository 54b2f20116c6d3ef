package suite

import (
	"fmt"

	"spindle/ike/wire"
)

// MixPPK are the keys k with a postquantum preshared key in them (RFC 8784 §3);
// k itself is left as it is, for the AUTH of a peer that goes on without. Keys
// that are not mixed are the same memory in both: wipe only what is let go.
//
//	SK_d  = prf+ (PPK, SK_d')
//	SK_pi = prf+ (PPK, SK_pi')
//	SK_pr = prf+ (PPK, SK_pr')
//
// Only these are mixed, at the time of IKE_AUTH; SKs that a rekey makes inherit it.
func (k *IKEKeys) MixPPK(prf wire.PRF, ppk []byte) (*IKEKeys, error) {
	if len(ppk) == 0 {
		return nil, fmt.Errorf("mix PPK: it is empty")
	}
	mixed := *k
	for _, part := range []struct {
		key Secret
		to  *Secret
	}{{k.D, &mixed.D}, {k.PI, &mixed.PI}, {k.PR, &mixed.PR}} {
		var err error
		if *part.to, err = PRFPlus(prf, ppk, part.key, len(part.key)); err != nil {
			return nil, fmt.Errorf("mix PPK: %w", err)
		}
	}
	return &mixed, nil
}
