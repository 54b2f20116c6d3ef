package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// xor3 is the truth table of a ^ b ^ c.
const xor3 = U8(0x96)

// swap exchanges the halves of each block.
const swap = U8(0x4e)

// sum is one of the three sums of products; a term waits for a second one, as
// one instruction adds two.
type sum struct {
	reg     VecPhysical
	begun   bool
	waiting VecPhysical
}

// hasher adds up products of 64 by 64 bits:
//
//	bits 0..127: low * low    64..191: low * high, high * low    128..255: high * high
type hasher struct {
	*kernel
	lo, mi, hi sum
	free       []VecPhysical
}

func (k *kernel) hasher() *hasher {
	return &hasher{
		kernel: k,
		lo:     sum{reg: sumLo}, mi: sum{reg: sumMi}, hi: sum{reg: sumHi},
		free: append([]VecPhysical(nil), spare...),
	}
}

func (h *hasher) take() VecPhysical {
	r := h.free[len(h.free)-1]
	h.free = h.free[:len(h.free)-1]
	return r
}

// product adds to s the product of the halves of z and power that which names.
func (h *hasher) product(s *sum, which uint8, z VecPhysical) step {
	return func() {
		if !s.begun {
			s.begun = true
			VPCLMULQDQ(U8(which), power, z, s.reg)
			return
		}
		t := h.take()
		VPCLMULQDQ(U8(which), power, z, t)
		if s.waiting == nil {
			s.waiting = t
			return
		}
		VPTERNLOGD(xor3, s.waiting, t, s.reg)
		h.free = append(h.free, s.waiting, t)
		s.waiting = nil
	}
}

// times adds z multiplied by the powers that load brings.
func (h *hasher) times(z VecPhysical, load step) []step {
	return []step{
		load,
		h.product(&h.hi, 0x11, z), // first, for z may have needed what sumHi held
		h.product(&h.lo, 0x00, z),
		h.product(&h.mi, 0x01, z),
		h.product(&h.mi, 0x10, z),
	}
}

// reduce folds the sum to 128 bits, in sumHi. The lowest 64 bits belong to the
// highest powers of x; each of the two steps replaces them by what they are
// modulo x^128 + x^7 + x^2 + x + 1: themselves 128 bits further up, which is the
// swap, and three shifted copies, which is the multiplication.
func (h *hasher) reduce() []step {
	fold := func(from, to VecPhysical) []step {
		t := spare[0]
		return []step{
			func() { VPCLMULQDQ(U8(0), h.constants.poly, from, t) },
			func() { VPSHUFD(swap, from, from) },
			func() { VPTERNLOGD(xor3, from, t, to) },
		}
	}
	return append(append([]step{h.settle}, fold(sumLo, sumMi)...), fold(sumMi, sumHi)...)
}

// settle adds the terms that still wait.
func (h *hasher) settle() {
	for _, s := range []*sum{&h.lo, &h.mi, &h.hi} {
		if s.waiting != nil {
			VPXORQ(s.waiting, s.reg, s.reg)
		}
	}
}

// hashGroup hashes the four registers of a group and keeps its lanes apart.
func (k *kernel) hashGroup() []step {
	h := k.hasher()
	steps := []step{func() { VPXORQ(sumHi, text[0], text[0]) }}
	for v := range 4 {
		steps = append(steps, h.times(text[v], func() {
			VBROADCASTI32X4(Mem{Base: ctx, Disp: atPower(16 - 4*v)}, power)
		})...)
	}
	return append(steps, h.reduce()...)
}

// hashRest hashes the n registers at the end of a packet, each lane with its own
// power, and the length block, and brings the lanes together. The powers start
// at tmp2.
func (k *kernel) hashRest(n int, short bool) []step {
	h := k.hasher()
	steps := []step{func() { VPXORQ(sumHi, text[0], text[0]) }}
	for v := range n {
		steps = append(steps, h.times(text[v], func() {
			VMOVDQU64(Mem{Base: tmp2, Disp: lanes * v}, power)
			if v == 0 && short {
				VINSERTI32X4(Imm(0), Mem{Base: ctx, Disp: atPower(1)}, power, power)
			}
		})...)
	}
	if !short {
		steps = append(steps, h.times(after, func() {
			VMOVDQU(Mem{Base: ctx, Disp: atPower(1)}, x(power))
		})...)
	}
	steps = append(steps, h.reduce()...)
	return append(steps, addLanes)
}

// hashSteps is how many steps of hashRest take the first n registers.
func hashSteps(n int) int { return 1 + 5*n }

// addLanes brings the lanes together, in the lowest one.
func addLanes() {
	t := spare[0]
	VEXTRACTI64X4(Imm(1), sumHi, y(t))
	VPXOR(y(t), y(sumHi), y(sumHi))
	VEXTRACTI128(Imm(1), y(sumHi), x(t))
	VPXOR(x(t), x(sumHi), x(sumHi))
}
