// Command gcmavx2 writes the other assembly of datapath/esp/gcm: AES-GCM as NIST SP
// 800-38D defines it, for packets of ESP (RFC 4106), on AVX2 registers of two
// blocks, for processors with VAES and VPCLMULQDQ but without AVX-512. It writes
// what runs once per key as well, for both kernels.
//
// There is one function for sealing and one for opening, whatever the size of the
// key: the rounds that a longer key has more are jumped over.
//
// # Order
//
//  1. The AAD, one block, is multiplied by H: it is the hash so far.
//  2. Groups of 8 blocks, as long as more than that is left.
//  3. The last piece, 0 to 8 blocks: straight code for each number of registers,
//     with J0, whose encryption masks the tag (SP 800-38D §7.1), and the length
//     block, that has nothing to wait for.
//
// Every group and piece is hashed with one reduction:
//
//	(hash so far + X1)*H^n + X2*H^(n-1) + ... + Xn*H
//
// where in the last piece Xn is the length block. The AES rounds of the next group
// depend on no result of the one before, so the processor finds work for its AES
// units behind the multiplications by itself.
//
// # The last register
//
// AVX2 cannot mask bytes of a load or store. What is left of the text is gathered
// from two loads that overlap, in general registers, and shifted in front of the
// tail that ESP adds (RFC 4303 §2). Sealing writes whole blocks, for the tag
// follows and covers the rest; opening writes two words that overlap.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/buildtags"
)

func main() {
	Constraint(buildtags.Term("amd64"))
	c := newConstants()
	(&kernel{constants: c}).emit()
	(&kernel{constants: c, open: true}).emit()
	subWord()
	encryptBlock()
	multiply(c)
	Generate()
}
