package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Offsets into the material of a key (datapath/esp/gcm/material.go).
const (
	atSalt   = 240
	atRounds = 244
	atPowers = 256
	powers   = 21
)

// atPower is the offset of H^i; lower powers follow.
func atPower(i int) int { return atPowers + 16*(powers-i) }

const (
	block = 16
	lanes = 2 * block // bytes in a register
	group = 4 * lanes // bytes in four registers
)

// Where sealing finds its last arguments; they are read where they are needed.
const (
	tailAt    = 56
	tailLenAt = 64
)

// General registers.
var (
	ctx    = R8
	dst    = RDI
	src    = RSI
	tag    = R9  // where the tag is, or goes
	rest   = RBX // bytes of text still to go
	rounds = R12 // times 16
	size   = RCX // bytes of text, until the length block is made; then scratch
	aadLen = R11 // likewise; then bytes of text in the last register
	aad    = R10 // likewise; then where those are
	left   = R14 // how many of those are in memory, and not in the tail
	low    = RAX // scratch: a block in two halves
	high   = RDX
	over   = R13 // and what is more than that
	work   = R15
)

// Vector registers.
var (
	state = []VecPhysical{Y0, Y1, Y2, Y3} // counters, key stream, output
	mask  = Y4                            // encrypted J0, low lane
	sumLo = Y5                            // products, by the halves they come from
	sumMi = Y6
	sumHi = Y7 // between groups: the hash so far, low lane
	text  = Y8 // ciphertext as the hash reads it
	power = Y9
	term  = Y10
	next  = Y11 // the next two counter blocks, bytes reversed
	keyed = Y12 // a round key in each lane
	after = Y13 // the length block, low lane
	last  = Y14 // text in the last register
	bytes = Y15 // reverses the bytes of each block
)

func x(r VecPhysical) VecPhysical { return r.AsX().(VecPhysical) }

// constants are tables in read-only memory.
type constants struct {
	reverse Mem // reverses the bytes of each block
	next    Mem // from counter 1 to the first of the text: 2 and 3
	two     Mem // 2 for both
	poly    Mem // x^128 + x^7 + x^2 + x + 1 for one folding step, bits reversed
	prefix  Mem // 32 bytes of ones, then 32 of zeros
}

func newConstants() *constants {
	var c constants
	c.reverse = table("reverseBytes", 0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607)
	c.next = table("firstCounters", 1, 0, 2, 0)
	c.two = table("nextCounters", 2, 0, 2, 0)
	c.poly = table("foldingPoly", 0xc200000000000000, 0xc200000000000000, 0xc200000000000000, 0xc200000000000000)
	ones := ^uint64(0)
	c.prefix = table("prefix", ones, ones, ones, ones, 0, 0, 0, 0)
	return &c
}

func table(name string, words ...uint64) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i, w := range words {
		DATA(8*i, U64(w))
	}
	return m
}
