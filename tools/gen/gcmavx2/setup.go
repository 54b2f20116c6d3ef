package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// What runs once per key, for both kernels.

// subWord writes the function of that name of FIPS 197 §5.2.
func subWord() {
	TEXT("subWord", attr.NOSPLIT, "func(x uint32) uint32")
	Doc("subWord puts each byte of x through the S-box.")
	Load(Param("x"), EAX)
	VMOVD(EAX, X0)
	VPSHUFD(Imm(0), X0, X0)
	VAESKEYGENASSIST(Imm(0), X0, X0)
	VMOVD(X0, EAX)
	VPXOR(X0, X0, X0)
	Store(EAX, ReturnIndex(0))
	RET()
}

// encryptBlock writes the encryption of zero, which is the hash key.
func encryptBlock() {
	TEXT("encryptBlock", attr.NOSPLIT, "func(ctx *byte, rounds int, block *byte)")
	Doc("encryptBlock encrypts one block in place.")
	Pragma("noescape")
	Load(Param("ctx"), ctx)
	Load(Param("rounds"), RCX)
	Load(Param("block"), RDI)
	VMOVDQU(Mem{Base: RDI}, X0)
	VPXOR(Mem{Base: ctx}, X0, X0)
	DECQ(RCX)
	Label("round")
	ADDQ(Imm(block), ctx)
	VAESENC(Mem{Base: ctx}, X0, X0)
	DECQ(RCX)
	JNE(LabelRef("round"))
	VAESENCLAST(Mem{Base: ctx, Disp: block}, X0, X0)
	VMOVDQU(X0, Mem{Base: RDI})
	VPXOR(X0, X0, X0)
	RET()
}

// multiply writes the product of two powers, with the code of the kernels.
func multiply(c *constants) {
	TEXT("multiply", attr.NOSPLIT, "func(dst, a, b *byte)")
	Doc("multiply makes H^(i+j) of H^i and H^j.")
	Pragma("noescape")
	Load(Param("dst"), RDI)
	Load(Param("a"), RSI)
	Load(Param("b"), RDX)
	h := hasher{kernel: &kernel{constants: c}}
	VMOVDQU(Mem{Base: RSI}, x(text))
	h.times(text, Mem{Base: RDX})
	h.reduce()
	VMOVDQU(x(sumHi), Mem{Base: RDI})
	forget(text, sumLo, sumMi, sumHi, power, term)
	RET()
}
