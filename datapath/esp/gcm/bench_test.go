package gcm_test

import (
	"fmt"
	"testing"

	"spindle/datapath/esp/gcm"
)

var benchSizes = []int{64, 256, 512, 1024, 1400}

// The benches measure one key and hot buffers, out of place, 8 bytes of AAD: the
// cryptography alone. std is crypto/cipher in the same run.

func BenchmarkSeal(b *testing.B) {
	aad, dst, src, nonce := make([]byte, 8), make([]byte, 2048), make([]byte, 2048), make([]byte, 12)
	for _, bits := range []int{128, 256} {
		aead := standard(b, counting(bits/8, 1))
		for _, n := range benchSizes {
			for _, v := range working() {
				c := context(b, v, counting(bits/8, 1), counting(4, 9))
				b.Run(fmt.Sprintf("%d/%d/%v", bits, n, v), func(b *testing.B) {
					b.SetBytes(int64(n))
					for i := uint64(0); b.Loop(); i++ {
						c.Seal(dst, src[:n], i, aad)
					}
				})
			}
			b.Run(fmt.Sprintf("%d/%d/std", bits, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					aead.Seal(dst[:0], nonce, src[:n], aad)
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	aad, dst, src, nonce := make([]byte, 8), make([]byte, 2048), make([]byte, 2048), make([]byte, 12)
	for _, bits := range []int{128, 256} {
		aead := standard(b, counting(bits/8, 1))
		for _, n := range benchSizes {
			sealed := aead.Seal(nil, nonce, src[:n], aad)
			for _, v := range working() {
				c := context(b, v, counting(bits/8, 1), make([]byte, 4))
				b.Run(fmt.Sprintf("%d/%d/%v", bits, n, v), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						if !c.Open(dst, sealed, 0, aad) {
							b.Fatal("refused")
						}
					}
				})
			}
			b.Run(fmt.Sprintf("%d/%d/std", bits, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					if _, err := aead.Open(dst[:0], nonce, sealed, aad); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// working are the variants of this processor.
func working() (list []gcm.Variant) {
	for _, v := range gcm.Variants() {
		if v.Check() == nil {
			list = append(list, v)
		}
	}
	return list
}
