package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// kernel is one function: a key size and a direction.
type kernel struct {
	*constants
	rounds int
	open   bool
}

// maxShort is the text that fits in five registers behind the first two lanes.
const maxShort = 5*lanes - head

func (k *kernel) emit() {
	more, what := ", tail uint64, tailLen int)", "encrypts n bytes of src and tailLen of tail to dst and writes the tag behind them."
	if k.open {
		more, what = ") bool", "decrypts n bytes of src to dst and compares the tag behind them."
	}
	TEXT(k.name(), attr.NOSPLIT, "func(ctx, dst, src *byte, n int, iv uint64, aad *byte, aadLen int"+more)
	Doc(k.name() + " " + what)
	Pragma("noescape")
	k.arguments()
	k.nonce()
	k.tagAddress()
	k.bind()
	LEAQ(Mem{Base: size, Disp: head}, rest)
	CMPQ(size, I32(maxShort))
	JHI(LabelRef("long"))
	k.pieces("short", 1)
	Label("long")
	k.long()
	k.pieces("rest", 2)
}

func (k *kernel) arguments() {
	for _, a := range []struct {
		name string
		to   Register
	}{{"ctx", ctx}, {"dst", dst}, {"src", src}, {"n", size}, {"iv", tag}, {"aad", aad}, {"aadLen", aadLen}} {
		Load(Param(a.name), a.to)
	}
	if !k.open {
		ADDQ(NewParamAddr("tailLen", tailLenAt), size)
	}
}

func (k *kernel) tagAddress() {
	base := dst
	if k.open {
		base = src
	}
	LEAQ(Mem{Base: base, Index: size, Scale: 1}, tag)
}

// bind puts the AAD in lane 1 of the hash so far. The 8 or 12 bytes of ESP (RFC
// 4106 §5) are read as words of 4, as they were most likely written a moment
// ago: a wider load would wait until those writes have reached the cache. AAD of
// other lengths comes by a load whose mask lets it touch nothing else.
func (k *kernel) bind() {
	lane0, aad0 := x(spare[0]), x(sumHi)
	CMPQ(aadLen, Imm(8))
	JCS(LabelRef("anyAAD"))
	VMOVD(Mem{Base: aad}, aad0)
	VPINSRD(Imm(1), Mem{Base: aad, Disp: 4}, aad0, aad0)
	JEQ(LabelRef("wordsAAD"))
	CMPQ(aadLen, Imm(12))
	JNE(LabelRef("anyAAD"))
	VPINSRD(Imm(2), Mem{Base: aad, Disp: 8}, aad0, aad0)
	Label("wordsAAD")
	VPXOR(lane0, lane0, lane0)
	VINSERTI128(Imm(1), aad0, y(spare[0]), y(sumHi))
	JMP(LabelRef("bound"))
	Label("anyAAD")
	MOVL(U32(0xffffffff), tmp.As32())
	BZHIL(aadLen.As32(), tmp.As32(), tmp.As32())
	SHLL(Imm(block), tmp.As32())
	KMOVD(tmp.As32(), maskAAD)
	VMOVDQU8_Z(Mem{Base: aad, Disp: -block}, maskAAD, y(sumHi))
	Label("bound")
	VPSHUFB(k.constants.reverse, y(sumHi), y(sumHi))
}

// lengths makes the length block (SP 800-38D §7.1 step 5), in bits.
func lengths(to VecPhysical) {
	MOVQ(size, tmp)
	SHLQ(Imm(3), tmp)
	VMOVQ(tmp, x(to))
	MOVQ(aadLen, tmp)
	SHLQ(Imm(3), tmp)
	VPINSRQ(Imm(1), tmp, x(to), x(to))
}

// pieces writes the code for each number of registers and chooses by rest.
func (k *kernel) pieces(name string, least int) {
	label := func(n int) string { return fmt.Sprintf("%s%d", name, n) }
	for n := least; n < 5; n++ {
		CMPQ(rest, I32(int32(lanes*n)))
		JLS(LabelRef(label(n)))
	}
	for n := 5; n >= least; n-- {
		Label(label(n))
		p := &piece{kernel: k, n: n, short: name == "short"}
		p.emit()
		if n > least {
			JMP(LabelRef(name + "Tag"))
		}
	}
	Label(name + "Tag")
	k.finish(name == "short")
}

// finish makes or compares the tag and leaves.
func (k *kernel) finish(short bool) {
	VPSHUFB(k.constants.reverse, x(sumHi), x(sumHi))
	VPXORQ(x(mask), x(sumHi), x(sumHi))
	if k.open {
		VPXOR(Mem{Base: tag}, x(sumHi), x(sumHi))
		VPTEST(x(sumHi), x(sumHi))
		SETEQ(tmp.As8())
		Store(tmp.As8(), ReturnIndex(0))
	} else {
		VMOVDQU(x(sumHi), Mem{Base: tag})
	}
	k.forget(short)
	RET()
}

// forget clears each vector register that held a secret. Writing the low part
// clears the rest; VZEROUPPER then tells the processor that it is clear.
func (k *kernel) forget(short bool) {
	secret := append([]VecPhysical{sumLo, sumMi, sumHi, power, keyed, first, mask}, state...)
	secret = append(secret, spare...)
	if !short {
		secret = append(append(secret, text...), keep...)
	}
	for _, z := range secret {
		VPXORD(x(z), x(z), x(z))
	}
	VZEROUPPER()
}

func align(n uint64) {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(n)}})
}
