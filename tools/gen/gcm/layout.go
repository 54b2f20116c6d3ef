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
	atPowers = 256
	powers   = 21
)

// atPower is the offset of H^i; lower powers follow.
func atPower(i int) int { return atPowers + 16*(powers-i) }

const (
	block = 16
	group = 4 * lanes // bytes in four registers
	lanes = 4 * block // bytes in a register
	head  = 2 * block // the lanes before the text
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
	size   = RCX // bytes of text
	tag    = R9  // where the tag is, or goes
	aad    = R10
	aadLen = R11
	rest   = RBX // bytes of lanes in the last piece
	count  = R12 // counter of the first lane of the group
	groups = R13 // groups still to go
	tmp    = RAX
	tmp2   = RDX
)

// Vector registers.
var (
	state = []VecPhysical{Z0, Z1, Z2, Z3, Z4} // counters, key stream, output
	text  = []VecPhysical{Z5, Z6, Z7, Z8, Z9} // ciphertext as the hash reads it
	after = Z10                               // the length block, where lane 0 is taken
	sumLo = Z11                               // products, by the halves they come from
	sumMi = Z12
	sumHi = Z13 // between pieces: the hash so far, at first the AAD
	power = Z14
	spare = []VecPhysical{Z15, Z16, Z17, Z18}
	keyed = Z19                                                             // a round key that has no register of its own; scratch
	first = Z20                                                             // nonce with counter 0, plus round key 0, in each lane
	mask  = Z21                                                             // encrypted J0
	keep  = []VecPhysical{Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31} // round keys 1 to 10
)

var (
	maskTail    = K1 // bytes of the last register that are text
	maskText    = K4 // those of them that come from src
	maskAdded   = K5 // those that come from the tail
	maskAAD     = K2 // bytes of the first two lanes that are AAD
	maskCounter = K3 // the double words that count
)

func x(r VecPhysical) VecPhysical { return r.AsX().(VecPhysical) }
func y(r VecPhysical) VecPhysical { return r.AsY().(VecPhysical) }

// constants are tables in read-only memory, each repeated for every lane.
type constants struct {
	counters []Mem // lane numbers, register by register, as the counter has them
	reverse  Mem   // reverses the bytes of each block
	behind   Mem   // the same for lanes 2 and 3, and zero for 0 and 1
	poly     Mem   // x^128 + x^7 + x^2 + x + 1 for one folding step, bits reversed
}

func newConstants() *constants {
	var c constants
	for r := range 5 {
		m := GLOBL("counters"+string(rune('0'+r)), attr.RODATA|attr.NOPTR)
		for lane := range 4 {
			DATA(16*lane, U64(0))
			DATA(16*lane+8, U64(uint64(4*r+lane)<<56))
		}
		c.counters = append(c.counters, m)
	}
	c.reverse = reversal("reverse", 0)
	c.behind = reversal("behind", 2)
	c.poly = GLOBL("poly", attr.RODATA|attr.NOPTR)
	for i := range 8 {
		DATA(8*i, U64(0xc200000000000000))
	}
	return &c
}

// reversal is a byte shuffle; lanes before from become zero.
func reversal(name string, from int) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for lane := range 4 {
		hi, lo := uint64(0x08090a0b0c0d0e0f), uint64(0x0001020304050607)
		if lane < from {
			hi, lo = 0x8080808080808080, 0x8080808080808080
		}
		DATA(16*lane, U64(hi))
		DATA(16*lane+8, U64(lo))
	}
	return m
}
