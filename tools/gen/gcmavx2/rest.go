package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// rest is the last piece: at most 8 blocks, of which the last may be filled in
// part. It goes through them in this order:
//
//  1. The text of the last register.
//  2. Where the powers of H begin: the first block meets that of the number of
//     blocks and one more, so that H^1 is for the length block.
//  3. A piece of its own for each number of registers.
func (k *kernel) rest() {
	TESTQ(rest, rest)
	JEQ(LabelRef("rest0"))
	// 1
	LEAQ(Mem{Base: rest, Disp: -1}, work)
	ANDQ(I32(-lanes), work)
	LEAQ(Mem{Base: src, Index: work, Scale: 1}, aad)
	MOVQ(rest, aadLen)
	SUBQ(work, aadLen)
	if k.open {
		k.lastCiphertext()
	} else {
		k.lastPlaintext()
	}
	// 2
	LEAQ(Mem{Base: rest, Disp: block - 1}, work)
	ANDQ(I32(-block), work)
	LEAQ(Mem{Base: ctx, Disp: atPower(1)}, aad)
	SUBQ(work, aad)
	// 3
	for n := 1; n < len(state); n++ {
		CMPQ(rest, I32(int32(lanes*n)))
		JLS(LabelRef(fmt.Sprintf("rest%d", n)))
	}
	for n := len(state); n >= 0; n-- {
		Label(fmt.Sprintf("rest%d", n))
		k.piece(n)
		if n > 0 {
			JMP(LabelRef("tag"))
		}
	}
}

// piece is the end of a packet with n registers.
func (k *kernel) piece(n int) {
	k.counters(n)
	if k.open {
		k.hashPiece(n)
	}
	k.encrypt(fmt.Sprintf("rest%d", n), append(state[:n:n], mask))
	for v, s := range state[:n] {
		if v == n-1 {
			VPXOR(last, s, s)
			k.storeLast(v)
			break
		}
		VPXOR(Mem{Base: src, Disp: lanes * v}, s, s)
		VMOVDQU(s, Mem{Base: dst, Disp: lanes * v})
	}
	if !k.open {
		k.hashPiece(n)
	}
}

// hashPiece hashes the ciphertext of a piece and the length block.
func (k *kernel) hashPiece(n int) {
	h := hasher{kernel: k}
	for v, s := range state[:n] {
		switch {
		case k.open && v == n-1:
			s = last
		case k.open:
			VMOVDQU(Mem{Base: src, Disp: lanes * v}, text)
			s = text
		}
		VPSHUFB(bytes, s, text)
		if v == 0 {
			VPXOR(sumHi, text, text)
		}
		h.times(text, Mem{Base: aad, Disp: lanes * v})
	}
	if n == 0 {
		VPXOR(sumHi, after, after)
	}
	h.times(after, Mem{Base: ctx, Disp: atPower(1)})
	h.reduce()
	together()
}

// lastCiphertext reads what is there. The tag is behind it, so that whole blocks
// may be read.
func (k *kernel) lastCiphertext() {
	VMOVDQU(Mem{Base: aad}, x(last))
	CMPQ(aadLen, Imm(block))
	JLS(LabelRef("oneBlock"))
	VINSERTI128(Imm(1), Mem{Base: aad, Disp: block}, last, last)
	Label("oneBlock")
	k.cutLast()
	VPAND(power, last, last)
}

// cutLast makes a mask of the bytes of the last register that are text.
func (k *kernel) cutLast() {
	LEAQ(k.constants.prefix, work)
	SUBQ(aadLen, work)
	VMOVDQU(Mem{Base: work, Disp: lanes}, power)
}

// lastPlaintext gathers what is in memory and puts the tail behind it. The caller
// sees to it that the tail does not begin in the register before.
func (k *kernel) lastPlaintext() {
	MOVQ(aadLen, left)
	SUBQ(NewParamAddr("tailLen", tailLenAt), left)
	CMPQ(left, Imm(lanes))
	JEQ(LabelRef("whole"))
	VPXOR(last, last, last)
	CMPQ(left, Imm(block))
	JCS(LabelRef("lowBlock"))
	VMOVDQU(Mem{Base: aad}, x(last))
	ADDQ(Imm(block), aad)
	Label("lowBlock")
	MOVQ(left, size)
	ANDQ(Imm(block-1), size)
	gather("Text", aad, size)
	k.addTail()
	VMOVQ(low, x(term))
	VPINSRQ(Imm(1), high, x(term), x(term))
	CMPQ(left, Imm(block))
	JCC(LabelRef("highBlock"))
	VMOVDQU(x(term), x(last))
	VMOVQ(over, x(term))
	Label("highBlock")
	VINSERTI128(Imm(1), x(term), last, last)
	JMP(LabelRef("gathered"))
	Label("whole")
	VMOVDQU(Mem{Base: aad}, last)
	Label("gathered")
}

// addTail puts the tail behind the bytes in low and high, whose number is size:
// what does not fit goes into over.
func (k *kernel) addTail() {
	MOVQ(NewParamAddr("tailLen", tailLenAt), work)
	SHLQ(Imm(3), work)
	BZHIQ(work, NewParamAddr("tail", tailAt), over)
	bitsOf(size, 0, work) // shifts count modulo 64
	SHLXQ(work, over, aad)
	NOTQ(work)
	SHRQ(Imm(1), over)
	SHRXQ(work, over, over)
	CMPQ(size, Imm(8))
	JCC(LabelRef("highTail"))
	ORQ(aad, low)
	ORQ(over, high)
	XORL(over.As32(), over.As32())
	JMP(LabelRef("tailed"))
	Label("highTail")
	ORQ(aad, high)
	Label("tailed")
}

// storeLast writes the last register. Sealing, whole blocks, which the tag covers;
// opening, to the byte.
func (k *kernel) storeLast(v int) {
	s, name := state[v], fmt.Sprintf("last%d", v)
	if !k.open {
		k.cutLast()
		VPAND(power, s, s)
		VMOVDQU(x(s), Mem{Base: dst, Disp: lanes * v})
		CMPQ(aadLen, Imm(block))
		JLS(LabelRef(name))
		VEXTRACTI128(Imm(1), s, Mem{Base: dst, Disp: lanes*v + block})
		Label(name)
		return
	}
	ADDQ(I32(int32(lanes*v)), dst)
	CMPQ(aadLen, Imm(block))
	JCS(LabelRef(name))
	VMOVDQU(x(s), Mem{Base: dst})
	VEXTRACTI128(Imm(1), s, x(s))
	ADDQ(Imm(block), dst)
	SUBQ(Imm(block), aadLen)
	Label(name)
	CMPQ(aadLen, Imm(block))
	JNE(LabelRef(name + "Part"))
	VMOVDQU(x(s), Mem{Base: dst})
	JMP(LabelRef("tag"))
	Label(name + "Part")
	VMOVQ(x(s), low)
	VPEXTRQ(Imm(1), x(s), high)
	scatter(name, dst, aadLen)
}
