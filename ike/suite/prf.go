package suite

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"spindle/ike/wire"
)

// newHash is the hash under an HMAC PRF.
func newHash(prf wire.PRF) (func() hash.Hash, error) {
	switch prf {
	case wire.PRFHMACSHA2256:
		return sha256.New, nil
	case wire.PRFHMACSHA2384:
		return sha512.New384, nil
	case wire.PRFHMACSHA2512:
		return sha512.New, nil
	case wire.PRFHMACSHA1: // weak, see AllowWeak
		return sha1.New, nil
	case wire.PRFHMACMD5:
		return md5.New, nil
	}
	return nil, fmt.Errorf("prf %d is not supported", prf)
}

// PRF is prf(key, data...) with the parts of data joined (RFC 7296 §2.13).
func PRF(prf wire.PRF, key []byte, data ...[]byte) (Secret, error) {
	h, err := newHash(prf)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(h, key)
	for _, d := range data {
		mac.Write(d)
	}
	return mac.Sum(nil), nil
}

// PRFPlus is n octets of prf+ (RFC 7296 §2.13):
//
//	prf+ (K,S) = T1 | T2 | T3 | T4 | ...
//	T1 = prf (K, S | 0x01)
//	T2 = prf (K, T1 | S | 0x02)
func PRFPlus(prf wire.PRF, key, seed []byte, n int) (Secret, error) {
	h, err := newHash(prf)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(h, key)
	if n > 255*mac.Size() {
		return nil, fmt.Errorf("prf+ of %d octets: its counter ends at 255 blocks", n)
	}
	out := make(Secret, 0, n+mac.Size())
	var last []byte
	for i := byte(1); len(out) < n; i++ {
		mac.Reset()
		mac.Write(last)
		mac.Write(seed)
		mac.Write([]byte{i})
		out = mac.Sum(out)
		last = out[len(out)-mac.Size():]
	}
	return out[:n:n], nil
}
