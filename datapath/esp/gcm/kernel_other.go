//go:build !amd64

package gcm

import "fmt"

// Supported is that there is nothing here.
func Supported() error { return fmt.Errorf("%w: not an amd64 processor", ErrUnavailable) }

// Nothing below is reached: New asks Available first.

func sealAES128(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}
func sealAES192(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}
func sealAES256(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}

func openAES128(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool { return false }
func openAES192(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool { return false }
func openAES256(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool { return false }

func subWord(x uint32) uint32                         { return 0 }
func encryptBlock(ctx *byte, rounds int, block *byte) {}
func multiply(dst, a, b *byte)                        {}
