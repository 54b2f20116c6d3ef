package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// counters fills n states with the next counter blocks, and adds round key 0.
func (k *kernel) counters(n int) {
	VBROADCASTI128(Mem{Base: ctx}, keyed)
	for _, s := range state[:n] {
		VPSHUFB(bytes, next, s)
		VPXOR(keyed, s, s)
		VPADDD(k.constants.two, next, next)
	}
}

// encrypt does all rounds of some states but number 0: they hold key stream. Keys
// of 128 bits have 10 rounds, of 192 bits 12, of 256 bits 14 (FIPS 197 §5).
func (k *kernel) encrypt(name string, states []VecPhysical) {
	round := func(r int) {
		VBROADCASTI128(Mem{Base: ctx, Disp: block * r}, keyed)
		for _, s := range states {
			VAESENC(keyed, s, s)
		}
	}
	for r := 1; r < 14; r++ {
		if r == 10 || r == 12 {
			CMPL(rounds.As32(), I32(int32(block*r)))
			JEQ(LabelRef(name + "Last"))
		}
		round(r)
	}
	Label(name + "Last")
	VBROADCASTI128(Mem{Base: ctx, Index: rounds, Scale: 1}, keyed)
	for _, s := range states {
		VAESENCLAST(keyed, s, s)
	}
}
