//go:build !amd64

package gcm

// Nothing below is reached: no other processor has what a variant needs.

func sealAES128(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}
func sealAES192(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}
func sealAES256(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}

func sealAVX2(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int, tail uint64, tailLen int) {
}

func openAVX2(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool   { return false }
func openAES128(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool { return false }
func openAES192(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool { return false }
func openAES256(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int) bool { return false }

func subWord(x uint32) uint32                         { return 0 }
func encryptBlock(ctx *byte, rounds int, block *byte) {}
func multiply(dst, a, b *byte)                        {}
