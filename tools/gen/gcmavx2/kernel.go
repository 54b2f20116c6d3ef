package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// kernel is one function: a direction.
type kernel struct {
	*constants
	open bool
}

func (k *kernel) emit() {
	name, more, what := "sealAVX2", ", tail uint64, tailLen int)", "encrypts n bytes of src and tailLen of tail to dst and writes the tag behind them."
	if k.open {
		name, more, what = "openAVX2", ") bool", "decrypts n bytes of src to dst and compares the tag behind them."
	}
	TEXT(name, attr.NOSPLIT, "func(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int"+more)
	Doc(name + " " + what)
	Pragma("noescape")
	k.arguments()
	k.nonce()
	k.lengths()
	k.bind()
	k.groups()
	k.rest()
	k.finish()
}

func (k *kernel) arguments() {
	for _, a := range []struct {
		name string
		to   Register
	}{{"ctx", ctx}, {"dst", dst}, {"src", src}, {"n", size}, {"aad", aad}, {"aadLen", aadLen}} {
		Load(Param(a.name), a.to)
	}
	base := src
	if !k.open {
		ADDQ(NewParamAddr("tailLen", tailLenAt), size)
		base = dst
	}
	LEAQ(Mem{Base: base, Index: size, Scale: 1}, tag)
	MOVQ(size, rest)
	MOVL(Mem{Base: ctx, Disp: atRounds}, rounds.As32())
	SHLL(Imm(4), rounds.As32())
	VMOVDQU(k.constants.reverse, bytes)
}

// nonce makes J0 in mask, with round key 0, and counters 2 and 3 in next. A counter
// block is salt | IV | counter (RFC 4106 §4, SP 800-38D §7.1 step 2), all in network
// order; reversed it is a number that counts by addition.
func (k *kernel) nonce() {
	Load(Param("iv"), low)
	MOVL(Mem{Base: ctx, Disp: atSalt}, high.As32())
	BSWAPL(high.As32())
	MOVQ(low, work)
	SHLQ(Imm(32), work)
	ORQ(Imm(1), work)
	SHRQ(Imm(32), low)
	SHLQ(Imm(32), high)
	ORQ(high, low)
	VMOVQ(work, x(next))
	VPINSRQ(Imm(1), low, x(next), x(next))
	VPSHUFB(x(bytes), x(next), x(mask))
	VPXOR(Mem{Base: ctx}, x(mask), x(mask))
	VINSERTI128(Imm(1), x(next), next, next)
	VPADDD(k.constants.next, next, next)
}

// lengths makes the length block (SP 800-38D §7.1 step 5), in bits.
func (k *kernel) lengths() {
	SHLQ(Imm(3), size)
	VMOVQ(size, x(after))
	bitsOf(aadLen, 0, work)
	VPINSRQ(Imm(1), work, x(after), x(after))
}

// bind multiplies the AAD by H. The 8 or 12 bytes of ESP (RFC 4106 §5) are read as
// words of 4, as they were most likely written a moment ago: a wider load would
// wait until those writes have reached the cache. Other lengths are gathered.
func (k *kernel) bind() {
	CMPQ(aadLen, Imm(8))
	JCS(LabelRef("anyAAD"))
	VMOVD(Mem{Base: aad}, x(text))
	VPINSRD(Imm(1), Mem{Base: aad, Disp: 4}, x(text), x(text))
	JEQ(LabelRef("bound"))
	CMPQ(aadLen, Imm(12))
	JNE(LabelRef("anyAAD"))
	VPINSRD(Imm(2), Mem{Base: aad, Disp: 8}, x(text), x(text))
	JMP(LabelRef("bound"))
	Label("anyAAD")
	gather("AAD", aad, aadLen)
	VMOVQ(low, x(text))
	VPINSRQ(Imm(1), high, x(text), x(text))
	Label("bound")
	VPSHUFB(x(bytes), x(text), x(text))
	h := hasher{kernel: k}
	h.times(text, Mem{Base: ctx, Disp: atPower(1)})
	h.reduce()
}

// groups takes 8 blocks at a time while more than that is left.
func (k *kernel) groups() {
	CMPQ(rest, I32(group))
	JLS(LabelRef("rest"))
	align(32)
	Label("group")
	if k.open {
		k.hashGroup(true)
	}
	k.counters(4)
	k.encrypt("group", state)
	for v, s := range state {
		VPXOR(Mem{Base: src, Disp: lanes * v}, s, s)
		VMOVDQU(s, Mem{Base: dst, Disp: lanes * v})
	}
	if !k.open {
		k.hashGroup(false)
	}
	ADDQ(I32(group), src)
	ADDQ(I32(group), dst)
	SUBQ(I32(group), rest)
	CMPQ(rest, I32(group))
	JHI(LabelRef("group"))
	Label("rest")
}

// hashGroup hashes four registers of ciphertext, before they are opened in memory.
func (k *kernel) hashGroup(memory bool) {
	h := hasher{kernel: k}
	for v, s := range state {
		if memory {
			VMOVDQU(Mem{Base: src, Disp: lanes * v}, text)
			s = text
		}
		VPSHUFB(bytes, s, text)
		if v == 0 {
			VPXOR(sumHi, text, text)
		}
		h.times(text, Mem{Base: ctx, Disp: atPower(8 - 2*v)})
	}
	h.reduce()
	together()
}

// finish makes or compares the tag and leaves.
func (k *kernel) finish() {
	Label("tag")
	VPSHUFB(x(bytes), x(sumHi), x(sumHi))
	VPXOR(x(mask), x(sumHi), x(sumHi))
	if k.open {
		VPXOR(Mem{Base: tag}, x(sumHi), x(sumHi))
		VPTEST(x(sumHi), x(sumHi))
		SETEQ(low.As8())
		Store(low.As8(), ReturnIndex(0))
	} else {
		VMOVDQU(x(sumHi), Mem{Base: tag})
	}
	for _, r := range []GPPhysical{low, high, over, aad} {
		XORL(r.As32(), r.As32())
	}
	forget(append([]VecPhysical{mask, sumLo, sumMi, sumHi, text, power, term, next, keyed, last}, state...)...)
	RET()
}

// forget clears registers that held a secret. Writing the low lane clears the high
// one; VZEROUPPER then tells the processor that it is clear.
func forget(secret ...VecPhysical) {
	for _, y := range secret {
		VPXOR(x(y), x(y), x(y))
	}
	VZEROUPPER()
}

func align(n uint64) {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(n)}})
}
