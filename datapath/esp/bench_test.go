package esp_test

import (
	"fmt"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
)

var benchSuites = []string{"aes128gcm16", "aes128gcm16 std", "aes256gcm16", "chacha20poly1305", "aes256-sha256", "aes256ctr-sha256", "aes128gcm8"}

func BenchmarkSeal(b *testing.B) {
	for _, suite := range benchSuites {
		for _, n := range []int{64, 256, 512, 1024, 1400} {
			b.Run(fmt.Sprintf("%s/%d", suite, n), func(b *testing.B) {
				p := newPair(b, suite)
				clear, dst := inner(false, n, 0), make([]byte, 2048)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					p.out.Seal(dst, clear, 1)
				}
			})
		}
	}
}

// BenchmarkOpen opens one packet again and again, with the window off.
func BenchmarkOpen(b *testing.B) {
	for _, suite := range benchSuites {
		for _, n := range []int{64, 256, 512, 1024, 1400} {
			b.Run(fmt.Sprintf("%s/%d", suite, n), func(b *testing.B) {
				p := newPair(b, suite, func(sa *sadb.SA) { sa.ReplayWindow = 0 })
				body, h := espOf(b, p.seal(b, inner(false, n, 0)))
				dst := make([]byte, 2048)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, v := p.in.Open(dst, nil, &h, body, 1); v != packet.Pass {
						b.Fatal(v)
					}
				}
			})
		}
	}
}
