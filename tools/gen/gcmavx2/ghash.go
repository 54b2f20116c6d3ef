package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// swap exchanges the halves of each block.
const swap = U8(0x4e)

// hasher adds up products of 64 by 64 bits:
//
//	bits 0..127: low * low    64..191: low * high, high * low    128..255: high * high
type hasher struct {
	*kernel
	begun bool
}

// product adds to sum the product of the halves of z and power that which names.
func (h *hasher) product(which uint8, z, sum VecPhysical, begun bool) {
	if !begun {
		VPCLMULQDQ(U8(which), power, z, sum)
		return
	}
	VPCLMULQDQ(U8(which), power, z, term)
	VPXOR(term, sum, sum)
}

// times adds z multiplied by the powers at a place.
func (h *hasher) times(z VecPhysical, at Mem) {
	VMOVDQU(at, power)
	h.product(0x11, z, sumHi, h.begun)
	h.product(0x00, z, sumLo, h.begun)
	h.product(0x01, z, sumMi, h.begun)
	h.product(0x10, z, sumMi, true)
	h.begun = true
}

// reduce folds the sum to 128 bits, in sumHi. The lowest 64 bits belong to the
// highest powers of x; each of the two steps replaces them by what they are
// modulo x^128 + x^7 + x^2 + x + 1: themselves 128 bits further up, which is the
// swap, and three shifted copies, which is the multiplication.
func (h *hasher) reduce() {
	fold := func(from, to VecPhysical) {
		VPCLMULQDQ(U8(0), h.constants.poly, from, term)
		VPSHUFD(swap, from, from)
		VPXOR(from, to, to)
		VPXOR(term, to, to)
	}
	fold(sumLo, sumMi)
	fold(sumMi, sumHi)
}

// together adds the lanes of the hash, in the lower one.
func together() {
	VEXTRACTI128(Imm(1), sumHi, x(term))
	VPXOR(x(term), x(sumHi), x(sumHi))
}
