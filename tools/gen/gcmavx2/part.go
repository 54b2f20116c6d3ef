package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Parts of a block, of n bytes, by two or three words that overlap: each is inside
// the part. Branches and addresses depend on n alone.

// bitsOf is how many bits n and some bytes are.
func bitsOf(n GPPhysical, some int, to GPPhysical) {
	LEAQ(Mem{Base: n, Disp: some}, to)
	SHLQ(Imm(3), to)
}

// gather reads 0 to 16 bytes into low and high, zero behind them.
func gather(name string, at, n GPPhysical) {
	XORL(high.As32(), high.As32())
	CMPQ(n, Imm(8))
	JCC(LabelRef("gather8" + name))
	CMPQ(n, Imm(4))
	JCC(LabelRef("gather4" + name))
	XORL(low.As32(), low.As32())
	TESTQ(n, n)
	JEQ(LabelRef("gathered" + name))
	MOVBLZX(Mem{Base: at}, low.As32())
	for _, index := range []func(){func() { MOVQ(n, work); SHRQ(Imm(1), work) }, func() { LEAQ(Mem{Base: n, Disp: -1}, work) }} {
		index()
		MOVBLZX(Mem{Base: at, Index: work, Scale: 1}, high.As32())
		SHLQ(Imm(3), work)
		SHLXQ(work, high, high)
		ORQ(high, low)
	}
	XORL(high.As32(), high.As32())
	JMP(LabelRef("gathered" + name))
	Label("gather4" + name)
	MOVL(Mem{Base: at}, low.As32())
	MOVL(Mem{Base: at, Disp: -4, Index: n, Scale: 1}, over.As32())
	bitsOf(n, -4, work)
	SHLXQ(work, over, over)
	ORQ(over, low)
	JMP(LabelRef("gathered" + name))
	Label("gather8" + name)
	MOVQ(Mem{Base: at}, low)
	MOVQ(Mem{Base: at, Disp: -8, Index: n, Scale: 1}, high)
	// By 8 * (16 - n) bits, in two halves, as a shift by 64 would be one by 0.
	MOVQ(I32(block), work)
	SUBQ(n, work)
	SHLQ(Imm(2), work)
	SHRXQ(work, high, high)
	SHRXQ(work, high, high)
	Label("gathered" + name)
}

// scatter writes the first n bytes, 0 to 15, of low and high.
func scatter(name string, at, n GPPhysical) {
	CMPQ(n, Imm(8))
	JCC(LabelRef("scatter8" + name))
	CMPQ(n, Imm(4))
	JCC(LabelRef("scatter4" + name))
	TESTQ(n, n)
	JEQ(LabelRef("tag"))
	MOVB(low.As8(), Mem{Base: at})
	for _, index := range []func(){func() { MOVQ(n, work); SHRQ(Imm(1), work) }, func() { LEAQ(Mem{Base: n, Disp: -1}, work) }} {
		index()
		bitsOf(work, 0, over)
		SHRXQ(over, low, over)
		MOVB(over.As8(), Mem{Base: at, Index: work, Scale: 1})
	}
	JMP(LabelRef("tag"))
	Label("scatter4" + name)
	MOVL(low.As32(), Mem{Base: at})
	bitsOf(n, -4, over)
	SHRXQ(over, low, over)
	MOVL(over.As32(), Mem{Base: at, Disp: -4, Index: n, Scale: 1})
	JMP(LabelRef("tag"))
	Label("scatter8" + name)
	MOVQ(low, Mem{Base: at})
	bitsOf(n, -8, work)
	SHRXQ(work, low, low)
	NOTQ(work) // 63 less the shift: the other half goes the other way, by one more
	ADDQ(high, high)
	SHLXQ(work, high, high)
	ORQ(high, low)
	MOVQ(low, Mem{Base: at, Disp: -8, Index: n, Scale: 1})
}
